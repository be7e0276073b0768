"""What the recipes must reach on the digits: integer simulation of whole trained networks; minutes."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
from recipe_networks import ChannelClip
from torch import nn

import accelsim as acs
from accelsim.frontend.api import Calibrated, calibrated, quantized
from accelsim.frontend.digits import load_digits_data, trained
from accelsim.frontend.recipes.chains import chains

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)

# the "CLE + MSE + bias correction, per tensor" rows of one training seed: top-1 in %
REFERENCE = {
    "resnet": {(8, 8): 99.72, (4, 8): 99.86, (4, 4): 99.86, (3, 8): 99.44},
    "mobilenet": {(8, 8): 99.58, (4, 8): 99.30, (4, 4): 99.17, (3, 8): 98.89},
}


@cache
def network(name: str, seed: int) -> Calibrated:
    return calibrated(trained(name, seed), load_digits_data().calibration)


def top1(found: Calibrated, spec: str | acs.AcceleratorSpec = "edge-16x16", **config) -> float:
    data = load_digits_data()
    run = acs.simulate(quantized(found, acs.QuantConfig(**config)), data.test_images, spec)
    return 100 * float((run.real().argmax(axis=1) == data.test_labels).mean())


def mean_top1(name: str, bits: tuple[int, int], **config) -> float:
    widths = {"weight_bits": bits[0], "activation_bits": bits[1]}
    return float(np.mean([top1(network(name, seed), **widths, **config) for seed in SEEDS]))


@pytest.mark.parametrize("recipe", ["white-paper", "bias-correction"])
@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_recipe_reaches_the_reference_rows(name: str, recipe: str) -> None:
    for bits, expected in REFERENCE[name].items():
        assert mean_top1(name, bits, recipe=recipe, per_channel=False) >= expected - 0.6, bits


@pytest.mark.parametrize(
    ("name", "per_channel", "least"), [("resnet", False, 99.0), ("mobilenet", False, 98.0), ("mobilenet", True, 99.0)]
)
def test_adaround_at_two_bits(name: str, per_channel: bool, least: float) -> None:
    assert mean_top1(name, (2, 8), recipe="white-paper", per_channel=per_channel) >= least


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_data_free_within_a_point_of_float(name: str) -> None:
    data = load_digits_data()
    for seed in SEEDS:
        with torch.no_grad():
            logits = trained(name, seed)(torch.from_numpy(data.test_images))
        expected = 100 * float((logits.argmax(1).numpy() == data.test_labels).mean())
        # two images of the input's range, no other data
        extremes = np.stack([np.zeros((1, 16, 16), np.float32), np.ones((1, 16, 16), np.float32)])
        free = calibrated(trained(name, seed), extremes)
        assert top1(free, recipe="data-free", per_channel=False) >= expected - 1


def rescaled(model: nn.Module, doublings: float, seed: int) -> nn.Module:
    """The same function with channel i of every chain divided by 2^U(-k, k)."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for chain in chains(network("mobilenet", 0).seen.graph):
        layer = model.get_submodule(chain.first.layer)
        scale = torch.exp2(torch.empty(len(layer.weight)).uniform_(-doublings, doublings, generator=generator))
        parent = model.get_submodule(chain.first.layer.rpartition(".")[0])
        with torch.no_grad():
            parent[1].weight /= scale
            parent[1].bias /= scale
            if len(parent) > 2:
                parent[2] = ChannelClip(6 / scale)
            (reader,) = (model.get_submodule(r.node.layer) for r in chain.readers)
            depthwise = isinstance(reader, nn.Conv2d) and reader.groups == len(scale)
            view = (-1, 1, 1, 1) if depthwise else (1, -1, 1, 1) if isinstance(reader, nn.Conv2d) else (1, -1)
            reader.weight *= scale.view(view)
    return model


def test_rescaled_network_comes_back() -> None:
    data = load_digits_data()
    plain = trained("mobilenet")
    config = {"per_channel": False, "weight_bits": 8}
    unscaled = top1(network("mobilenet", 0), recipe="bias-correction", **config)
    collapsed = []
    for seed in range(5):
        model = rescaled(plain, 4, seed)
        with torch.no_grad():
            images = torch.from_numpy(data.test_images)
            assert torch.allclose(plain(images), model(images), atol=2e-3)
        found = calibrated(model, data.calibration)
        collapsed.append(top1(found, recipe="min-max", **config))
        back = [top1(found, recipe=recipe, **config) for recipe in ("bias-correction", "white-paper")]
        print(f"seed {seed}: min-max {collapsed[-1]:.2f}, CLE {back}, unscaled {unscaled:.2f}")
        assert min(back) >= unscaled - 0.6
    assert np.mean(collapsed) < 60 and max(collapsed) < 90


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
@pytest.mark.parametrize(("bits", "allowed"), [(16, 1.0), (14, 3.0)])
def test_narrow_accumulators_are_safe_and_accurate(name: str, bits: int, allowed: float) -> None:
    narrow = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": bits})
    before = ("equalize", "absorb-bias", "activation-ranges(method=mse)", "weight-ranges(method=mse)")
    config = {"weight_bits": 4, "activation_bits": 8, "per_channel": False}
    wide, ours = [], []
    for seed in SEEDS:
        wide.append(top1(network(name, seed), recipe=[*before, "bias-correction"], **config))
        recipe = [*before, f"accumulator(bits={bits})"]
        assert acs.certify(quantized(network(name, seed), acs.QuantConfig(recipe=recipe, **config)), narrow)
        ours.append(top1(network(name, seed), narrow, recipe=recipe, **config))
    print(f"{name} {bits} bits: {np.mean(ours):.2f} against {np.mean(wide):.2f}")
    assert np.mean(ours) >= np.mean(wide) - allowed
