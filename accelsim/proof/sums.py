"""What the accumulators of a layer add up, and the extremes of those sums over every input on the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.graph import IntegerGraph
from accelsim.ops.grouped_linear import GroupedLinear
from accelsim.ops.mac import Conv2d, MacOp
from accelsim.ops.transpose_conv import walked_weight


@dataclass(frozen=True)
class Position:
    """An output position (row, column) of a layer and its taps inside the image, bool per tap in walking order."""

    inside: np.ndarray
    at: tuple[int, int]


@dataclass(frozen=True)
class Terms:
    """What the outermost accumulator of a layer adds up at one position, per channel and tap in walking order.

    It holds start + sum of x * (step + later) over the taps taken + sum of x * later over those that wait, x between
    lowest and highest per tap (codes less origin). group: taps that enter in one addition. after: the sum runs from 0
    without later, and start and later are added at the end. inside: taps that read the image.
    """

    start: np.ndarray
    step: np.ndarray
    later: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    origin: int
    group: int
    after: bool
    inside: np.ndarray


def positions(graph: IntegerGraph, op: MacOp) -> list[Position]:
    """The output positions whose taps inside the image are no part of another position's.

    One for most layers. On an image smaller than the filter there are several, and none is the worst for every
    weight: a row of 2 pixels under 3 taps with padding 1 shows taps (1, 2) to one output and (0, 1) to the next.
    """
    if isinstance(op, GroupedLinear):
        raise op.refuse("its groups are rescaled inside the sum: bounds of plain sums say nothing about it")
    if not isinstance(op, Conv2d):
        return [Position(np.ones(op.weight[0].size, bool), (0, 0))]
    shape, outputs = graph.tensors[op.inputs[0]].shape, graph.tensors[op.output].shape
    rows, columns = (_most_inside(op, axis, shape[axis], outputs[axis]) for axis in (0, 1))
    return [
        Position(np.repeat((row[:, None] & column).reshape(-1), op.weight.shape[3]), (oy, ox))
        for oy, row in rows.items()
        for ox, column in columns.items()
    ]


def _most_inside(op: Conv2d, axis: int, size: int, outputs: int) -> dict[int, np.ndarray]:
    """Along one axis: output -> taps inside the image, for each set of taps that no other output's contains."""
    taps = np.arange(op.weight.shape[1 + axis]) * op.dilation[axis] - op.padding[axis][0]
    reads = np.arange(outputs)[:, None] * op.stride[axis] + taps
    different, first = np.unique((reads >= 0) & (reads < size), axis=0, return_index=True)
    contained = (different[:, None] <= different).all(axis=2).sum(axis=1) > 1  # in another one: each contains itself
    return {int(at): mask for at, mask in zip(first[~contained], different[~contained], strict=True)}


def weights_of(op: MacOp) -> tuple[np.ndarray, np.ndarray]:
    """Codes (channels, taps) in walking order, and zero points (channels, 1)."""
    weight = walked_weight(op).reshape(op.weight.shape[0], -1).astype(np.int64)
    zero = np.broadcast_to(np.asarray(op.weight_params.zero_point, np.int64), len(weight))
    return weight, zero[:, None]


def terms_of(graph: IntegerGraph, op: MacOp, how: Mapping[str, Any], inside: np.ndarray) -> Terms:
    """The terms of a layer's sums as `how` (accumulation_order) walks them, at a position with those taps inside."""
    x = graph.tensors[op.inputs[0]].grid
    weight, zero = weights_of(op)
    zx = op.x_zero_point
    bias = np.zeros(len(weight), np.int64) if op.bias is None else op.bias.astype(np.int64)
    if how["zero_point_at"] == "folded":
        # -zx * sum(w) - zw * sum(x) + K * zx * zw enters with the bias; its sum(x) depends on the input
        start = bias - zx * weight.sum(axis=1) + weight.shape[1] * zx * zero[:, 0]
        step, later, origin = weight, -zero * np.ones_like(weight), 0
    else:
        start, step, later, origin = bias, weight - zero, np.zeros_like(weight), zx
    # a tap outside the image reads a real zero
    lowest, highest = (np.where(inside, end, zx) - origin for end in (x.qmin, x.qmax))
    group = [_tree(how), *(span for span, _ in inner_spans(how))][-1]
    return Terms(start, step, later, lowest, highest, origin, group, how["bias_at"] == "after", inside)


def inner_spans(how: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Of every accumulator but the outermost: products it takes in all, and products that enter it at once."""
    spans = [span for _, _, span in (how.get("levels") or [])[:-1]]
    return list(zip(spans, [_tree(how), *spans], strict=False))


def _tree(how: Mapping[str, Any]) -> int:
    return int(how["order"].partition(":")[2] or 1)


def prefixes(t: Terms) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of the outermost accumulator per channel, over all inputs and all its additions."""
    at = _stops(t.step.shape[1], t.group)
    low, high = _running(t.step, 0 * t.later if t.after else t.later, t.lowest, t.highest)
    low, high = low[:, at], high[:, at]
    if not t.after:
        return low.min(axis=1) + t.start, high.max(axis=1) + t.start
    final_low, final_high = (end[:, -1] + t.start for end in _running(t.step, t.later, t.lowest, t.highest))
    return np.minimum(low.min(axis=1), final_low), np.maximum(high.max(axis=1), final_high)


def chunks(t: Terms, span: int, group: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of an inner accumulator, which starts at 0 and takes `span` products, `group` at a time."""
    lows, highs = [], []
    for first in range(0, t.step.shape[1], span):
        part = slice(first, first + span)
        step = t.step[:, part]
        at = _stops(step.shape[1], group)
        low, high = _running(step, 0 * step, t.lowest[part], t.highest[part])
        lows.append(low[:, at].min(axis=1))
        highs.append(high[:, at].max(axis=1))
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _stops(taps: int, group: int) -> list[int]:
    return [*range(0, taps, group), taps]


def _running(step, later, lowest, highest) -> tuple[np.ndarray, np.ndarray]:
    """Extremes after 0, 1, … taps: those taken add x * (step + later), those that wait x * later."""
    ends = []
    for choose in (np.minimum, np.maximum):
        taken = choose(lowest * (step + later), highest * (step + later))
        waiting = choose(lowest * later, highest * later)
        running = np.zeros((len(step), step.shape[1] + 1), np.int64)
        np.cumsum(taken - waiting, axis=1, out=running[:, 1:])
        ends.append(running + waiting.sum(axis=1, keepdims=True))
    return ends[0], ends[1]
