"""Chains of a float network: a layer whose output channels meet only per-channel operators and other MAC layers.

Along a chain, channel i of the first layer may be divided by s_i > 0 and the weights that read it multiplied by
s_i without changing the function, because every operator between is positively homogeneous.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.operators.arithmetic import Clamp
from accelsim.frontend.operators.mac import Conv2d, Linear
from accelsim.frontend.operators.norm import LayerNorm, RmsNorm
from accelsim.frontend.operators.padding import Pad
from accelsim.frontend.operators.pool import AdaptiveAveragePool2d, AveragePool2d, MaxPool2d, Mean
from accelsim.frontend.operators.shape import Reshape

_PER_CHANNEL = (MaxPool2d, AveragePool2d, AdaptiveAveragePool2d, Mean, Pad)


@dataclass(frozen=True)
class Reader:
    """A MAC layer that reads the channels; each is `repeat` consecutive features of a fully connected one."""

    node: FloatNode
    repeat: int


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

    A layer whose output, or what per-channel operators make of it, is also read by anything else (an addition, a
    concatenation, the network's output) starts none: its channels are tied to others.
    """
    users = graph.users()
    for node in graph.nodes:
        if node.operator in (Conv2d, Linear):
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
    last_axis = first.operator is not Conv2d and len(first.shape) > 1  # channels come last
    through: list[FloatNode] = []
    readers: list[Reader] = []
    waiting = [(first, 1)]
    while waiting:
        source, repeat = waiting.pop()
        if source.name in graph.outputs:
            return None
        for user in users[source.name]:
            if user.operator is Linear:
                whole = user.parameters["weight"].shape[1]
                if whole != first.parameters["weight"].shape[0] * repeat or (len(source.shape) > 1 and not last_axis):
                    return None
                readers.append(Reader(user, repeat))
            elif user.operator is Conv2d and not last_axis and len(source.shape) == 3:
                readers.append(Reader(user, 1))
            elif _transparent(user, last_axis):
                grown = repeat
                if user.operator is Reshape:
                    flat = len(user.shape) == 1 and len(source.shape) == 3
                    if not (flat or (user.shape[0] == source.shape[0] and set(user.shape[1:]) <= {1})):
                        return None
                    grown = repeat * source.shape[1] * source.shape[2] if flat else repeat
                through.append(user)
                waiting.append((user, grown))
            else:
                return None
    return through, readers


def _transparent(node: FloatNode, last_axis: bool) -> bool:
    if node.clamp not in ((None, None), (0.0, None)):
        return False
    if issubclass(node.operator, Clamp) or getattr(node.operator, "homogeneous", False):
        return True
    return not last_axis and (node.operator in _PER_CHANNEL or node.operator is Reshape)


def output_ranges(node: FloatNode) -> np.ndarray:
    """Largest absolute weight of each output channel."""
    weight = node.parameters["weight"].double().numpy()
    return np.abs(weight).reshape(len(weight), -1).max(axis=1)


def input_ranges(reader: Reader) -> np.ndarray:
    """Largest absolute weight that reads each input channel."""
    return np.abs(by_input(reader)).max(axis=(1, 3)).reshape(-1)


def by_input(reader: Reader) -> np.ndarray:
    """The weight as (groups, outputs per group, input channels per group, taps), float64."""
    weight = reader.node.parameters["weight"].double().numpy()
    groups = reader.node.attributes.get("groups", 1)
    return weight.reshape(groups, len(weight) // groups, -1, reader.repeat * int(np.prod(weight.shape[2:], dtype=int)))
