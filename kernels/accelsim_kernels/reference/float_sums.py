"""Sums in float32 in exact fractions, rounded step by step (E60)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .. import domain
from .requantization import float_round, round_fraction


def _single(value) -> Fraction:
    return float_round(Fraction(value), 24, -149)


def _along(value, count: int) -> list:
    return np.broadcast_to(np.asarray(value), (count,)).tolist()


def _reals(codes: list[int], scale, zero_point) -> list[Fraction]:
    return [_single(Fraction(v - zero_point) * _scale(scale)) for v in codes]


def _scale(value) -> Fraction:
    return Fraction(float(np.float32(value)))


def float_matmul(
    a, b, *, a_scale, b_scale, scale, bias=None, b_turned: bool = False, a_zero_point=0, b_zero_point=0, zero_point=0,
    qmin=-128, qmax=127,
) -> np.ndarray:  # fmt: skip
    """As accelsim_kernels.float_matmul."""
    a, b = domain.codes("a", a), domain.codes("b", b)
    (rows, terms), columns = a.shape, b.shape[1]
    scales, zeros = _along(np.asarray(b_scale, np.float32), columns), _along(b_zero_point, columns)
    out = np.empty((rows, columns), domain.narrowest_dtype(qmin, qmax))
    for m, n in np.ndindex(rows, columns):
        x, w = _reals(a[m].tolist(), a_scale, a_zero_point), _reals(b[:, n].tolist(), scales[n], zeros[n])
        start = None if bias is None else _scale(bias[n])
        if rows == 1 and b_turned:
            total = _single(_lanes(x, w, n, columns) + (start or 0))
        elif rows == 1:
            total = _fours(x, w, start)
        elif columns == 1 and (not b_turned or terms == 1):
            total = _single(_lanes(x, w, m, rows) + (start or 0))
        else:
            total = _panels(x, w, columns, start)
        out[m, n] = _code(total, scale, zero_point, qmin, qmax)
    return out


def float_conv2d(
    x, w, *, x_scale, w_scale, scale, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1,
    x_zero_point=0, w_zero_point=0, zero_point=0, qmin=-128, qmax=127,
) -> np.ndarray:  # fmt: skip
    """As accelsim_kernels.float_conv2d."""
    x, w = domain.codes("x", x), domain.codes("w", w)
    n, height, width, _ = x.shape
    count, fy, fx, inner = w.shape
    sizes = [
        (size + sum(padding[i]) - dilation[i] * (f - 1) - 1) // stride[i] + 1
        for i, (size, f) in enumerate(((height, fy), (width, fx)))
    ]
    scales, zeros = _along(np.asarray(w_scale, np.float32), count), _along(w_zero_point, count)
    filters = count // groups
    outputs = sizes[0] * sizes[1]
    plain = tuple(stride) == (1, 1) and tuple(dilation) == (1, 1) and not np.any(padding)
    turned = plain and inner == 1 and fx == width and (fy, fx) != (1, 1)
    out = np.empty((n, *sizes, count), domain.narrowest_dtype(qmin, qmax))
    for image, oy, ox, k in np.ndindex(*out.shape):
        first = k // filters * inner
        codes = []
        for c, i, j in np.ndindex(inner, fy, fx):
            row = oy * stride[0] + i * dilation[0] - padding[0][0]
            column = ox * stride[1] + j * dilation[1] - padding[1][0]
            inside = 0 <= row < height and 0 <= column < width
            codes.append(int(x[image, row, column, first + c]) if inside else x_zero_point)
        values = _reals(codes, x_scale, x_zero_point)
        weights = _reals(w[k].transpose(2, 0, 1).reshape(-1).tolist(), scales[k], zeros[k])
        if filters == 1 and turned:
            total = _lanes(weights, values, oy * sizes[1] + ox, outputs)
        elif filters == 1:
            total = _fours(values, weights, None)
        elif outputs == 1 and not turned:
            total = _lanes(values, weights, k % filters, filters)
        else:
            total = _panels(values, weights, outputs, None)
        total = total if bias is None else _single(total + _scale(bias[k]))
        out[image, oy, ox, k] = _code(total, scale, zero_point, qmin, qmax)
    return out


def _code(total: Fraction, scale, zero_point: int, qmin: int, qmax: int) -> int:
    code = round_fraction(_single(total / _scale(scale)), "half_even") + zero_point
    return min(max(code, qmin), qmax)


def _panels(x: list[Fraction], w: list[Fraction], columns: int, start: Fraction | None) -> Fraction:
    terms, width, block = len(x), 128, 128
    while columns >= terms and block // 2 >= terms:
        block //= 2
    while columns < terms and width > 16 and width // 2 >= columns:
        width, block = width // 2, block * 2
    total = start or Fraction(0)
    for first in range(0, terms, block):
        chain = Fraction(0)
        for p, q in zip(x[first : first + block], w[first : first + block], strict=True):
            chain = _single(p * q + chain)
        total = _single(total + chain)
    return total


def _fours(x: list[Fraction], w: list[Fraction], start: Fraction | None) -> Fraction:
    products = [_single(p * q) for p, q in zip(x, w, strict=True)]
    total, place = start or Fraction(0), 0
    while place < len(products):
        count = next(size for size in (4, 2, 1) if len(products) - place >= size)
        part = products[place]
        for product in products[place + 1 : place + count]:
            part = _single(part + product)
        total, place = _single(part + total), place + count
    return total


def _lanes(x: list[Fraction], w: list[Fraction], place: int, outputs: int) -> Fraction:
    lanes = [Fraction(0)] * 8
    for k, (p, q) in enumerate(zip(x, w, strict=True)):
        lanes[k % 8] = _single(lanes[k % 8] + _single(p * q))
    low, high = lanes[:4], lanes[4:]
    add = lambda p, q: _single(p + q)  # noqa: E731
    if place < outputs // 4 * 4:
        return add(*(add(add(add(v[0], v[1]), v[2]), v[3]) for v in (low, high)))
    if place < outputs // 2 * 2:
        halves = [add(add(low[i], low[i + 2]), add(high[i], high[i + 2])) for i in (0, 1)]
        return add(*halves)
    return add(*(add(add(v[0], v[1]), add(v[2], v[3])) for v in (low, high)))
