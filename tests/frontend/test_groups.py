"""Weights with a scale for each group of inputs: kernels, operator, frontend, recipes, price."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
import torch
from accelsim_kernels import reference as slow
from corners import integers
from torch import nn

import accelsim as acs
from accelsim.ops.grouped_linear import GroupedLinear
from accelsim.requant import decompose

ACCUMULATORS = [
    {},
    {"accumulator_bits": 20, "overflow": "saturate"},
    {"accumulator_bits": 18, "overflow": "wrap", "bias_at": "after"},
    {"accumulator_bits": 48, "overflow": "saturate", "zero_point_at": "folded"},
    {"levels": [(17, "saturate", 3), (22, "wrap", None)], "order": "tree:2"},
]


def operands(rows: int, inputs: int, outputs: int, size: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    a = rng.integers(-128, 128, (rows, inputs)).astype(np.int8)
    b = rng.integers(-128, 128, (inputs, outputs)).astype(np.int8)
    a[0], b[:, 0] = -128, -128
    groups = -(-inputs // size)
    scales = 2.0 ** rng.uniform(-3, 4, (groups, outputs))
    found = [decompose("tflite-single", row) for row in scales]
    how = {name: np.stack([row[name] for row in found]).astype(np.int64) for name in ("multiplier", "shift")}
    how["b_zero_point"] = rng.integers(-3, 4, (groups, outputs))
    how["bias"] = rng.choice(integers(-(2**20), 2**20), outputs)
    return a, [np.ascontiguousarray(b[i : i + size]) for i in range(0, inputs, size)], {**how, "group_size": size}


@pytest.mark.parametrize("accumulator", ACCUMULATORS)
@pytest.mark.parametrize("shape", [(3, 10, 4, 4), (2, 9, 3, 3), (1, 5, 2, 8)])
def test_fast_sums_of_groups_are_the_reference_s(shape, accumulator) -> None:
    a, b, how = operands(*shape)
    output = {"scheme": "tosa-single", "multiplier": 1 << 30, "shift": -6, "zero_point": 3}
    for requantize in (None, output):
        results = [
            kernels.grouped_matmul(
                a, b, a_zero_point=5, return_events=True, requantize=requantize, **how, **accumulator
            )
            for kernels in (fast, slow)
        ]
        for one, other in zip(*results, strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_one_group_at_scale_one_is_a_plain_product() -> None:
    a, b, how = operands(4, 8, 5, 8)
    how |= {"multiplier": np.full((1, 5), 1 << 30), "shift": np.ones((1, 5), np.int64)}
    plain = fast.matmul(a, b[0], bias=how["bias"], b_zero_point=how["b_zero_point"][0])
    assert np.array_equal(fast.grouped_matmul(a, b, **how), plain)


def test_operands_that_do_not_fit_are_refused() -> None:
    a, b, how = operands(2, 9, 3, 3)
    with pytest.raises(ValueError, match="is not 2 groups"):
        fast.grouped_matmul(a, b[:2], **how)
    with pytest.raises(OverflowError, match="does not fit 8 bits"):
        fast.grouped_matmul(a, b, **{**how, "bias": how["bias"] + 2**21}, levels=[(40, "wrap", 3), (8, "raise", None)])


class Uneven(nn.Module):
    """Layers whose inputs differ in size of weight by group."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(20, 24), nn.Linear(24, 16, bias=False), nn.Linear(16, 5)
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight *= torch.exp2(torch.linspace(-4, 1, layer.in_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


@pytest.fixture(scope="module")
def uneven():
    torch.manual_seed(0)
    return Uneven().eval(), torch.randn(64, 20)


def sqnr_db(graph: acs.IntegerGraph, model: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        exact = model(x).double().numpy()
    error = acs.simulate(graph, x.numpy()).real() - exact
    return float(10 * np.log10(np.square(exact).sum() / np.square(error).sum()))


@pytest.mark.parametrize("options", [{}, {"symmetric_weights": False}, {"per_channel": False}, {"weight_bits": 12},
                                     {"profile": "shift-only"}, {"profile": "onnxruntime"}])  # fmt: skip
def test_both_backends_and_the_float_weights_agree(uneven, options, tmp_path) -> None:
    model, x = uneven
    graph = acs.from_torch(model, x, **{"weight_bits": 6, **options}, weight_group_size=6)
    assert [op.kind for op in graph.ops] == ["linear_grouped"] * 3
    runs = [acs.simulate(graph, x[:3].numpy(), keep="all", backend=backend) for backend in ("numba", "reference")]
    for name, value in runs[0].tensors.items():
        assert value.dtype == runs[1].tensors[name].dtype
        assert np.array_equal(value, runs[1].tensors[name]), name
    graph.save(tmp_path / "g.acsim")
    again = acs.load(tmp_path / "g.acsim")
    assert np.array_equal(acs.simulate(again, x[:3].numpy()).output, runs[0].output)
    op = graph.op("first")
    common = np.asarray(op.weight_params.scale)
    scale = np.ldexp(op.multiplier, op.shift - 31) * common  # (groups, K)
    real = [scale[g][:, None] * (part - op.zero_points[g][:, None]) for g, part in
            enumerate(np.split(op.weight.astype(np.int64), [6, 12, 18], axis=1))]  # fmt: skip
    step = np.repeat(scale.T, [6, 6, 6, 2], axis=1)
    clipped = 0.5 if options.get("symmetric_weights", True) else 1.0
    error = np.abs(np.concatenate(real, axis=1) - model.first.weight.detach().numpy()) / step
    assert np.median(error) <= clipped / 2
    assert np.mean(error <= clipped + 1e-3) > 0.9  # mse ranges may clip the largest


def test_groups_help_where_weights_differ_by_input(uneven) -> None:
    model, x = uneven
    plain = acs.from_torch(model, x, weight_bits=4, activation_bits=12)
    grouped = acs.from_torch(model, x, weight_bits=4, activation_bits=12, weight_group_size=4)
    assert sqnr_db(grouped, model, x) > sqnr_db(plain, model, x) + 2


@pytest.mark.parametrize("step", ["gptq", "adaround(iterations=60)"])
def test_rounding_by_data_takes_groups(uneven, step: str) -> None:
    model, x = uneven
    config = {"weight_bits": 3, "activation_bits": 12, "weight_group_size": 4}
    ranges = ["activation-ranges", "weight-ranges"]
    nearest = acs.from_torch(model, x, recipe=ranges, **config)
    better = acs.from_torch(model, x, recipe=[*ranges, step], **config)
    assert sqnr_db(better, model, x) > sqnr_db(nearest, model, x)


def test_every_group_is_priced(uneven) -> None:
    model, x = uneven
    plain, grouped = (acs.from_torch(model, x, weight_group_size=size) for size in (None, 5))
    energies = [acs.cost(g, "edge-16x16").cost.layers[0].energy_pj["requantize"] for g in (plain, grouped)]
    assert isinstance(grouped.op("first"), GroupedLinear)
    assert np.isclose(energies[1], energies[0] * (1 + 4))


def test_what_does_not_know_groups_says_so(uneven) -> None:
    model, x = uneven
    graph = acs.from_torch(model, x, weight_group_size=8)
    run = acs.simulate(graph, x[:1].numpy(), keep="all")
    for call in (lambda: acs.certify(graph, "edge-16x16"), lambda: acs.explain(run, "first", (0, 0))):
        with pytest.raises(acs.AccelsimError, match="rescaled inside the sum"):
            call()
    with pytest.raises(acs.AccelsimError, match="weight_group_size"):
        acs.prepare_qat(model, x, weight_group_size=8)
    with pytest.raises(acs.AccelsimError, match=r"layer 'first': 'accumulator' needs one weight scale"):
        recipe = ["activation-ranges", "weight-ranges", "accumulator"]
        acs.from_torch(model, x, weight_group_size=8, recipe=recipe)


def test_sizes_by_layer_and_wrong_ones(uneven) -> None:
    model, x = uneven
    graph = acs.from_torch(model, x, overrides={"second": {"weight_group_size": 8}})
    assert [op.kind for op in graph.ops] == ["linear", "linear_grouped", "linear"]
    assert len(graph.op("second").multiplier) == 3
    assert acs.from_torch(model, x, weight_group_size=64).op("first").kind == "linear"
    for wrong in (1, 0, True, 2.5):
        with pytest.raises(acs.AccelsimError, match="weight_group_size"):
            acs.from_torch(model, x, weight_group_size=wrong)


class Normed(nn.Module):
    """Pre-norm block with outlier channels behind the layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(12), nn.Linear(12, 24), nn.Linear(24, 12)
        with torch.no_grad():
            self.norm.weight.copy_(torch.exp2(torch.linspace(-2, 4, 12)))
            self.norm.bias.uniform_(-1, 1)
            self.up.weight *= torch.exp2(torch.linspace(2, -4, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


def test_smooth_moves_outliers_of_a_layer_norm_into_the_next_layer() -> None:
    from accelsim.frontend.api import calibrated
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.recipes.draft import Draft
    from accelsim.frontend.recipes.smooth import smooth

    torch.manual_seed(0)
    model, x = Normed().eval(), torch.randn(16, 5, 12)
    network = calibrated(model, x)
    after = smooth(Draft("n", network.seen, QuantConfig()))
    (got,) = after.graph.run((x,))
    with torch.no_grad():
        np.testing.assert_allclose(got.numpy(), model(x).numpy(), atol=1e-4)
    gains = [g.node("norm").parameters["weight"].abs() for g in (network.seen.graph, after.graph)]
    assert gains[1].max() / gains[1].min() < gains[0].max() / gains[0].min() / 4
    ranges = ["activation-ranges(method=min-max)", "weight-ranges(method=min-max)"]
    plain, smoothed = (acs.from_torch(model, x, recipe=[*first, *ranges], weight_bits=6, activation_bits=6)
                       for first in ([], ["smooth"]))  # fmt: skip
    assert sqnr_db(smoothed, model, x) > sqnr_db(plain, model, x)
