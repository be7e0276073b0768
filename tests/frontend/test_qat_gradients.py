"""Gradients of training: straight through the rounding, LSQ for scales and offsets, batch norm as torch has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import accelsim as acs
from accelsim.frontend.training.grids import LearnedGrid
from accelsim.quant import QuantParams, dequantize, quantize


def round_pass(v: torch.Tensor) -> torch.Tensor:
    return v + (torch.round(v) - v).detach()


def grad_scaled(s: torch.Tensor, factor: float) -> torch.Tensor:
    return s * factor + (s - s * factor).detach()


def lsq(
    y: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor | float, levels: tuple[int, int], factor: float
) -> torch.Tensor:
    """LSQ+ by automatic differentiation of what defines it (Esser et al., appendix A; Bhalgat et al., eq. 3)."""
    view = (-1, *[1] * (y.ndim - 1)) if scale.ndim else ()
    s = grad_scaled(scale, factor).view(view)
    beta = grad_scaled(offset, factor).view(view) if isinstance(offset, torch.Tensor) else offset
    return round_pass(((y - beta) / s).clamp(*levels)) * s + beta


def learned(params: QuantParams, elements: int, offset: bool) -> LearnedGrid:
    return LearnedGrid(params, label="t", elements=elements, learn_scale=True, learn_offset=offset, power_of_two=False)


@pytest.mark.parametrize(
    ("params", "offset"),
    [
        (QuantParams(0.25, 0, 4, True), False),
        (QuantParams(0.25, 0, 2, True), False),
        (QuantParams(0.25, 0, 3, False), False),
        (QuantParams(0.25, 5, 4, False), True),
        (QuantParams(0.25, -3, 4, True), True),
        (QuantParams(np.array([0.25, 0.5, 0.125]), 0, 4, True, 0), False),
        (QuantParams(np.array([0.25, 0.5, 0.125]), np.array([1, -2, 0]), 4, True, 0), True),
    ],
    ids=["signed", "two-bits", "unsigned", "offset", "signed-offset", "per-channel", "per-channel-offset"],
)
def test_quantizer_against_the_papers_expression(params: QuantParams, offset: bool) -> None:
    torch.manual_seed(0)
    y = (2 * torch.randn(3, 40)).requires_grad_()
    incoming = torch.randn(3, 40)
    grid = learned(params, y.numel(), offset)
    assert grid.params() == params
    codes = quantize(y.detach().double().numpy(), params)
    value = torch.from_numpy(dequantize(codes, params)).float()
    got = grid.quantized(y, torch.from_numpy(codes), value, params)
    assert torch.equal(got, value)
    (got * incoming).sum().backward()

    levels = params.qmax if params.symmetric and not offset else params.qmax - params.qmin
    factor = 1 / math.sqrt(y.numel() * levels)  # of a signed symmetric grid: its positive levels
    twin, scale = y.detach().clone().requires_grad_(), grid.scale.detach().clone().requires_grad_()
    beta = grid.offset.detach().clone().requires_grad_() if offset else 0.0
    ends = (0, params.qmax - params.qmin) if offset else (params.qmin, params.qmax)
    expected = lsq(twin, scale, beta, ends, factor)
    torch.testing.assert_close(expected, value)
    (expected * incoming).sum().backward()
    torch.testing.assert_close(y.grad, twin.grad)
    torch.testing.assert_close(grid.scale.grad, scale.grad, rtol=1e-4, atol=1e-5)
    outside = (codes == params.qmin) | (codes == params.qmax)
    assert outside.any() and not outside.all()
    if offset:
        torch.testing.assert_close(grid.offset.grad, beta.grad, rtol=1e-4, atol=1e-5)


def test_zero_outside_the_range_and_untouched_inside() -> None:
    params = QuantParams(0.5, 4, 3, False)  # -2 … 1.5; rounds to the ends from -2.25 on and up to 1.75
    grid = learned(params, 8, offset=False)
    y = torch.tensor([-1e30, -2.001, -2.0, -0.1, 0.0, 1.5, 1.501, 1e30], requires_grad=True)
    codes = torch.from_numpy(quantize(y.detach().double().numpy(), params))
    grid.quantized(y, codes, codes.float(), params).backward(torch.full((8,), 3.0))
    assert y.grad.tolist() == [0, 0, 3, 3, 3, 3, 0, 0]
    # clipped values pull at the scale by the code of their end, the others by their rounding error
    inside = sum(round(v / 0.5) - v / 0.5 for v in (-2.0, -0.1, 0.0, 1.5))
    assert grid.scale.grad.item() == pytest.approx(3 * (2 * -4 + 2 * 3 + inside) / math.sqrt(8 * 7), rel=1e-5)


def test_ends_held_by_an_activation_do_not_move_with_the_scale() -> None:
    """ReLU6 at real 6: nothing above it pulls at the grid; what the grid itself clips does. Bounds per channel, too."""
    params = QuantParams(1.0, 0, 4, False)
    for upper, expected in ((6, 0.0), (15, 15.0), (np.array([6, 15]), 7.5)):
        grid = learned(params, 1, offset=False)
        y = torch.full((1, 2, 3, 3), 40.0, requires_grad=True)
        codes = torch.from_numpy(np.broadcast_to(np.reshape(upper, (1, -1, 1, 1)), (1, 2, 3, 3)).copy())
        grid.quantized(y, codes, codes.float(), params, (0, upper)).mean().backward()
        assert not y.grad.any()
        assert grid.scale.grad.item() == pytest.approx(expected / math.sqrt(15))


class Small(nn.Module):
    """A strided convolution with unequal padding, ReLU6, depthwise, a residual, fully connected."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.deep = nn.Conv2d(4, 4, 3, groups=4, padding=1)
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self.norm(self.conv(F.pad(x, (0, 1, 1, 0)))))
        return self.head(F.relu(y + self.deep(y)).flatten(1))


