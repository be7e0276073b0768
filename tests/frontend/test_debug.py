"""debug: every planted fault is found, its layer named, and the remedy is the right one."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from recipe_networks import ChannelClip, chained
from torch import nn

import accelsim as acs

MEND = {
    "channel-range": "equalize",
    "activation-range": "set this range by 'mse'",
    "few-bits": "give it 8 bits",
    "bias-shift": "bias-correction",
}


@pytest.fixture(scope="module")
def network():
    model, x = chained()
    with torch.no_grad():
        labels = model(x).argmax(1).numpy()
    return model, x.numpy(), labels


def diagnosed(network, model: nn.Module | None = None, **config):
    plain, x, labels = network
    return acs.debug(model or plain, x, (x, labels), samples=32, **config)


def blamed(found, kind: str, layer: str) -> None:
    first = found.findings[0]
    assert (first.kind, first.layer) == (kind, layer), str(found)
    assert f"'{layer}'" in found.conclusion[-1] and MEND[kind] in found.conclusion[-1], str(found)
    assert first.gain_db > 3


def test_a_healthy_network_gets_no_advice(network) -> None:
    found = diagnosed(network, weight_bits=12, activation_bits=12)
    assert found.faithful and found.findings == () and found.overflows == {}
    assert found.quantized.accuracy == found.float_accuracy == 1
    assert found.conclusion[-1].startswith("Next: nothing")
    kinds = [q.kind for q in found.quantizers]
    assert kinds.count("weight") == 8 and kinds.count("activation") == 9
    assert found.high_precision.sqnr_db > found.quantized.sqnr_db - 1


def test_one_channel_scaled_by_64(network) -> None:
    model = copy.deepcopy(network[0])
    scale = torch.ones(12)
    scale[5] = 64
    with torch.no_grad():
        model.expand[1].weight *= scale
        model.expand[1].bias *= scale
        model.expand[2] = ChannelClip(6 * scale)
        model.depthwise[0].weight /= scale.view(-1, 1, 1, 1)
        assert torch.allclose(model(torch.from_numpy(network[1])), network[0](torch.from_numpy(network[1])), atol=1e-4)
    found = diagnosed(network, model, per_channel=False, ranges="min-max")
    blamed(found, "channel-range", "expand.0")
    assert "channel 5 is" in found.findings[0].what
    assert (
        found.findings[0].mended.sqnr_db > diagnosed(network, per_channel=False, ranges="min-max").quantized.sqnr_db - 2
    )


@pytest.mark.parametrize("limits", [(0.0, 0.2), (-40.0, 400.0)])
def test_a_wrong_activation_range(network, limits) -> None:
    found = diagnosed(network, overrides={"depthwise.0": {"activation_range": limits}})
    blamed(found, "activation-range", "depthwise.0")
    worst = found.worst("activation")
    assert worst.layer == "depthwise.0"
    # biases that make up for the wrong range are not held against the weights, nor against the network without it
    assert found.weights_only.sqnr_db > found.quantized.sqnr_db + 3
    assert worst.without.sqnr_db > found.quantized.sqnr_db + 3


def test_a_missing_bias_correction(network) -> None:
    """Codes cut off instead of rounded: every output is too low by a constant."""
    model = copy.deepcopy(network[0])
    with torch.no_grad():  # all weights but the largest lie just below the middle between two 6-bit codes
        weight = model.project[0].weight
        step = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 31
        low = (torch.floor(weight / step) + 0.49) * step
        weight.copy_(torch.where(weight.abs() < 30.9 * step, low, weight))
    config = {"weight_bits": 6, "ranges": "min-max"}
    blamed(diagnosed(network, model, bias_correction=False, **config), "bias-shift", "project.0")
    corrected = diagnosed(network, model, **config)
    assert "bias-shift" not in {finding.kind for finding in corrected.findings}


def test_a_two_bit_layer_among_eight(network) -> None:
    found = diagnosed(network, weight_bits={"grouped.0": 2, "*": 8})
    blamed(found, "few-bits", "grouped.0")
    worst = found.worst("weight")
    assert worst.layer == "grouped.0" and worst.without.sqnr_db > found.quantized.sqnr_db + 3


def test_a_simulation_that_is_not_the_network_is_not_blamed_on_quantization(network, monkeypatch) -> None:
    from accelsim.frontend.debugging import walk

    monkeypatch.setattr(walk, "float_outputs", lambda model, inputs: np.full((32, 4), 3.0))
    found = diagnosed(network)
    assert not found.faithful and "the cause is not quantization" in str(found)


def test_overflowing_accumulators_are_named(network) -> None:
    spec = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 12})
    found = diagnosed(network, spec=spec)
    assert found.overflows and "Accumulators overflow in" in str(found) and "'accumulator'" in str(found)


def test_page_json_and_table(network, tmp_path) -> None:
    found = diagnosed(network, weight_bits={"grouped.0": 2, "*": 8})
    page = found.save(tmp_path / "d.html").read_text()
    assert page.count("<svg") == 3 and "grouped.0" in page and found.conclusion[0] in page.replace("&#39;", "'")
    held = json.loads(found.save(tmp_path / "d.json").read_text())
    assert held["conclusion"] == list(found.conclusion) and len(held["quantizers"]) == 17
    rows = found.save(tmp_path / "d.csv").read_text().splitlines()
    assert len(rows) == 18 and rows[0].startswith("kind,layer,bits")


def test_without_labels_decibels_alone_are_judged(network) -> None:
    model, x, _ = network
    found = acs.debug(model, x, (x, None), samples=8, weight_bits=3)
    assert found.quantized.accuracy is None and "dB of the float one (8 samples)" in str(found)


def test_bad_use_is_refused(network) -> None:
    model, x, labels = network
    with pytest.raises(acs.AccelsimError, match="samples must be at least 1"):
        acs.debug(model, x, (x, labels), samples=0)
    with pytest.raises(acs.AccelsimError, match=r"activation_range must be \(lower, upper\)"):
        acs.debug(model, x, (x, labels), overrides={"last": {"activation_range": (3, 1)}})


def test_several_inputs_and_no_more_than_one_output() -> None:
    class Two(nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.a, self.b, self.head, self.outputs = nn.Linear(5, 8), nn.Linear(3, 8), nn.Linear(8, 4), outputs

        def forward(self, x, y):
            z = torch.relu(self.a(x) + self.b(y))
            return self.head(z) if self.outputs == 1 else (self.head(z), z)

    torch.manual_seed(0)
    x = (torch.randn(40, 5), torch.randn(40, 3))
    model = Two(1)
    with torch.no_grad():
        labels = model(*x).argmax(1).numpy()
    found = acs.debug(model, x, (x, labels), samples=16, weight_bits={"a": 2, "*": 8})
    assert found.samples == 16 and (found.findings[0].kind, found.findings[0].layer) == ("few-bits", "a")
    with pytest.raises(acs.AccelsimError, match="judges one output, the network has 2"):
        acs.debug(Two(2), x, (x, labels))


def test_transpose_convolutions_have_bias_shifts_too() -> None:
    """A grid of weights whose codes are all too low: found in the layer where it is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 5, 2, 2), nn.ReLU(), nn.Conv2d(5, 3, 1))
    with torch.no_grad():
        weight = model[2].weight
        step = weight.abs().amax(dim=(0, 2, 3), keepdim=True) / 31
        weight.copy_(torch.where(weight.abs() < 30.9 * step, (torch.floor(weight / step) + 0.49) * step, weight))
    x = torch.randn(32, 1, 8, 8)
    found = acs.debug(model, x, (x, None), samples=16, weight_bits=6, ranges="min-max", bias_correction=False)
    assert ("bias-shift", "2") in {(finding.kind, finding.layer) for finding in found.findings}, str(found)
