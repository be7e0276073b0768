"""Training beyond convolutional networks: lines, transpose convolutions, transformers, tokens, and what they learn."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from trained_networks import check, narrow, train

import accelsim as acs
from accelsim.frontend.operators.transpose_conv import exchanged
from accelsim.frontend.sequence_networks import Block, Decoder, digit_sequences


class Lines(nn.Module):
    """One-dimensional signals: convolutions in groups, a transpose convolution, a table, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.grouped, self.wider = nn.Conv1d(8, 8, 3, stride=2, groups=2), nn.ConvTranspose1d(8, 4, 4, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.grouped(F.relu(self.norm(self.first(x)))))
        return self.head(self.wider(x).mean(-1))


class Wider(nn.Module):
    """Down and up again: transpose convolutions with batch norm, groups and dilation, resizing, an image as output."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm1 = nn.Conv2d(2, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.up, self.norm2 = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.odd = nn.ConvTranspose2d(6, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2)
        self.slopes, self.last = nn.PReLU(6), nn.Conv2d(6, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.hardswish(self.norm1(self.down(x)))
        x = self.slopes(self.odd(F.relu(self.norm2(self.up(x)))))
        return self.last(F.interpolate(x, scale_factor=2, mode="bilinear"))


class Sentences(nn.Module):
    """Words and kinds of words in one input, positions, a class token, fixed rotations, post-norm attention, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(30, 16), nn.Embedding(3, 16)
        self.positions, self.token = nn.Parameter(torch.randn(6, 16) * 0.3), nn.Parameter(torch.randn(1, 1, 16))
        self.register_buffer("turned", torch.rand(6, 16) + 0.5)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, "gelu", batch_first=True)
        self.plain, self.head = nn.LayerNorm(16, elementwise_affine=False), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.words(x[:, :5]) + self.kinds(x[:, 5:])
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), y], 1) * self.turned + self.positions
        return self.head(torch.tanh(self.plain(self.layer(y)[:, 0])))


def sentences() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randint(0, rows, (16, 5), generator=generator) for rows in (30, 3)]
    return torch.cat(parts, 1)


REAL = torch.randn(24, 5, 16, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "lines": (Lines, torch.randn(24, 3, 20, generator=torch.Generator().manual_seed(0))),
    "wider": (Wider, torch.randn(8, 2, 8, 8, generator=torch.Generator().manual_seed(0))),
    "block": (lambda: Block(16, 2, nn.LayerNorm), REAL),
    "sentences": (Sentences, sentences()),
    "decoder": (lambda: Decoder(length=6, width=16, layers=1), torch.from_numpy(digit_sequences(24, 6))),
}


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    make, x = NETWORKS[name]
    torch.manual_seed(0)
    return make().eval(), x


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("profile", "bits"), [("tflm", 4), ("onnxruntime", 6), ("tosa-single", 2)])
def test_forward_equals_simulation_before_and_after_training(name: str, profile: str, bits: int) -> None:
    model, x = network(name)
    prepared = acs.prepare_qat(model, x, weight_bits=bits, activation_bits=bits, profile=profile)
    check(prepared, x)
    train(prepared, x)
    check(prepared, x)


@pytest.mark.parametrize("name", ["lines", "wider"])
@pytest.mark.parametrize("batch_norm", ["double-forward", "per-channel"])
def test_batch_norm_behind_other_convolutions(name: str, batch_norm: str) -> None:
    model, x = network(name)
    prepared = acs.prepare_qat(model, x, weight_bits=4, batch_norm=batch_norm)
    before = copy.deepcopy(prepared.state_dict())
    train(prepared, x)
    check(prepared, x)
    moved = {key for key, value in prepared.state_dict().items() if not torch.equal(value, before[key])}
    assert sum("running_mean" in key for key in moved) == {"lines": 1, "wider": 2}[name]


@pytest.mark.parametrize("name", ["decoder", "lines", "wider"])
def test_python_integers_agree_in_narrow_accumulators(name: str) -> None:
    """Products of two activations and transpose convolutions overflow in the forward pass as they do in the graph."""
    model, x = network(name)
    spec = narrow(11, "saturate")
    prepared = acs.prepare_qat(model, x, weight_bits=6, activation_bits=7, spec=spec)
    train(prepared, x, lr=1e-3)
    run = check(prepared, x[:2], spec, backend="reference")
    assert any(event.outputs_with_events for event in run.events)


def test_everything_that_a_network_learns_is_learned() -> None:
    """Norms, embeddings, positions, class tokens and slopes move, in the graph too; what was no parameter stays."""
    model, x = network("sentences")
    prepared = acs.prepare_qat(model, x, weight_bits=8)
    learned = {name.removeprefix("operands.") for name, _ in prepared.named_parameters() if name.startswith("operands")}
    layer = [f"layer/norm{i}.{name}" for i in (1, 2) for name in ("weight", "bias")]
    assert learned == {"words.weight", "kinds.weight", "positions.value", "expand.value", *layer}
    before, fixed = prepared.lower(), {name: value.clone() for name, value in prepared.operands.named_buffers()}
    assert set(fixed) == {"turned.value", "plain.weight"}
    train(prepared, x, lr=0.02)
    after = prepared.lower()
    for kind, field in (
        ("layer_norm", "gamma"),
        ("layer_norm", "beta"),
        ("embedding", "table"),
        ("constant", "values"),
    ):
        pairs = [(op, after.op(op.name)) for op in before.ops if op.kind == kind and op.name not in ("turned", "plain")]
        assert pairs and all(not np.array_equal(getattr(a, field), getattr(b, field)) for a, b in pairs), kind
    assert all(torch.equal(value, fixed[name]) for name, value in prepared.operands.named_buffers())
    model, x = network("wider")
    slopes = acs.prepare_qat(model, x).held("slopes.prelu")
    assert [name for name, _ in slopes.named_parameters()] == ["slope"]


