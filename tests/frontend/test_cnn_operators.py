"""Networks of torchvision's families: captured, quantized, simulated by both backends, priced, close to float."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cnn_networks import NETWORKS, network
from torch import nn

import accelsim as acs
from accelsim.frontend.api import calibrated


@pytest.fixture(scope="module")
def networks():
    made = {}

    def get(name: str):
        if name not in made:
            made[name] = network(name)
        return made[name]

    return get


def equal_on_both_backends(graph: acs.IntegerGraph, x: np.ndarray) -> None:
    fast, slow = (acs.simulate(graph, x, keep="all", backend=backend) for backend in ("numba", "reference"))
    assert set(fast.tensors) == set(slow.tensors) == set(graph.tensors)
    for name, value in fast.tensors.items():
        assert value.dtype == slow.tensors[name].dtype, name
        assert np.array_equal(value, slow.tensors[name]), name


def sqnr_db(graph: acs.IntegerGraph, model: torch.nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        exact = model(x).double().numpy()
    error = acs.simulate(graph, x.numpy()).real() - exact
    return float(10 * np.log10(np.square(exact).sum() / np.square(error).sum()))


@pytest.mark.parametrize("name", NETWORKS)
def test_captured_graph_computes_what_the_module_does(networks, name: str) -> None:
    model, x = networks(name)
    (got,) = calibrated(model, x).seen.graph.run((x,))
    with torch.no_grad():
        np.testing.assert_allclose(got.numpy(), model(x).numpy(), atol=1e-4)


QUICK = ("mobilenet-v3", "shufflenet-v2", "keyword")
SOME = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]


@pytest.mark.parametrize("name", SOME)
def test_networks_are_integers_that_stay_close_to_float(networks, name: str, tmp_path) -> None:
    model, x = networks(name)
    graph = acs.from_torch(model, x)
    equal_on_both_backends(graph, x[:1].numpy())
    assert sqnr_db(graph, model, x) > 22, name
    layers = acs.cost(graph, "edge-16x16").cost.layers
    priced = {layer.name for layer in layers if sum(layer.energy_pj.values()) > 0}
    assert {op.name for op in graph.ops if op.kind in ("lut", "mul", "conv2d", "linear", "slice")} <= priced
    graph.save(tmp_path / "graph.acsim")
    loaded = acs.load(tmp_path / "graph.acsim")
    assert np.array_equal(acs.simulate(loaded, x[:4].numpy()).output, acs.simulate(graph, x[:4].numpy()).output)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [(8, 8), (8, 16), (16, 16), (4, 8), (4, 4), (8, 12)])
@pytest.mark.parametrize("profile", ["tflm", "onnxruntime", "onnxruntime-float", "fbgemm", "shift-only", "tosa-single"])
def test_every_width_and_profile_on_both_backends(networks, name: str, bits: tuple[int, int], profile: str) -> None:
    if name == "segmentation" and profile == "shift-only":
        pytest.skip("slopes of a PReLU are no powers of two")
    model, x = networks(name)
    graph = acs.from_torch(model, x, weight_bits=bits[0], activation_bits=bits[1], profile=profile)
    equal_on_both_backends(graph, x[:1].numpy())


@pytest.mark.slow
def test_more_activation_bits_come_closer(networks) -> None:
    model, x = networks("mobilenet-v3")
    graphs = [acs.from_torch(model, x, weight_bits=12, activation_bits=bits) for bits in (6, 8, 11)]
    decibels = [sqnr_db(graph, model, x) for graph in graphs]
    assert decibels[0] + 8 < decibels[1] < decibels[2] - 12, decibels


@pytest.mark.parametrize("name", ["mobilenet-v3", "segmentation"])
def test_equalization_keeps_the_function(networks, name: str) -> None:
    """Squeeze-and-excitation, hard-swish and transpose convolutions start and end no chain; the rest is rescaled."""
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.recipes.draft import Draft
    from accelsim.frontend.recipes.equalize import equalize

    model, x = networks(name)
    draft = Draft("n", calibrated(model, x).seen, QuantConfig())
    after = equalize(draft)
    (got,) = after.graph.run((x,))
    with torch.no_grad():
        np.testing.assert_allclose(got.numpy(), model(x).numpy(), atol=1e-4)


def test_channels_are_rescaled_through_leaky_relu_and_prelu() -> None:
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.recipes.draft import Draft
    from accelsim.frontend.recipes.equalize import equalize

    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3), nn.PReLU(6), nn.Conv2d(6, 4, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 3, 1)]
    with torch.no_grad():
        layers[0].weight *= torch.exp2(torch.arange(6.0) - 3).view(-1, 1, 1, 1)
        layers[1].weight.copy_(torch.linspace(-0.5, 1, 6))
    model, x = nn.Sequential(*layers), torch.randn(8, 2, 6, 6)
    draft = Draft("n", calibrated(model, x).seen, QuantConfig())
    after = equalize(draft)
    (got,) = after.graph.run((x,))
    with torch.no_grad():
        np.testing.assert_allclose(got.numpy(), model(x).numpy(), atol=1e-4)
    ranges = [g.node("0").parameters["weight"].abs().amax((1, 2, 3)) for g in (draft.graph, after.graph)]
    assert ranges[1].max() / ranges[1].min() < ranges[0].max() / ranges[0].min() / 2


GPTQ = ["weight-ranges", "gptq", "activation-ranges"]


LONGER = [pytest.param(recipe, marks=pytest.mark.slow) for recipe in ("bias-correction", GPTQ)]


@pytest.mark.parametrize("recipe", ["data-free", *LONGER])
def test_recipes_go_through(networks, recipe) -> None:
    model, x = networks("mobilenet-v3")
    assert sqnr_db(acs.from_torch(model, x, recipe=recipe), model, x) > 12


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("recipe", ["white-paper", "reconstruct"])
def test_learned_rounding_helps_at_three_bits(networks, name: str, recipe: str) -> None:
    model, x = networks(name)
    nearest = acs.from_torch(model, x, weight_bits=3, bias_correction=False)
    learned = acs.from_torch(model, x, weight_bits=3, recipe=recipe)
    assert sqnr_db(learned, model, x) > sqnr_db(nearest, model, x)
