"""Chains through every kind of operator: rewriting along them keeps the function; every layer is rounded by data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import accelsim as acs
from accelsim.frontend.api import calibrated, drafted, quantized
from accelsim.frontend.recipes.chains import chains
from accelsim.frontend.recipes.layerwise import real_input, with_torch_weight
from accelsim.frontend.recipes.moments import output_moments
from accelsim.frontend.recipes.rows import draw, input_rows, output_rows

GRIDS = ["activation-ranges", "weight-ranges"]


def conv(inputs: int, outputs: int, kernel: int = 3, **options) -> nn.Sequential:
    options = {"padding": kernel // 2, **options}
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, bias=False, **options), nn.BatchNorm2d(outputs), nn.ReLU6())


class Skip(nn.Module):
    """A skip connection beside a resized branch; the joined channels are read by one layer."""

    def __init__(self, mode: str = "nearest") -> None:
        super().__init__()
        self.down, self.deep, self.join = conv(1, 4), conv(4, 6, stride=2), conv(10, 5, 1)
        self.head, self.mode = nn.Conv2d(5, 2, 1), mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shallow = self.down(x)
        corners = {} if self.mode == "nearest" else {"align_corners": False}
        deep = F.interpolate(self.deep(shallow), scale_factor=2, mode=self.mode, **corners)
        return self.head(self.join(torch.cat([shallow, deep], 1)))


class Twice(nn.Module):
    """Channels that one layer reads twice: as they are, and pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.reads, self.head = conv(1, 4), conv(8, 6, 1), nn.Linear(6 * 64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.head(self.reads(torch.cat([y, F.max_pool2d(y, 3, 1, 1)], 1)).flatten(1))


class Upwards(nn.Module):
    """Transpose convolutions: plain, and with groups and dilation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv(1, 6, stride=2)
        self.up = nn.ConvTranspose2d(6, 8, 3, 2, padding=1, output_padding=1)
        self.wide = nn.ConvTranspose2d(8, 4, 2, (1, 2), groups=2, dilation=2, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.wide(torch.relu(self.up(self.first(x))))))


class Line(nn.Module):
    """Convolutions over a signal, the mean over its time, a fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv1d(2, 6, 5, padding=2), nn.Conv1d(6, 4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.b(F.relu6(self.a(x)))).mean(2))


NETWORKS = {
    "skip": (Skip, (1, 8, 8), {"deep.0": ["join.0"], "down.0": ["deep.0", "join.0"], "join.0": ["head"]}),
    "bilinear": (lambda: Skip("bilinear"), (1, 8, 8), {"deep.0": ["join.0"], "down.0": ["deep.0", "join.0"],
                                                       "join.0": ["head"]}),
    "twice": (Twice, (1, 8, 8), {"first.0": ["reads.0", "reads.0"], "reads.0": ["head"]}),
    "upwards": (Upwards, (1, 8, 8), {"first.0": ["up"], "up": ["wide"], "wide": ["head"]}),
    "line": (Line, (2, 12), {"a": ["b"], "b": ["head"]}),
}  # fmt: skip


def network(name: str):
    make, shape, _ = NETWORKS[name]
    torch.manual_seed(1)
    model, x = make(), torch.randn(24, *shape)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 3.0)
            nn.init.uniform_(module.bias, 0.0, 4.0)
            module.momentum = None
        elif hasattr(module, "weight"):
            with torch.no_grad():  # channels of uneven ranges: something to equalize
                module.weight *= torch.exp2(torch.linspace(-2, 2, len(module.weight))).view(
                    -1, *[1] * (module.weight.ndim - 1)
                )
    model.train()
    with torch.no_grad():
        model(x)
    return calibrated(model.eval(), x), x


@pytest.mark.parametrize("name", NETWORKS)
def test_every_chain_is_found(name: str) -> None:
    found, _ = network(name)
    layers = {c.first.layer: sorted(r.node.layer for r in c.readers) for c in chains(found.seen.graph)}
    assert layers == NETWORKS[name][2]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("step", ["equalize", "smooth"])
def test_the_function_stays_and_the_weights_move(name: str, step: str) -> None:
    found, x = network(name)
    draft = drafted(found, acs.QuantConfig(recipe=[step, *GRIDS]))
    (before,), (after,) = found.seen.graph.run((x,)), draft.graph.run((x,))
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-4 * float(before.abs().max()))
    for chain in chains(found.seen.graph):
        weights = (g.node(chain.first.name).parameters["weight"] for g in (found.seen.graph, draft.graph))
        assert not torch.allclose(*weights), chain.first.layer


