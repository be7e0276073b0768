"""Operator by operator: the integers are the real function of the dequantized codes, to the half step they may."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelsim_kernels import reference as slow
from corners import of_dtype
from torch import nn

import accelsim as acs
from accelsim.ops.function_parameters import float_table, gemmlowp_table, hard_swish_table
from accelsim.ops.function_tables import function_table
from accelsim.ops.interpolated import interpolated_table
from accelsim.quant import QuantParams, dequantize


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.function(*tensors)


def steps_off(function, *shapes: tuple[int, ...], samples: int = 4, **config) -> tuple[float, acs.IntegerGraph]:
    """(largest distance of the integers from the function of the dequantized codes, in output steps; the graph)."""
    generator = torch.Generator().manual_seed(0)
    inputs = tuple(4 * torch.randn(samples, *shape, generator=generator) for shape in shapes)
    model = function if isinstance(function, nn.Module) else Call(function)
    graph = acs.from_torch(model, inputs, ranges="min-max", bias_correction=False, **config)
    run = acs.simulate(graph, tuple(x.numpy() for x in inputs), keep="all")
    small = acs.simulate(graph, tuple(x[:1].numpy() for x in inputs), keep="all", backend="reference")
    for name, value in small.tensors.items():
        assert value.dtype == run.tensors[name].dtype, name
        assert np.array_equal(value, run.tensors[name][: len(value)]), name
    real = [torch.from_numpy(dequantize(run.tensors[name], graph.tensors[name].params)) for name in graph.inputs]
    with torch.no_grad():
        exact = model.double()(*real).numpy()
    params = graph.tensors[graph.outputs[0]].params
    if isinstance(params, QuantParams):
        exact = np.clip(exact, params.real_min, params.real_max)
    scale = np.asarray(params.scale)
    if scale.ndim:
        scale = scale.reshape([-1 if axis == params.axis else 1 for axis in range(exact.ndim)])
    return float(np.abs((run.real() - exact) / scale).max()), graph


FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "growing_leaky_relu": lambda x: F.leaky_relu(x, -0.3),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "mish": F.mish,
    "softplus": F.softplus,
    "relu6(x + 3) / 6": lambda x: F.relu6(x + 3) / 6,
    "neg": lambda x: -x,
    "scaled": lambda x: 0.37 * x - 1.5,
}
_TWICE_ROUNDED = ("relu6(x + 3) / 6", "scaled")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_table_holds_the_nearest_code_of_every_code(name: str) -> None:
    off, _ = steps_off(FUNCTIONS[name], (3, 40), profile="tosa-single")
    assert off <= (1.6 if name in _TWICE_ROUNDED else 0.501)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("bits", [16, pytest.param(12, marks=pytest.mark.slow)])
def test_interpolated_tables_are_within_a_few_codes(name: str, bits: int) -> None:
    off, graph = steps_off(FUNCTIONS[name], (3, 40), profile="tosa-single", activation_bits=bits)
    # a straight line cuts the corner of a function whose slope jumps
    corners = {"hardswish": (24, 2.1), "elu": (16, 2.1), "selu": (24, 2.1), "relu6(x + 3) / 6": (128, 8)}
    assert off <= corners.get(name, (2.1, 1.6))[bits == 12], graph.ops[-1].kind


def test_sigmoid_and_hard_swish_have_the_runtime_s_own_forms() -> None:
    _, graph = steps_off(torch.sigmoid, (40,), profile="tflm")
    x = graph.tensors[graph.inputs[0]].params
    (op,) = graph.ops
    assert graph.tensors[op.output].params == QuantParams(1 / 256, -128)
    assert np.array_equal(op.table, gemmlowp_table("logistic", x))
    _, graph = steps_off(torch.sigmoid, (40,), profile="tflite-ruy")
    (op,) = graph.ops
    assert graph.tensors[op.output].params == QuantParams(1 / 256, -128)
    assert np.array_equal(op.table, float_table("logistic", x, graph.tensors[op.output].params))
    _, graph = steps_off(F.hardswish, (40,), profile="tflite-reference")
    (op,) = graph.ops
    assert np.array_equal(op.table, hard_swish_table(x, graph.tensors[op.output].params))


@pytest.mark.parametrize("name", ["logistic", "tanh", "elu"])
def test_tables_of_tensorflow_lite_are_those_of_its_own_recipe(name: str) -> None:
    function = {"logistic": torch.sigmoid, "tanh": torch.tanh, "elu": F.elu}[name]
    for x, y in ((QuantParams(0.05, 3), QuantParams(1 / 256, -128)), (QuantParams(0.3, -7), QuantParams(0.11, 5))):
        table = function_table(lambda v: function(torch.from_numpy(v)).numpy(), x, y, "half-away")
        assert np.array_equal(table, float_table(name, x, y))


def test_interpolation_on_both_backends() -> None:
    for bits, signed in ((16, True), (12, False), (9, True)):
        x = QuantParams(16 / 2**bits, 3, bits, signed)
        y = QuantParams(1 / 2**15, 0, 16)
        table, how = interpolated_table(np.tanh, x, y)
        corners = of_dtype(x.dtype)
        codes = corners[(corners >= x.qmin) & (corners <= x.qmax)]
        results = [k.interpolated_lut(codes, table, **how, qmin=y.qmin, qmax=y.qmax) for k in (fast, slow)]
        assert results[0].dtype == results[1].dtype
        assert np.array_equal(*results)
        exact = np.tanh(dequantize(codes, x)) / y.scale
        assert np.abs(results[0] - np.clip(exact, y.qmin, y.qmax)).max() <= 2
    for kernels in (fast, slow):
        with pytest.raises(ValueError, match="leave"):
            kernels.interpolated_lut(np.array([5], np.int8), [1, 2], lowest=0, fraction_bits=2)


PAIRS = {
    "excitation": (lambda a, b: a * b, (3, 4, 5), (3, 1, 1)),
    "rows": (lambda a, b: a * b, (3, 4, 5), (1, 4, 1)),
    "columns": (lambda a, b: b * a, (3, 4, 5), (1, 1, 5)),
    "features": (lambda a, b: a * b, (7,), (7,)),
    "difference": (lambda a, b: a - b, (3, 4, 5), (3, 1, 5)),
}


@pytest.mark.parametrize("profile", ["tflm", pytest.param("tosa-single", marks=pytest.mark.slow), "onnxruntime-float"])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_broadcast_along_torch_s_axes(name: str, profile: str) -> None:
    function, *shapes = PAIRS[name]
    assert steps_off(function, *shapes, profile=profile)[0] <= 0.51
    assert steps_off(function, *shapes, profile="tosa-single", activation_bits=16)[0] <= 2.1


class Scaled(nn.Module):
    """A parameter for each channel, and one for each place of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.5, 2, 3).view(3, 1, 1))
        self.mask = nn.Parameter(torch.linspace(-1, 1, 20).view(4, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.gain) * self.mask


def test_constant_factors_meet_their_own_axes() -> None:
    off, graph = steps_off(Scaled(), (3, 4, 5), activation_bits=12)
    assert off < 16  # the constants have 12 bits, too
    assert [op.kind for op in graph.ops].count("transpose") == 2  # in and out


MOVES = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest 5x7": lambda x: F.interpolate(x, size=(5, 7)),
    "nearest 1.5": lambda x: F.interpolate(x, scale_factor=(1.5, 1.3)),
    "nearest-exact": lambda x: F.interpolate(x, size=(7, 3), mode="nearest-exact"),
    "split": lambda x: torch.cat(x.split([1, 2], 1)[::-1], 1),
    "chunk rows": lambda x: torch.cat(x.chunk(2, 2)[::-1], 3),
    "pad channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "pad and crop": lambda x: F.pad(x, (1, -1, -2, 3)),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max pool, rounded up": lambda x: F.max_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True),
    "reflect": lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 0, 0, 3), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 2, 0, 1), mode="circular"),
    "shuffle": lambda x: F.pad(x, (0, 0, 0, 0, 0, 1)).unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_codes_changes_none(name: str) -> None:
    assert steps_off(MOVES[name], (3, 4, 5))[0] == 0


