"""matmul and conv2d: exact integer products in an accumulator whose width, order and overflow are explicit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accelsim_kernels import arguments
from accelsim_kernels.arguments import Accumulator, ConvGeometry
from accelsim_kernels.mac_pack import Packed, pack, pack_conv2d
from accelsim_kernels.mac_route import Route, described, frozen, hashable, setting

__all__ = ["Packed", "conv2d", "matmul", "pack", "pack_conv2d"]


def matmul(
    a: np.ndarray,
    b: np.ndarray | Packed,
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
    """bias + (a - a_zero_point) @ (b - b_zero_point) in the accumulator that the keywords describe (A1 to A5).

    a: (M, K), b: (K, N) or pack(b); each int8, uint8, int16 or uint16, any strides. bias: (N,) integers.
    a_zero_point: a value of a's dtype; b_zero_point: one of b's, or one per column, (N,).
    accumulator_bits: 1 to 64. overflow: "wrap", "saturate" (every addition clips) or "raise" (OverflowError names
    the first output that wraps). order: "serial" adds one product a step, "tree:n" sums n exactly, then adds once.
    bias_at: "preload" starts at the bias, "after" adds it last. zero_point_at: "operand" takes zero points off the
    operands, "folded" adds their exact correction to the bias. levels: [(bits, overflow, span), ...], innermost
    first, in place of accumulator_bits and overflow: a level takes `span` products, then is added to the next; the
    last span is None. requantize: keywords of requantize(), applied to each accumulator.
    Returns (M, N) int32, int64 above 32 bits, or the narrow output where requantized; with return_events also a bool
    array: where any prefix of the sum left the range (wrap) or was clipped (saturate), at any level; read-only where it
    is proved that there is none.
    """
    if isinstance(b, Packed):
        call = (
            described(a),
            a_zero_point,
            frozen(b_zero_point),
            frozen(bias),
            accumulator_bits,
            overflow,
            order,
            bias_at,
            zero_point_at,
            frozen(levels),
            return_events,
            frozen(requantize),
            setting(),
        )
        key = hashable(call)
        route = b.plans.get(key)
        if route is not None:
            return route(a)
    else:
        b, key = pack(b), None
    a = arguments.operand("a", a, 2)
    how = arguments.accumulator(accumulator_bits, overflow, order, bias_at, zero_point_at, levels)
    route = matmul_route(
        a.shape, a.dtype, a.strides, b, a_zero_point, b_zero_point, bias, how, return_events, requantize
    )
    b.keep_plan(key, route)
    return route(a)


def conv2d(
    x: np.ndarray,
    w: np.ndarray | Packed,
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
    """The convolution of x (N, H, W, C) with w (K, fy, fx, C/groups) or pack_conv2d(w); result (N, OY, OX, K).

    padding: ((top, bottom), (left, right)), read as a real zero, that is x_zero_point. Products are walked in
    (fy, fx, c) order. Output channel k belongs to group k // (K/groups); groups == C is depthwise, K/C channels each.
    x_zero_point: a value of x's dtype; w_zero_point: one of w's, or one per output channel, (K,). bias: (K,).
    All other keywords, dtypes and results are those of matmul.
    """
    if isinstance(w, Packed):
        call = (
            described(x),
            stride,
            padding,
            dilation,
            groups,
            x_zero_point,
            frozen(w_zero_point),
            frozen(bias),
            accumulator_bits,
            overflow,
            order,
            bias_at,
            zero_point_at,
            frozen(levels),
            return_events,
            frozen(requantize),
            setting(),
        )
        key = hashable(call)
        route = w.plans.get(key)
        if route is not None:
            return route(x)
    else:
        w, key = pack_conv2d(w, groups=groups), None
    x = arguments.operand("x", x, 4)
    how = arguments.accumulator(accumulator_bits, overflow, order, bias_at, zero_point_at, levels)
    geometry = stride, padding, dilation, groups
    route = conv2d_route(
        x.shape, x.dtype, x.strides, w, geometry, x_zero_point, w_zero_point, bias, how, return_events, requantize
    )
    w.keep_plan(key, route)
    return route(x)


def matmul_route(
    shape: tuple[int, ...],
    dtype: np.dtype,
    strides: tuple[int, ...],
    b: Packed,
    a_zero_point: int,
    b_zero_point: Any,
    bias: Any,
    how: Accumulator,
    return_events: bool,
    requantize: Mapping[str, Any] | None,
    workers: int | None = None,
) -> Route:
    """What matmul does with arrays a of that shape, dtype and strides; arguments as there, checked here."""
    arguments.matmul_shapes(shape, b.matrix_shape)
    rows, columns = shape[0], b.matrix_shape[1]
    geometry = ConvGeometry(1, rows, 1, shape[1], rows, 1, columns, 1, 1, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    return Route(
        geometry,
        (rows, columns),
        dtype,
        (0, strides[0], 0, strides[1]),
        b,
        int(arguments.zero_point("a_zero_point", a_zero_point, dtype, None)),
        arguments.zero_point("b_zero_point", b_zero_point, b.w.dtype, columns),
        arguments.bias(bias, columns),
        how,
        return_events,
        arguments.requantization(requantize),
        workers,
    )


def conv2d_route(
    shape: tuple[int, ...],
    dtype: np.dtype,
    strides: tuple[int, ...],
    w: Packed,
    geometry: tuple[Any, Any, Any, int],
    x_zero_point: int,
    w_zero_point: Any,
    bias: Any,
    how: Accumulator,
    return_events: bool,
    requantize: Mapping[str, Any] | None,
    workers: int | None = None,
) -> Route:
    """What conv2d does with arrays x of that shape, dtype and strides; arguments as there, checked here.

    geometry: stride, padding, dilation, groups.
    """
    stride, padding, dilation, groups = geometry
    if w.groups != groups:
        raise ValueError(f"w was packed for groups={w.groups}, not groups={groups}")
    whole = arguments.conv_geometry(shape, w.w.shape, stride, padding, dilation, groups)
    return Route(
        whole,
        (whole.batch, whole.out_y, whole.out_x, whole.out_channels),
        dtype,
        strides,
        w,
        int(arguments.zero_point("x_zero_point", x_zero_point, dtype, None)),
        arguments.zero_point("w_zero_point", w_zero_point, w.w.dtype, whole.out_channels),
        arguments.bias(bias, whole.out_channels),
        how,
        return_events,
        arguments.requantization(requantize),
        workers,
    )
