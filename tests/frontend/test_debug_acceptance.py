"""Faults planted in the trained digits networks: debug finds each and names the layer; minutes."""

from __future__ import annotations

import copy

import pytest
import torch
from recipe_networks import ChannelClip

import accelsim as acs
from accelsim.frontend.digits import load_digits_data, trained

pytestmark = pytest.mark.slow


def first_finding(model, **config):
    data = load_digits_data()
    found = acs.debug(model, data.calibration, (data.test_images, data.test_labels), samples=128, **config)
    print(found)
    return found.findings[0]


def test_a_channel_scaled_by_64() -> None:
    model = copy.deepcopy(trained("mobilenet"))
    block = model.blocks[2]
    scale = torch.ones(block.expand[0].out_channels)
    scale[7] = 64
    with torch.no_grad():
        block.expand[1].weight *= scale
        block.expand[1].bias *= scale
        block.expand[2] = ChannelClip(6 * scale)
        block.depthwise[0].weight /= scale.view(-1, 1, 1, 1)
    found = first_finding(model, per_channel=False)
    assert (found.kind, found.layer) == ("channel-range", "blocks.2.expand.0") and "channel 7" in found.what


@pytest.mark.parametrize(("name", "layer"), [("resnet", "blocks.1.conv1"), ("mobilenet", "blocks.3.depthwise.0")])
@pytest.mark.parametrize("limits", [(0.0, 0.3), (-100.0, 300.0)])
def test_a_wrong_activation_range(name: str, layer: str, limits: tuple[float, float]) -> None:
    found = first_finding(trained(name), overrides={layer: {"activation_range": limits}})
    assert (found.kind, found.layer) == ("activation-range", layer)


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_a_missing_bias_correction(name: str) -> None:
    found = first_finding(trained(name), bias_correction=False, per_channel=False, weight_bits=4)
    assert found.kind == "bias-shift" and found.gain_db > 1


@pytest.mark.parametrize(("name", "layer"), [("resnet", "blocks.2.conv2"), ("mobilenet", "blocks.1.depthwise.0")])
def test_a_two_bit_layer(name: str, layer: str) -> None:
    found = first_finding(trained(name), weight_bits={layer: 2, "*": 8})
    assert (found.kind, found.layer) == ("few-bits", layer)


def test_mixed_widths_beat_uniform_ones() -> None:
    """At the accuracy of uniform W4A8, at least 15 % less energy on a fused array."""
    data, model = load_digits_data(), trained("mobilenet")
    fused = acs.load_spec("edge-16x16").replace(**{"array.pe": "fused"})
    test = (data.test_images, data.test_labels)
    config = {"weight_bits": 4, "activation_bits": 8, "recipe": "bias-correction"}
    graph = acs.from_torch(model, data.calibration, **config)
    uniform = acs.evaluate(graph, test, fused, float_model=model)
    allowed = max(uniform.float_accuracy - uniform.accuracy, 0.0)
    found = acs.search_bits(model, data.calibration, test, fused, max_accuracy_drop=allowed)
    print(found)
    assert found.best.accuracy >= uniform.accuracy
    assert found.best.cost <= 0.85 * uniform.energy_pj
    assert abs(found.gap["cost"]) < 0.05
