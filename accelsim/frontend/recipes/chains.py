"""Chains of a float network: a layer whose output channels meet only per-channel operators and other MAC layers.

Along a chain, channel i of the first layer may be divided by s_i > 0 and the weights that read it multiplied by
s_i without changing the function, because every operator between is positively homogeneous.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.operators.arithmetic import Clamp
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.operators.norm import LayerNorm, RmsNorm
from accelsim.frontend.operators.padding import AnyPad, Pad
from accelsim.frontend.operators.pool import AdaptiveAveragePool2d, AveragePool2d, AxisMean, MaxPool2d, Mean
from accelsim.frontend.operators.pool import UnequalAveragePool2d as UnequalPool2d
from accelsim.frontend.operators.resize import ResizeBilinear, ResizeNearest, ResizeNearestExact
from accelsim.frontend.operators.shape import Concat, Reshape
from accelsim.frontend.operators.transpose_conv import MAC_LAYERS

POOLS = (MaxPool2d, AveragePool2d, AdaptiveAveragePool2d, UnequalPool2d, Mean, AxisMean)
RESIZES = (ResizeNearest, ResizeNearestExact, ResizeBilinear)
_PER_CHANNEL = (*POOLS, *RESIZES, Pad, AnyPad)


@dataclass(frozen=True)
class Reader:
    """A MAC layer that reads the channels; each is `repeat` consecutive features of a fully connected one.

    start: where the channels stand among those that the layer reads (behind others of a concatenation).
    """

    node: FloatNode
    repeat: int = 1
    start: int = 0

    def placed(self, values: np.ndarray, filler: float) -> np.ndarray:
        """A value for each channel that the layer reads: those of the chain in their place, the filler elsewhere."""
        groups = self.node.attributes.get("groups", 1)
        every = np.full(groups * self.node.parameters["weight"].shape[1] // self.repeat, filler)
        every[self.start : self.start + len(values)] = values
        return every


@dataclass(frozen=True)
class Chain:
    """first: the layer that makes the channels. through: nodes between. readers: all MAC layers that read them."""

    first: FloatNode
    through: tuple[FloatNode, ...]
    readers: tuple[Reader, ...]

    @property
    def channels(self) -> int:
        return self.first.parameters["weight"].shape[0]


def chains(graph: FloatGraph) -> Iterator[Chain]:
    """Every chain, in the order of execution.

    A layer whose output, or what per-channel operators make of it, is also read by anything else (an addition, the
    network's output) starts none: its channels are tied to others. Concatenated channels keep to themselves.
    """
    users = graph.users()
    for node in graph.nodes:
        if node.operator in MAC_LAYERS:
            found = _follow(graph, users, node)
            if found is not None and found[1]:
                yield Chain(node, tuple(found[0]), tuple(found[1]))


def norm_chains(graph: FloatGraph) -> Iterator[Chain]:
    """Chains that a layer norm or RMS norm starts: its gains scale the channels that fully connected layers read."""
    users = graph.users()
    for node in graph.nodes:
        if node.operator in (LayerNorm, RmsNorm) and node.parameters["weight"].ndim == 1:
            found = _follow(graph, users, node)
            if found is not None and found[1]:
                yield Chain(node, tuple(found[0]), tuple(found[1]))


def _follow(
    graph: FloatGraph, users: dict[str, list[FloatNode]], first: FloatNode
) -> tuple[list[FloatNode], list[Reader]] | None:
    last_axis = (first.operator is Linear or first.operator not in MAC_LAYERS) and len(first.shape) > 1
    through: list[FloatNode] = []
    readers: list[Reader] = []
    waiting = [(first, 1, 0, first.parameters["weight"].shape[0])]  # tensor, repeat, start, channels in all
    while waiting:
        source, repeat, start, channels = waiting.pop()
        if source.name in graph.outputs:
            return None
        for user in users[source.name]:
            if user.operator is Linear:
                whole = user.parameters["weight"].shape[1]
                if whole != channels * repeat or (len(source.shape) > 1 and not last_axis):
                    return None
                readers.append(Reader(user, repeat, start))
            elif user.operator in MAC_LAYERS and not last_axis and len(source.shape) == 3:
                readers.append(Reader(user, 1, start))
            elif _transparent(user, last_axis):
                grown, before, among = repeat, start, channels
                if user.operator is Reshape:
                    flat = len(user.shape) == 1
                    if not flat and user.shape[0] != source.shape[0]:
                        return None
                    grown = repeat * math.prod(source.shape[1:]) if flat else repeat
                elif user.operator is Concat:
                    names = [ref.name for ref in user.inputs]
                    if repeat != 1 or names.count(source.name) != 1:
                        return None
                    before += sum(ref.shape[0] for ref in user.inputs[: names.index(source.name)])
                    among = user.shape[0]
                through.append(user)
                waiting.append((user, grown, before, among))
            else:
                return None
    return through, readers


def _transparent(node: FloatNode, last_axis: bool) -> bool:
    if node.clamp not in ((None, None), (0.0, None)):
        return False
    if issubclass(node.operator, Clamp) or getattr(node.operator, "homogeneous", False):
        return True
    if last_axis or (node.operator is AxisMean and 0 in node.attributes["axes"]):
        return False
    joins_channels = node.operator is Concat and node.attributes["axis"] == 1
    return joins_channels or node.operator in (*_PER_CHANNEL, Reshape)


def output_ranges(node: FloatNode) -> np.ndarray:
    """Largest absolute weight of each output channel."""
    weight = node.parameters["weight"].double().numpy()
    return np.abs(weight).reshape(len(weight), -1).max(axis=1)


def input_ranges(reader: Reader, channels: int | None = None) -> np.ndarray:
    """Largest absolute weight that reads each of the chain's channels (default: every channel that the layer reads)."""
    every = np.abs(by_input(reader.node, reader.repeat)).max(axis=(1, 3)).reshape(-1)
    return every[reader.start :] if channels is None else every[reader.start : reader.start + channels]


def largest_reading_weights(chain: Chain) -> np.ndarray:
    """Largest absolute weight of any reader for each of the chain's channels."""
    return np.max([input_ranges(reader, chain.channels) for reader in chain.readers], axis=0)


def by_input(node: FloatNode, repeat: int) -> np.ndarray:
    """The weight as (groups, outputs per group, input channels per group, taps), float64."""
    weight = node.parameters["weight"].double().numpy()
    groups = node.attributes.get("groups", 1)
    return weight.reshape(groups, len(weight) // groups, -1, repeat * int(np.prod(weight.shape[2:], dtype=int)))
