"""From a torch module to integers: capture, folding, grids, and the exactness of what was lowered."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from exactness import float64_accumulators
from small_networks import everything
from torch import nn

import accelsim as acs
from accelsim.frontend.api import calibrated

# without "add" there are no residuals; QNNPACK cannot rescale by 1 or more, which this network needs once
PROFILES = [p for p in acs.list_profiles() if p != "qnnpack" and "add" in acs.load_profile(p).operators]


@pytest.fixture(scope="module")
def network():
    return everything()


def test_captured_graph_computes_what_the_module_does(network) -> None:
    model, x = network
    (got,) = calibrated(model, x).seen.graph.run((x,))
    with torch.no_grad():
        np.testing.assert_allclose(got.numpy(), model(x).numpy(), atol=2e-5)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_numba_equals_reference(network, profile: str) -> None:
    model, x = network
    graph = acs.from_torch(model, x, profile=profile)
    fast = acs.simulate(graph, x[:1].numpy(), keep="all")
    slow = acs.simulate(graph, x[:1].numpy(), keep="all", backend="reference")
    assert set(fast.tensors) == set(slow.tensors) == set(graph.tensors)
    for name in graph.tensors:
        assert fast.tensors[name].dtype == slow.tensors[name].dtype, name
        assert np.array_equal(fast.tensors[name], slow.tensors[name]), name


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (3, 5), (2, 2), (16, 16), (8, 16)])
def test_every_width_numba_equals_reference(network, bits: tuple[int, int]) -> None:
    model, x = network
    graph = acs.from_torch(model, x, weight_bits=bits[0], activation_bits=bits[1], symmetric_weights=False)
    fast = acs.simulate(graph, x[:1].numpy(), keep="all")
    slow = acs.simulate(graph, x[:1].numpy(), keep="all", backend="reference")
    for name in graph.tensors:
        assert np.array_equal(fast.tensors[name], slow.tensors[name]), name


@pytest.mark.parametrize(("profile", "least_db"), [("tflm", 30), ("onnxruntime", 30), ("shift-only", 22)])
def test_quantized_outputs_are_close_to_float(network, profile: str, least_db: float) -> None:
    model, x = network
    report = acs.evaluate(acs.from_torch(model, x, profile=profile), (x, None), float_model=model)
    assert report.sqnr_db > least_db


def test_more_bits_come_closer(network) -> None:
    model, x = network
    wide = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 48})  # 16 × 16 bits overflow 32
    decibels = []
    for bits in (4, 8, 12, 16):
        graph = acs.from_torch(model, x, weight_bits=bits, activation_bits=bits, profile="shift-only")
        decibels.append(acs.evaluate(graph, (x, None), wide, float_model=model).sqnr_db)
    assert all(wide > narrow + 15 for narrow, wide in pairwise(decibels)), decibels


def test_bias_correction_removes_the_mean_error(network) -> None:
    model, x = network
    with torch.no_grad():
        expected = model(x).numpy().mean(axis=0)
    errors = []
    for correction in (False, True):
        graph = acs.from_torch(model, x, weight_bits=3, bias_correction=correction)
        errors.append(np.abs(acs.simulate(graph, x.numpy()).real().mean(axis=0) - expected).max())
    assert errors[1] < errors[0] / 5, errors


def test_accumulators_equal_float64_layer_by_layer(network) -> None:
    """Fed the integer run's own inputs, float64 sums divided by s_w * s_x are the accumulators."""
    model, x = network
    graph = acs.from_torch(model, x, symmetric_weights=False)
    run = acs.simulate(graph, x.numpy(), keep="all")
    for op in graph.mac_ops:
        expected = float64_accumulators(graph, op, run.tensors[op.inputs[0]])
        assert np.array_equal(np.rint(expected), run.accumulators[op.name]), op.name
        assert np.abs(expected - np.rint(expected)).max() < 1e-3, op.name


def test_module_is_left_as_it_was(network) -> None:
    model, x = everything(1)
    model.train()
    model.bn.eval()
    before = {name: module.training for name, module in model.named_modules()}
    acs.from_torch(model, x)
    assert {name: module.training for name, module in model.named_modules()} == before