WINDOWS = {
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"), 0.55),
    "bilinear corners": (lambda x: F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True), 0.75),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), 0.51),
    "adaptive, larger": (lambda x: F.adaptive_avg_pool2d(x, (6, 7)), 0.51),
    "adaptive, even": (lambda x: F.adaptive_avg_pool2d(x, (2, 5)), 0.51),
    "mean of channels": (lambda x: x.mean(1), 0.51),
    "mean of rows": (lambda x: x.mean(2, keepdim=True), 0.51),
    "mean of all": (lambda x: x.mean((1, 2, 3), keepdim=True), 0.51),
    "pad with a value": (lambda x: F.pad(x, (1, 0, 0, 2), value=1.5), 0.5),
    "line, pooled": (lambda x: F.avg_pool1d(x.flatten(2), 3, 2, 1), 0.51),
    "line, linear": (lambda x: F.interpolate(x.flatten(2), scale_factor=2, mode="linear"), 0.55),
    "line, nearest": (lambda x: F.interpolate(x.flatten(2), scale_factor=2), 0),
    "line, adaptive": (lambda x: F.adaptive_avg_pool1d(x.flatten(2), 7), 0.51),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_what_averages_codes_rounds_once(name: str) -> None:
    function, most = WINDOWS[name]
    assert steps_off(function, (3, 4, 5), profile="tosa-single")[0] <= most