def small(norm: bool = False) -> tuple[Small, torch.Tensor]:
    torch.manual_seed(1)
    model, x = Small(norm), 2 * torch.randn(16, 2, 7, 7)
    if norm:
        nn.init.uniform_(model.norm.weight, -1.5, 1.5)
        nn.init.uniform_(model.norm.bias, 0.0, 1.0)
        model.norm.momentum = 1.0
        model.train()(x)
        model.norm.momentum = 0.1
    return model.eval(), x


#: fine enough for the integer network to be taken for the float one
WIDE = {
    "weight_bits": 14,
    "activation_bits": 14,
    "residual_bits": 14,
    "ranges": "min-max",
    "bias_correction": False,
    "profile": "onnx-reference",
    "spec": acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 48}),
}


def alike(mine: torch.Tensor, theirs: torch.Tensor, name: str, within: float = 0.01) -> None:
    assert (mine - theirs).norm() <= within * theirs.norm(), (name, mine, theirs)


@pytest.mark.parametrize("batch_norm", ["folded", "double-forward", "per-channel"])
def test_fine_grids_have_the_gradients_of_the_float_network(batch_norm: str) -> None:
    """Weights, biases, inputs; batch norm in training mode against torch's own, its statistics differentiated."""
    model, x = small(norm=batch_norm != "folded")
    prepared = acs.prepare_qat(model, 2 * x, batch_norm=batch_norm, **WIDE)
    weighted = torch.randn(16, 3)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    (prepared(mine) * weighted).sum().backward()
    (model.train()(theirs) * weighted).sum().backward()
    alike(mine.grad, theirs.grad, "input")
    for name in ("conv", "deep", "head"):
        layer, module = prepared.layer(name), getattr(model, name)
        alike(layer.weight.grad, module.weight.grad, name)
        if module.bias is not None:
            alike(layer.bias.grad, module.bias.grad, name)
    if batch_norm != "folded":
        norm = prepared.layer("conv").batch_norm
        alike(norm.weight.grad, model.norm.weight.grad, "norm.weight")
        alike(norm.bias.grad, model.norm.bias.grad, "norm.bias")


