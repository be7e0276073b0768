"""What users do wrong gets one clear error that names the thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import accelsim as acs
from accelsim import AccelsimError


def conv() -> nn.Module:
    torch.manual_seed(1)  # of other weights, a ReLU could be dead
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))


IMAGES = torch.linspace(-1, 1, 8 * 36).reshape(8, 1, 6, 6)


def refused(match: str, *args, **kwargs) -> None:
    with pytest.raises(AccelsimError, match=match):
        acs.from_torch(*args, **kwargs)


def test_every_unsupported_operator_is_named_once() -> None:
    class Odd(nn.Module):
        def forward(self, x):
            y = torch.sin(x)
            return torch.lgamma(y) + torch.sin(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.odd = nn.Conv2d(1, 2, 3), Odd()

        def forward(self, x):
            return self.odd(self.conv(x))

    with pytest.raises(AccelsimError) as caught:
        acs.from_torch(Net(), IMAGES)
    text = str(caught.value)
    assert "aten.sin.default in module 'odd'" in text and "aten.lgamma.default in module 'odd'" in text
    assert f"{__file__}:" in text and "y = torch.sin(x)" in text
    assert "supported:" in text and "aten.conv2d.default" in text


def test_unsupported_arguments_say_which() -> None:
    refused("ceil_mode", nn.AvgPool2d(4, ceil_mode=True), IMAGES)
    refused("divisor_override", nn.AvgPool2d(2, divisor_override=3), IMAGES)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weights_name_the_layer(value: float) -> None:
    model = conv()
    with torch.no_grad():
        model[3].weight[0, 0] = value
    refused("layer '3'.*NaN or infinite", model, IMAGES)


def test_bad_calibration() -> None:
    refused("calibration data is empty", conv(), IMAGES[:0])
    refused("calibration data is empty", conv(), [])
    refused("NaN or infinite", conv(), IMAGES * float("nan"))
    refused("no elements", conv(), torch.zeros(4, 1, 0, 6))
    refused("torch.export could not capture.*\\(2, 3, 6, 6\\)", conv(), torch.zeros(4, 3, 6, 6))


def test_constant_activations_are_named() -> None:
    refused("input 'input'.*constant 0", conv(), torch.zeros(4, 1, 6, 6))
    model = conv()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1)
    refused("output of layer '0'.*constant 0", model, IMAGES)


@pytest.mark.parametrize("bits", [1, 17, 0, -3, 8.0, "8", True])
def test_bit_widths_out_of_range(bits) -> None:
    refused("weight_bits", conv(), IMAGES, weight_bits=bits)
    refused("activation_bits", conv(), IMAGES, activation_bits={"*": bits})


def test_unknown_names_list_the_known_ones() -> None:
    refused("weight_bits.*'nope'.*layers: 0", conv(), IMAGES, weight_bits={"nope": 4})
    refused("profile 'nope'; known: tflm", conv(), IMAGES, profile="nope")
    refused("ranges must be one of mse", conv(), IMAGES, ranges="nope")
    refused("unknown option 'bits'", conv(), IMAGES, bits=4)
    refused("unknown field 'bits'", conv(), IMAGES, overrides={"*": {"bits": 4}})
    refused("torch.nn.Module", "model", IMAGES)


def test_simulation_inputs() -> None:
    graph = acs.from_torch(conv(), IMAGES)
    for bad, match in [
        (np.zeros((2, 1, 5, 6), np.float32), r"must have shape \(N, 1, 6, 6\), not \(2, 1, 5, 6\)"),
        (np.zeros((0, 1, 6, 6), np.float32), "no samples"),
        (np.full((1, 1, 6, 6), np.nan), "NaN"),
        (np.full((1, 1, 6, 6), 300), "do not fit the grid"),
        (np.full((1, 1, 6, 6), "a"), "real or integer"),
        ((np.zeros((1, 1, 6, 6)),) * 2, "takes 1 inputs, not 2"),
    ]:
        with pytest.raises(AccelsimError, match=match):
            acs.simulate(graph, bad)
    with pytest.raises(AccelsimError, match="unknown backend"):
        acs.simulate(graph, IMAGES.numpy(), backend="gpu")


def test_evaluation_data() -> None:
    graph = acs.from_torch(conv(), IMAGES)
    with pytest.raises(AccelsimError, match="8 inputs but 3 labels"):
        acs.evaluate(graph, (IMAGES, np.zeros(3, int)))
    with pytest.raises(AccelsimError, match="metric"):
        acs.evaluate(graph, (IMAGES, np.zeros(8, int)), metric="bleu")