@pytest.mark.parametrize(("name", "expected"), [("skip", ["deep.0", "join.0"]), ("twice", ["reads.0"])])
def test_absorbed_constants_reach_the_channels_that_read_them(name: str, expected: list[str]) -> None:
    """Readers without padding absorb, wherever the channels stand among theirs; clipped values are few."""
    found, x = network(name)
    draft = drafted(found, acs.QuantConfig(recipe=["absorb-bias(deviations=1.5)", *GRIDS]))
    pairs = [(node, draft.graph.node(node.name)) for node in found.seen.graph.nodes if "mean" in node.parameters]
    assert [a.layer for a, b in pairs if not torch.equal(a.parameters["mean"], b.parameters["mean"])] == expected
    (before,), (after,) = found.seen.graph.run((x,)), draft.graph.run((x,))
    assert float((before - after).abs().median() / before.abs().max()) < 0.005


@pytest.mark.parametrize("step", ["adaround(iterations=150, rows=2048)", "gptq", "accumulator(bits=20)"])
def test_transpose_convolutions_are_rounded_by_data(step: str) -> None:
    found, x = network("upwards")
    (expected,) = found.seen.graph.run((x,))
    errors, codes = [], []
    for last in ("bias-correction", step):
        graph = quantized(found, acs.QuantConfig(recipe=["equalize", *GRIDS, last], weight_bits=4))
        errors.append(np.square(acs.simulate(graph, x.numpy()).real() - expected.double().numpy()).sum())
        codes.append({op.name: op.weight for op in graph.mac_ops})
    assert errors[1] < errors[0], errors
    assert all(not np.array_equal(codes[0][layer], codes[1][layer]) for layer in ("up", "wide"))
    if step.startswith("accumulator"):
        spec = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 20})
        assert acs.certify(graph, spec)


def test_codes_and_inputs_of_transpose_convolutions_find_their_way_back() -> None:
    """Plain, and with groups and dilation: a convolution of a spread input with its filter turned round."""
    found, x = network("upwards")
    draft = drafted(found, acs.QuantConfig(recipe=GRIDS))
    graph = draft.integer_graph()
    run = acs.simulate(graph, x.numpy(), keep="all")
    for op in graph.mac_ops:
        assert np.array_equal(with_torch_weight(graph, op, draft.weights[op.name].values).weight, op.weight)
        node = draft.graph.node(op.name)
        real = real_input(graph, op, run.tensors[op.inputs[0]])
        assert real.shape[1:] == node.inputs[0].shape
        chosen = draw(node, len(x), 200, torch.Generator().manual_seed(0))
        groups = node.attributes["groups"]
        weight = node.parameters["weight"].reshape(groups, node.shape[0] // groups, -1)
        got = torch.einsum("grk,gnk->rgn", input_rows(node, real, chosen), weight).flatten(1)
        y = node.operator.execute(replace(node, parameters={"weight": node.parameters["weight"]}), real)
        assert torch.allclose(got, output_rows(node, y, chosen), atol=1e-4), op.name


@pytest.mark.parametrize("name", ["upwards", "skip"])
def test_moments_are_those_of_the_data(name: str) -> None:
    found, _ = network(name)
    moments = output_moments(found.seen)
    for node in found.seen.graph.nodes:
        if node.layer in ("up", "deep.0", "join.0"):
            seen = found.seen.values(node.name).movedim(1, -1).flatten(0, -2).double()
            spread = float(seen.std())
            np.testing.assert_allclose(moments[node.name].mean, seen.mean(dim=0).numpy(), atol=0.4 * spread)


@pytest.mark.parametrize("name", ["skip", "upwards", "twice"])
def test_without_data_every_network_is_close_to_float(name: str) -> None:
    found, x = network(name)
    (expected,) = found.seen.graph.run((x,))
    got = acs.simulate(quantized(found, acs.QuantConfig(recipe="data-free")), x.numpy()).real()
    noise = np.square(got - expected.double().numpy()).sum()
    assert 10 * np.log10(np.square(expected.double().numpy()).sum() / noise) > 25