def test_gradients_are_those_of_the_float_network() -> None:
    """On fine grids, of everything that is learned."""
    model, x = network("sentences")
    prepared = acs.prepare_qat(
        model, x, weight_bits=14, activation_bits=14, residual_bits=14, ranges="min-max", bias_correction=False,
        spec=narrow(48, "wrap"),
    )  # fmt: skip
    target = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    for module in (model, prepared):
        (module(x) * target).sum().backward()
    expected = {
        "words.weight": model.words.weight,
        "kinds.weight": model.kinds.weight,
        "positions.value": model.positions,
        "expand.value": model.token[0],
        "layer/norm1.weight": model.layer.norm1.weight,
        "layer/norm2.bias": model.layer.norm2.bias,
    }
    mine = dict(prepared.operands.named_parameters())
    grads = {name: (mine[name].grad, value.grad) for name, value in expected.items() if name != "expand.value"}
    grads["expand.value"] = (mine["expand.value"].grad, model.token.grad[0])
    grads["head.weight"] = (prepared.layer("head").weight.grad, model.head.weight.grad)
    for name, (found, wanted) in grads.items():
        assert (found - wanted).norm() < 0.1 * wanted.norm(), name  # the largest value of a range may clip


def test_gradients_of_transpose_convolutions() -> None:
    """In groups, with dilation, behind batch norm: of weights, and of what lies before them."""
    model, x = network("wider")
    prepared = acs.prepare_qat(
        model, x, weight_bits=14, activation_bits=14, residual_bits=14, ranges="min-max", bias_correction=False,
        spec=narrow(48, "wrap"), batch_norm="double-forward",
    )  # fmt: skip
    prepared.freeze_batch_norm()
    for module in (model, prepared):
        module(x).square().sum().backward()
    for name, groups in (("up", 1), ("odd", 2)):
        found, own = prepared.layer(name).weight.grad, model.get_submodule(name).weight.grad
        wanted = exchanged(own, groups)
        assert found.shape == wanted.shape and (found - wanted).norm() < 0.1 * wanted.norm(), name
    found, wanted = prepared.layer("down").weight.grad, model.down.weight.grad
    assert (found - wanted).norm() < 0.1 * wanted.norm()


def test_transformers_are_ordinary_modules_too() -> None:
    """State, copies and gradient checkpointing, embeddings and norms included; tokens choose rows."""
    model, x = network("sentences")
    prepared = acs.prepare_qat(model, x, weight_bits=4)
    train(prepared, x)
    twin = copy.deepcopy(prepared)
    fresh = acs.prepare_qat(model, x, weight_bits=4)
    fresh.load_state_dict(prepared.state_dict())
    codes = prepared.eval().codes(x)
    for other in (twin.eval(), fresh.eval()):
        assert all(np.array_equal(values, codes[name]) for name, values in other.codes(x).items())
    twin(x).square().sum().backward()
    checkpoint(fresh, x, use_reentrant=False).square().sum().backward()
    for (name, a), (_, b) in zip(twin.named_parameters(), fresh.named_parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad), name
    with pytest.raises(acs.AccelsimError, match="integer codes .* do not fit the grid 0 … 31"):
        prepared(x + 40)
    with pytest.raises(acs.AccelsimError, match="indices .* of a table of 30 rows"):
        prepared(torch.full_like(x, 31))
    with torch.no_grad():
        prepared.held("layer.norm1").weight[0] = torch.nan
    with pytest.raises(acs.AccelsimError, match="layer 'layer.norm1': weight is NaN or infinite: lower the learning"):
        prepared(x)


def test_grids_that_a_runtime_prescribes_stay() -> None:
    """Probabilities at 2^-8 and tokens as they are: no rescaling appears behind softmax in training."""
    model, x = network("decoder")
    prepared = acs.prepare_qat(model, x)
    train(prepared, x, lr=0.02)
    graph = prepared.lower()
    (softmax,) = (op for op in graph.ops if op.kind == "masked_softmax")
    assert graph.tensors[softmax.output].params == acs.QuantParams(2.0**-8, -128)
    assert graph.tensors[graph.inputs[0]].params == acs.QuantParams(1.0, 0, 4, signed=False)
    for held in (softmax.output, graph.inputs[0]):
        assert not any(p.requires_grad for p in prepared.grid(held).parameters())


def test_calls_of_one_norm_share_its_weights() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.a, self.b = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.norm(self.a(self.norm(x))))

    torch.manual_seed(0)
    prepared = acs.prepare_qat(Twice().eval(), REAL)
    assert list(prepared.operands) == ["norm"]
    train(prepared, REAL)
    run = check(prepared, REAL)
    first, second = (op for op in run.graph.ops if op.kind == "layer_norm")
    assert np.array_equal(first.gamma, second.gamma)
