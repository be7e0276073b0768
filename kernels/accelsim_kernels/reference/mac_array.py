"""matmul and conv2d in Python integers, one product at a time: what every fast kernel must equal.

Equations A1 to A5 of kernels/README.md. Slow on purpose: no vector arithmetic, no overflow anywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accelsim_kernels import arguments
from accelsim_kernels.arguments import Accumulator, Level


def wrap(value: int, bits: int) -> int:
    """value modulo 2**bits as two's complement                                     (A2)"""
    half = 1 << (bits - 1)
    return (value + half) % (1 << bits) - half


def saturate(value: int, bits: int) -> int:
    """value clipped to [-2**(bits-1), 2**(bits-1) - 1]                             (A3)"""
    half = 1 << (bits - 1)
    return min(max(value, -half), half - 1)


class _Register:
    """One accumulator: what it holds, and whether anything left its range since the walk began."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.event = False
        self.clear()

    def clear(self) -> None:
        self.held = self.exact = 0

    def add(self, value: int) -> None:
        """One addition: clip what is held, or wrap what was summed exactly (A2, A3)."""
        self.exact += value
        if self.level.overflow == "saturate":
            total = self.held + value
            self.held = saturate(total, self.level.bits)
            self.event |= self.held != total
        else:
            self.held = wrap(self.exact, self.level.bits)
            self.event |= self.held != self.exact


def walk(products: Sequence[int], initial: int, final: int | None, how: Accumulator) -> tuple[int, bool, bool]:
    """Accumulate `products` in order (A4, A5).

    initial: loaded into the outermost level before the first product; final: added to it at the end, or None.
    Returns the result, whether any level had an event, and whether a level that raises had one.
    """
    registers = [_Register(level) for level in how.levels]
    inner, outer = registers[0], registers[-1]
    outer.add(initial)
    depth, position = len(products), 0
    while position < depth:
        stop = min(position + how.group, depth)
        if how.levels[0].span is not None:
            stop = min(stop, (position // how.levels[0].span + 1) * how.levels[0].span)
        inner.add(sum(products[position:stop]))
        position = stop
        for register, following in itertools.pairwise(registers):
            if position % (register.level.span or depth) and position != depth:
                break
            following.add(register.held)
            register.clear()
    if final is not None:
        outer.add(final)
    return (
        outer.held,
        any(register.event for register in registers),
        any(register.event for register in registers if register.level.overflow == "raise"),
    )


def _output(xs: list[int], ws: list[int], zx: int, zw: int, bias: int, how: Accumulator) -> tuple[int, bool, bool]:
    """One output from its K activations and weights in walking order (A1)."""
    if how.zero_point_at == "folded":
        products = [x * w for x, w in zip(xs, ws, strict=True)]
        bias += -zx * sum(ws) - zw * sum(xs) + len(xs) * zx * zw
    else:
        products = [(x - zx) * (w - zw) for x, w in zip(xs, ws, strict=True)]
    if how.bias_at == "after":
        return walk(products, 0, bias, how)
    return walk(products, bias, None, how)


def _finish(
    values: list[int],
    events: list[bool],
    raised: list[bool],
    shape: tuple[int, ...],
    how: Accumulator,
    return_events: bool,
    requantize: Mapping[str, Any] | None,
) -> Any:
    if any(raised):
        index = tuple(int(i) for i in np.unravel_index(raised.index(True), shape))
        raise OverflowError(arguments.overflow_message(index, how.levels))
    result = np.array(values, how.result_dtype).reshape(shape)
    if requantize is not None:
        from accelsim_kernels.reference.requantization import requantize as apply

        result = apply(result, **requantize)
    if return_events:
        return result, np.array(events, bool).reshape(shape)
    return result


def pack(b: np.ndarray) -> np.ndarray:
    """The weights as they are: the reference has nothing to prepare. b: (K, N)."""
    return arguments.operand("b", b, 2)


def pack_conv2d(w: np.ndarray, *, groups: int = 1) -> np.ndarray:
    """The weights as they are: the reference has nothing to prepare. w: (K, fy, fx, C/groups)."""
    return arguments.operand("w", w, 4)


def matmul(
    a: np.ndarray,
    b: np.ndarray,
    *,
    bias: Any = None,
    a_zero_point: int = 0,
    b_zero_point: Any = 0,
    accumulator_bits: int = 32,
    overflow: str = "wrap",
    order: str = "serial",
    bias_at: str = "preload",
    zero_point_at: str = "operand",
    levels: Sequence[tuple[int, str, int | None]] | None = None,
    return_events: bool = False,
    requantize: Mapping[str, Any] | None = None,
) -> Any:
    """bias + (a - a_zero_point) @ (b - b_zero_point), as `accelsim_kernels.matmul` says."""
    a, b = arguments.operand("a", a, 2), arguments.operand("b", b, 2)
    how = arguments.accumulator(accumulator_bits, overflow, order, bias_at, zero_point_at, levels)
    arguments.matmul_shapes(a.shape, b.shape)
    requantize = arguments.requantization(requantize)
    columns = b.shape[1]
    za = int(arguments.zero_point("a_zero_point", a_zero_point, a.dtype, None))
    zb = np.broadcast_to(arguments.zero_point("b_zero_point", b_zero_point, b.dtype, columns), columns).tolist()
    start = arguments.bias(bias, columns).tolist()
    b_columns = b.T.tolist()
    outputs = [_output(row, b_columns[j], za, zb[j], start[j], how) for row in a.tolist() for j in range(columns)]
    values, events, raised = (list(part) for part in zip(*outputs, strict=True)) if outputs else ([], [], [])
    return _finish(values, events, raised, (a.shape[0], columns), how, return_events, requantize)


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    x_zero_point: int = 0,
    w_zero_point: Any = 0,
    bias: Any = None,
    accumulator_bits: int = 32,
    overflow: str = "wrap",
    order: str = "serial",
    bias_at: str = "preload",
    zero_point_at: str = "operand",
    levels: Sequence[tuple[int, str, int | None]] | None = None,
    return_events: bool = False,
    requantize: Mapping[str, Any] | None = None,
) -> Any:
    """The convolution of x (N, H, W, C) with w (K, fy, fx, C/groups), as `accelsim_kernels.conv2d` says."""
    x, w = arguments.operand("x", x, 4), arguments.operand("w", w, 4)
    how = arguments.accumulator(accumulator_bits, overflow, order, bias_at, zero_point_at, levels)
    shape = arguments.conv_geometry(x.shape, w.shape, stride, padding, dilation, groups)
    requantize = arguments.requantization(requantize)
    channels = shape.out_channels
    zx = int(arguments.zero_point("x_zero_point", x_zero_point, x.dtype, None))
    zw = np.broadcast_to(arguments.zero_point("w_zero_point", w_zero_point, w.dtype, channels), channels).tolist()
    start = arguments.bias(bias, channels).tolist()
    filters = w.reshape(channels, -1).tolist()
    pixels, per_group = x.tolist(), channels // shape.groups
    values, events, raised = [], [], []
    for n in range(shape.batch):
        for oy in range(shape.out_y):
            for ox in range(shape.out_x):
                windows = [window(pixels[n], oy, ox, group, zx, shape) for group in range(shape.groups)]
                for k in range(channels):
                    value, event, fatal = _output(windows[k // per_group], filters[k], zx, zw[k], start[k], how)
                    values.append(value)
                    events.append(event)
                    raised.append(fatal)
    out = (shape.batch, shape.out_y, shape.out_x, channels)
    return _finish(values, events, raised, out, how, return_events, requantize)


def window(image: list, oy: int, ox: int, group: int, zx: int, shape: arguments.ConvGeometry) -> list[int]:
    """The activations of one output in (fy, fx, c) order; padding reads as a real zero, that is x_zero_point."""
    taken: list[int] = []
    channels = range(group * shape.group_channels, (group + 1) * shape.group_channels)
    for ky in range(shape.fy):
        iy = oy * shape.stride[0] + ky * shape.dilation[0] - shape.padding[0][0]
        for kx in range(shape.fx):
            ix = ox * shape.stride[1] + kx * shape.dilation[1] - shape.padding[1][0]
            inside = 0 <= iy < shape.in_y and 0 <= ix < shape.in_x
            taken.extend(image[iy][ix][c] if inside else zx for c in channels)
    return taken
