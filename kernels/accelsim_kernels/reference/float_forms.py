"""Operators through float32 in exact fractions, rounded step by step (E33 to E37)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .. import domain
from ..float_pairs import check
from ..float_pool import check_order, check_windows
from ..float_softmax import exp_table
from .requantization import float_round, round_fraction

_ROUNDING, _LOWEST = Fraction(12582912), Fraction(float(np.float32(-88.3762626647949)))
_EXP = [Fraction(*float.fromhex(c).as_integer_ratio()) for c in (
    "0x1.694000p-10", "0x1.125edcp-7", "0x1.555b5ap-5", "0x1.555450p-3", "0x1.fffff6p-2", "0x1p+0", "0x1p+0",
)]  # fmt: skip


def _single(value) -> Fraction:
    return float_round(Fraction(value), 24, -149)


def _scale(value) -> Fraction:
    return Fraction(float(np.float32(value)))


def _even(value: Fraction) -> int:
    return round_fraction(value, "half_even")


def float_pair(
    a, b, *, operation: str, arithmetic: str, a_scale, b_scale, scale, a_zero_point=0, b_zero_point=0, zero_point=0,
    qmin=-128, qmax=127,
) -> np.ndarray:  # fmt: skip
    """As accelsim_kernels.float_pair."""
    check(operation, arithmetic)
    sa, sb, so = _scale(a_scale), _scale(b_scale), _scale(scale)
    function = {"add": lambda p, q: p + q, "sub": lambda p, q: p - q, "mul": lambda p, q: p * q}[operation]

    def one(p: int, q: int) -> int:
        p, q = p - a_zero_point, q - b_zero_point
        if arithmetic == "product":
            ratio = _single(_single(sa * sb) / so)
            return _even(_single(_single(_single(p * q) * ratio) + zero_point))
        real = _single(function(_single(p * sa), _single(q * sb)))
        return _even(_single(real / so)) + zero_point

    a, b = np.broadcast_arrays(domain.codes("a", a), domain.codes("b", b))
    codes = [min(max(one(int(p), int(q)), qmin), qmax) for p, q in zip(a.flat, b.flat, strict=True)]
    return np.array(codes, domain.narrowest_dtype(qmin, qmax)).reshape(a.shape)


def float_average_pool(
    x, *, window, stride, padding, divisor: str, order: str, x_scale, scale, x_zero_point=0, zero_point=0, qmin=-128,
    qmax=127, values=None, lowest: int = 0,
) -> np.ndarray:  # fmt: skip
    """As accelsim_kernels.float_average_pool."""
    x = domain.codes("x", x)
    check_windows(x.shape, window, stride, padding)
    check_order(order, x.shape, window, padding)
    rows, columns = ((x.shape[1 + i] + sum(padding[i]) - window[i]) // stride[i] + 1 for i in (0, 1))
    sx, so = _scale(x_scale), _scale(scale)
    out = np.empty((x.shape[0], rows, columns, x.shape[3]), domain.narrowest_dtype(qmin, qmax))

    def number(code: int) -> Fraction:
        return _single((code - x_zero_point) * sx) if values is None else Fraction(float(values[code - lowest]))

    for n, oy, ox, c in np.ndindex(out.shape):
        top, left = oy * stride[0] - padding[0][0], ox * stride[1] - padding[1][0]
        ys = [y for y in range(top, top + window[0]) if 0 <= y < x.shape[1]]
        xs = [v for v in range(left, left + window[1]) if 0 <= v < x.shape[2]]
        real = lambda i, j, n=n, c=c: number(int(x[n, i, j, c]))  # noqa: E731
        if order == "rows":
            total = _in_order(real(i, j) for i in ys for j in xs)
        elif order == "vectors":
            flat = [real(i, j) for i in ys for j in xs]
            full = len(flat) // 4 * 4
            total = _lanes(flat[:full], 4) if full else Fraction(0)
            for value in flat[full:]:
                total = _single(total + value)
        else:
            total = _in_order(_in_order(real(i, j) for i in ys) for j in xs)
        count = window[0] * window[1] if divisor == "window" else len(ys) * len(xs)
        code = _even(_single(_single(total / count) / so)) + zero_point
        out[n, oy, ox, c] = min(max(code, qmin), qmax)
    return out


def _in_order(values) -> Fraction:
    total = Fraction(0)
    for value in values:
        total = _single(total + value)
    return total


def _lanes(values: list[Fraction], lanes: int) -> Fraction:
    """Vectors added in turn, then their lanes in halves."""
    totals = [_in_order(values[lane::lanes]) for lane in range(lanes)]
    while len(totals) > 1:
        half = len(totals) // 2
        totals = [_single(p + q) for p, q in zip(totals[:half], totals[half:], strict=True)]
    return totals[0]


def float_softmax(
    x,
    *,
    arithmetic: str,
    input_scale,
    scale,
    zero_point: int,
    input_zero_point: int = 0,
    qmin: int = 0,
    qmax: int = 255,
) -> np.ndarray:
    """As accelsim_kernels.float_softmax.float_softmax, row by row."""
    x = domain.codes("x", x)
    rows, scales = x.reshape(-1, x.shape[-1]).tolist(), (_scale(input_scale), _scale(scale))
    if arithmetic == "onnx-table":
        out = [_table_row(row, *scales, zero_point, x.dtype == np.int8) for row in rows]
        return np.array(out, x.dtype).reshape(x.shape)
    out = [_float_row([v - input_zero_point for v in row], *scales, zero_point, (qmin, qmax)) for row in rows]
    return np.array(out, domain.narrowest_dtype(qmin, qmax)).reshape(x.shape)


def _table_row(row: list[int], input_scale: Fraction, scale: Fraction, zero_point: int, signed: bool) -> list[int]:
    table = exp_table(float(input_scale), len(row))
    power = [Fraction(float(table[255 + v - max(row)])) for v in row]
    total, factor = _in_order(power), math.floor(_single(1 / scale))
    codes = [_even(_single(_single(p * factor) / total)) + zero_point for p in power]
    return [(v + 128) % 256 - 128 for v in codes] if signed else [min(v, 255) for v in codes]


def _float_row(row: list[int], input_scale: Fraction, scale: Fraction, zero_point: int, limits: tuple) -> list[int]:
    real = [_single(v * input_scale) for v in row]
    power = [_exp(_single(v - max(real))) for v in real]
    inverse = _single(1 / _softmax_sum(power))
    codes = [_even(_single(_single(p * inverse) / scale)) + zero_point for p in power]
    return [min(max(v, limits[0]), limits[1]) for v in codes]


def _softmax_sum(power: list[Fraction]) -> Fraction:
    """Sixteen lanes, their halves, then neighbours."""
    lanes = [_in_order(power[lane::16]) for lane in range(16)]
    totals = [_single(p + q) for p, q in zip(lanes[:8], lanes[8:], strict=True)]
    while len(totals) > 1:
        totals = [_single(p + q) for p, q in zip(totals[0::2], totals[1::2], strict=True)]
    return totals[0]


def _exp(x: Fraction) -> Fraction:
    """exp of a non-positive float32 number: powers of two from the rounding constant, then a polynomial."""
    f = lambda v: Fraction(float(np.float32(v)))  # noqa: E731
    x = max(x, _LOWEST)
    power = _single(x * f(1.44269504088896341) + _ROUNDING) - _ROUNDING
    rest = _single(power * f(-1.42860677e-6) + _single(power * f(-6.93145752e-1) + x))
    value = _EXP[0]
    for coefficient in _EXP[1:]:
        value = _single(value * rest + coefficient)
    return _single(value * Fraction(2) ** int(power))