@pytest.mark.parametrize("batch_norm", ["folded", "double-forward", "per-channel"])
@pytest.mark.parametrize("bits", [8, 2])
def test_every_parameter_gets_a_finite_gradient(batch_norm: str, bits: int) -> None:
    model, x = small(norm=True)
    prepared = acs.prepare_qat(
        model, x, batch_norm=batch_norm, weight_bits=bits, activation_bits=4, symmetric_weights=False, output_bits=8
    )
    (prepared(3 * x) - 1).square().sum().backward()
    for name, parameter in prepared.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        held = name.endswith("offset")  # nothing need be clipped; bias before batch norm has no effect
        assert held or parameter.grad.any(), name


@pytest.mark.parametrize(("learn_scales", "learn_zero_points"), [(False, True), (True, False), (False, False)])
def test_what_is_not_learned_stays(learn_scales: bool, learn_zero_points: bool) -> None:
    model, x = small()
    prepared = acs.prepare_qat(
        model, x, weight_bits=4, activation_bits=4, learn_scales=learn_scales, learn_zero_points=learn_zero_points
    )
    grids = [grid for grid in prepared.modules() if isinstance(grid, LearnedGrid)]
    before = [grid.params() for grid in grids]
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.05)
    prepared(3 * x).square().sum().backward()
    optimizer.step()
    after = [grid.params() for grid in grids]
    assert all(grid.scale.requires_grad == learn_scales for grid in grids)
    assert any(grid.offset is not None for grid in grids) == learn_zero_points
    if not (learn_scales or learn_zero_points):
        assert before == after


def test_a_codes_gradient_equals_a_hand_written_network() -> None:
    """Four bits, an end-to-end twin in plain torch: every gradient, grids included, by the papers' expressions."""
    torch.manual_seed(5)  # no activation lies so near to an end that the rounded bias decides whether it is clipped
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(75, 4)).eval()
    x = torch.randn(4, 1, 5, 5)
    prepared = acs.prepare_qat(
        model, x, weight_bits=4, activation_bits=4, bias_correction=False, profile="onnx-reference", per_channel=True
    )
    weighted = torch.randn(4, 4)
    out = prepared(x)
    (out * weighted).sum().backward()

    def twin(grid: LearnedGrid) -> tuple[torch.Tensor, torch.Tensor | float]:
        scale = grid.scale.detach().clone().requires_grad_()
        params = grid.params()
        if grid.offset is None:
            return scale, 0.0
        snapped = torch.tensor(params.scale * (params.qmin - params.zero_point), dtype=torch.float32)
        return scale, snapped.requires_grad_()

    conv, head = prepared.layer("0"), prepared.layer("3")
    grids = {"x": prepared.grid(prepared.graph.inputs[0].name), "y": prepared.grid("0")}
    s_x, b_x = twin(grids["x"])
    s_y, b_y = twin(grids["y"])
    assert isinstance(b_x, torch.Tensor) and b_y == 0.0  # a ReLU's smallest code is zero
    s_1, _ = twin(conv.weight_grid)
    s_2, _ = twin(head.weight_grid)
    w_1, c_1, w_2, c_2 = (p.detach().clone().requires_grad_() for p in (conv.weight, conv.bias, head.weight, head.bias))
    u = lsq(x, s_x, b_x, (0, 15), grids["x"].factor)
    y = F.conv2d(u, lsq(w_1, s_1, 0.0, (-8, 7), conv.weight_grid.factor), c_1, padding=1)
    v = lsq(y, s_y, 0.0, (0, 15), grids["y"].factor).flatten(1)
    expected = F.linear(v, lsq(w_2, s_2, 0.0, (-8, 7), head.weight_grid.factor), c_2)
    torch.testing.assert_close(out, expected, atol=0.05, rtol=0)  # biases are rounded to the accumulators' grid
    (expected * weighted).sum().backward()
    for name, mine, theirs in (
        ("conv weight", conv.weight, w_1),
        ("conv bias", conv.bias, c_1),
        ("head weight", head.weight, w_2),
        ("head bias", head.bias, c_2),
        ("conv weight scale", conv.weight_grid.scale, s_1),
        ("head weight scale", head.weight_grid.scale, s_2),
        ("input scale", grids["x"].scale, s_x),
        ("input offset", grids["x"].offset, b_x),
        ("activation scale", grids["y"].scale, s_y),
    ):
        alike(mine.grad, theirs.grad, name, within=0.05)  # a rounded bias moves a code now and then