def test_bits_by_layer_and_overrides(network) -> None:
    model, x = network
    graph = acs.from_torch(
        model,
        x,
        weight_bits={"stem": 8, "*": 4},
        activation_bits={"input": 8, "stem": 6},
        overrides={"head": {"weight_bits": 2, "per_channel": False}},
    )
    bits = {op.name: op.weight_params.bits for op in graph.mac_ops}
    assert bits["stem"] == 8 and bits["grouped"] == 4
    assert bits["head"] == bits["head@2"] == 2
    assert graph.op("head").weight_params.axis is None and graph.op("grouped").weight_params.axis == 0
    assert graph.tensors["stem"].bits == 6 and graph.tensors["x"].bits == 8


def test_profile_at_foreign_widths_says_so(network) -> None:
    model, x = network
    assert acs.from_torch(model, x).notes == ()
    (note,) = acs.from_torch(model, x, weight_bits=3).notes
    assert "3-bit weights" in note and "tflm" in note


def test_relu_becomes_the_clamp(network) -> None:
    model, x = network
    graph = acs.from_torch(model, x)
    stem = graph.op("stem")
    zero_point = graph.tensors["stem"].params.zero_point
    assert stem.requantizer.qmin == zero_point
    assert not [op for op in graph.ops if op.kind == "requantize" and "relu" in op.name and "stem" in op.inputs]


def test_dead_channel_with_bias_keeps_its_bias() -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[1] = 0
        layer.bias[:] = torch.tensor([0.5, -2.0, 0.25])
    x = torch.randn(64, 4)
    graph = acs.from_torch(layer, x)
    outputs = acs.simulate(graph, x.numpy()).real()
    assert np.abs(outputs[:, 1] + 2.0).max() < 1e-3


def test_two_inputs_and_two_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Conv2d(1, 4, 3)

        def forward(self, p, q):
            q = torch.relu(self.b(q))
            return self.a(p) + q.mean((2, 3)), q

    x = (torch.randn(16, 4), torch.randn(16, 1, 6, 6))
    model = Two()
    graph = acs.from_torch(model, x)
    run = acs.simulate(graph, tuple(v.numpy() for v in x))
    first, second = (run.real(name) for name in graph.outputs)
    with torch.no_grad():
        expected = model(*x)
    assert second.shape == expected[1].shape
    assert np.abs(first - expected[0].numpy()).max() < 0.1
    assert np.abs(second - expected[1].numpy()).max() < 0.1


def test_exported_program_gives_the_same_graph(network) -> None:
    model, x = network
    program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    by_module = acs.simulate(acs.from_torch(model, x), x.numpy()).output
    by_program = acs.simulate(acs.from_torch(program, x), x.numpy()).output
    assert np.array_equal(by_module, by_program)


def test_a_scale_that_a_scheme_cannot_express_names_the_layer(network) -> None:
    model, x = network
    with pytest.raises(acs.AccelsimError, match=r"layer '.*qnnpack-q31.*outside"):
        acs.from_torch(model, x, profile="qnnpack")


@pytest.mark.parametrize("profile", ["nvdla", "gemmini"])
def test_profiles_without_zero_points_get_symmetric_activations(profile: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.randn(16, 1, 8, 8)
    graph = acs.from_torch(model, x, profile=profile)
    assert all(np.all(info.params.zero_point == 0) for info in graph.tensors.values())
    fast, slow = (acs.simulate(graph, x[:2].numpy(), backend=b).output for b in ("numba", "reference"))
    assert np.array_equal(fast, slow)
    assert acs.evaluate(graph, (x, None), float_model=model).sqnr_db > 25


def test_view_of_a_tensor_changed_in_place() -> None:
    class Aliased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x):
            y = self.conv(x)
            flat = y.flatten(1)
            y.relu_()
            return flat

    x = torch.randn(8, 1, 6, 6)
    model = Aliased().eval()
    (got,) = calibrated(model, x).seen.graph.run((x,))
    assert torch.equal(got, model(x))
    assert got.min() == 0
