"""Inputs that drive an accumulator to the bound that certify() states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.graph import IntegerGraph
from accelsim.ops.mac import Conv2d, MacOp
from accelsim.ops.transpose_conv import TransposeConv2d
from accelsim.proof.sums import Position, positions, terms_of, weights_of


@dataclass(frozen=True)
class Witness:
    """An input (1, …) of a layer, codes, and what it does to the output at index.

    reached: the extreme that the outermost accumulator holds on the way, which is the bound. accumulator: its exact
    sum in the end, which is the same unless the bias enters last or padding enters in between.
    """

    x: np.ndarray
    index: tuple[int, ...]
    accumulator: int
    reached: int


def witness(graph: IntegerGraph, op: MacOp, how: Mapping[str, Any], channel: int, end: str) -> Witness:
    """An input that drives one output of a channel to its "high" or "low" end in the order of `how`."""
    if isinstance(op, TransposeConv2d) or not isinstance(op, MacOp):
        raise op.refuse("its bound holds for every input, but no input is made that reaches it")
    best = max if end == "high" else min
    places = positions(graph, op)
    return best((_at(graph, op, how, channel, end, place) for place in places), key=lambda found: found.reached)


def _at(graph: IntegerGraph, op: MacOp, how: Mapping[str, Any], channel: int, end: str, position: Position) -> Witness:
    """The input that drives the output of a channel at this position furthest."""
    t = terms_of(graph, op, how, position.inside)
    step, later, start = t.step[channel], t.later[channel], int(t.start[channel])
    best = np.maximum if end == "high" else np.minimum
    taps = len(step)
    found = []
    for n in sorted({*range(0, taps, t.group), taps}):
        taken = np.arange(taps) < n
        found.append((step + later) * taken + later * ~taken if not t.after else step * taken)
    if t.after:
        found.append(step + later)
    added = [0 if t.after and n < len(found) - 1 else start for n in range(len(found))]
    values = [
        int(best(t.lowest * factor, t.highest * factor).sum()) + first
        for factor, first in zip(found, added, strict=True)
    ]
    # the last of equal ones: the whole sum, where it is as good
    order = range(len(values) - 1, -1, -1)
    chosen = max(order, key=values.__getitem__) if end == "high" else min(order, key=values.__getitem__)
    factor = found[chosen]
    up = factor > 0 if end == "high" else factor < 0
    codes = np.where(up, t.highest, t.lowest) + t.origin
    codes = np.where(factor == 0, op.x_zero_point, codes)
    weight, zero = weights_of(op)
    real = (weight - zero)[channel]
    bias = 0 if op.bias is None else int(op.bias[channel])
    total = bias + int(((codes - op.x_zero_point) * real)[t.inside].sum())
    x, index = _placed(graph, op, channel, codes, position)
    return Witness(x, index, total, values[chosen])


def _placed(
    graph: IntegerGraph, op: MacOp, channel: int, codes: np.ndarray, position: Position
) -> tuple[np.ndarray, tuple[int, ...]]:
    """An input with the taps' codes where the output at the position reads them."""
    info = graph.tensors[op.inputs[0]]
    x = np.full((1, *info.shape), op.x_zero_point, info.grid.dtype)
    if not isinstance(op, Conv2d):
        x[:] = codes
        return x, (*[0] * len(info.shape), channel)
    oy, ox = position.at
    taps = codes.reshape(*op.weight.shape[1:])
    first = channel // (op.weight.shape[0] // op.groups) * op.weight.shape[3]
    for ky, kx in np.ndindex(*taps.shape[:2]):
        iy = oy * op.stride[0] + ky * op.dilation[0] - op.padding[0][0]
        ix = ox * op.stride[1] + kx * op.dilation[1] - op.padding[1][0]
        if 0 <= iy < info.shape[0] and 0 <= ix < info.shape[1]:
            x[0, iy, ix, first : first + taps.shape[2]] = taps[ky, kx]
    return x, (0, oy, ox, channel)