def _whole(layer: nn.Module) -> nn.Module:
    """The layer with weights on a grid of 1/64 that 8 bits hold exactly, whatever the channel."""
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-127, 128, layer.weight.shape) / 64)
        axis = 1 if "Transpose" in type(layer).__name__ else 0
        groups = layer.groups
        weight = layer.weight.view(groups, -1, *layer.weight.shape[1:]) if axis else layer.weight
        weight.flatten(0, 1)[0].fill_(127 / 64) if axis else weight[:, 0].fill_(127 / 64)
        if axis:
            weight[:, 0] = 127 / 64  # the first input channel of each group reads every output channel
    return layer


LAYERS = {
    "transpose": (lambda: nn.ConvTranspose2d(3, 4, 3, bias=False), (3, 4, 5)),
    "transpose, stride": (lambda: nn.ConvTranspose2d(3, 4, (3, 2), (2, 3), (1, 0), (1, 2), bias=False), (3, 4, 5)),
    "transpose, groups": (lambda: nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=2, bias=False), (4, 3, 5)),
    "transpose, depthwise": (lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=4, bias=False), (4, 3, 5)),
    "transpose, dilation": (lambda: nn.ConvTranspose2d(3, 4, (3, 2), 1, (2, 1), 0, 1, False, (2, 1)), (3, 4, 5)),
    "line": (lambda: nn.Conv1d(3, 4, 5, 2, 1, bias=False), (3, 9)),
    "line, same": (lambda: nn.Conv1d(4, 4, 4, padding="same", dilation=2, groups=2, bias=False), (4, 9)),
    "line, transpose": (lambda: nn.ConvTranspose1d(3, 4, 4, 2, 1, 1, bias=False), (3, 7)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_accumulators_are_the_exact_sums(name: str) -> None:
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer = _whole(build())
    off, graph = steps_off(layer, shape)
    (op,) = graph.mac_ops
    assert np.allclose(op.weight_params.scale, 1 / 64)
    if name.startswith("line"):
        assert off <= 0.51  # a line that leaves is requantized
    else:
        assert off < 1e-6


def test_slopes_of_a_prelu_belong_to_their_channels() -> None:
    layer = nn.PReLU(4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 0.0, -1.5, 0.01]))
    assert steps_off(layer, (4, 3, 5), profile="tosa-single")[0] <= 0.501
    assert steps_off(layer, (4,), profile="tosa-single", activation_bits=16)[0] <= 0.501
    one = nn.PReLU()
    assert steps_off(one, (4, 3), profile="tosa-single")[0] <= 0.501


def test_a_line_of_layers_changes_shape_at_its_ends_alone() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 4, 3), nn.SiLU(),
                          nn.MaxPool1d(2), nn.Conv1d(4, 2, 1)).eval()  # fmt: skip
    graph = acs.from_torch(model, torch.randn(8, 3, 16))
    kinds = [op.kind for op in graph.ops]
    assert kinds == ["reshape", "transpose", "conv2d", "conv2d", "lut", "max_pool2d", "conv2d", "transpose", "reshape"]
    assert graph.op("0.layer").requantizer.qmin == graph.tensors["0.layer"].params.zero_point  # ReLU is fused


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x / x, "a quotient of two tensors"),
        (lambda x: x * 0, "0.0 x"),
        (lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear"), "no whole sizes"),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "upsample_bicubic2d"),
        (lambda x: x.chunk(2, 0)[0], "works along the batch"),
        (lambda x: x.mean(0, keepdim=True) + x, "a mean over the batch"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(function, match: str) -> None:
    with pytest.raises(acs.AccelsimError, match=match):
        acs.from_torch(Call(function), torch.randn(4, 3, 4, 5))


def test_a_profile_without_the_operator_says_so() -> None:
    with pytest.raises(acs.AccelsimError, match="'gemmini' does not define operator 'mul'"):
        acs.from_torch(Call(lambda x: x * x), torch.randn(4, 3), profile="gemmini")
