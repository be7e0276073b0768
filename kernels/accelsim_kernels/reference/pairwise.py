"""Operators on two code arrays in Python integers: what accelsim_kernels.pairwise must equal."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .. import domain
from .requantization import float_round, round_fraction
from .requantization import requantize as apply_scheme

_WIDE = {"qmin": -(2**31), "qmax": 2**31 - 1}


def add(
    a, b, *, arithmetic: str, a_zero_point=0, b_zero_point=0, zero_point=0, qmin=-128, qmax=127, **params
) -> np.ndarray:
    """As accelsim_kernels.add (E8, E9)."""
    domain.arithmetic_of("add", arithmetic, params)
    output = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    if arithmetic == "float32":
        one = _adder_float32(a_zero_point, b_zero_point, zero_point, **params)
        dtype = domain.narrowest_dtype(qmin, qmax)
        return _pairs(a, b, lambda p, q: min(max(one(p, q), qmin), qmax), dtype)
    return _combine(1, a, b, a_zero_point, b_zero_point, output, **params)


def sub(
    a, b, *, arithmetic: str, a_zero_point=0, b_zero_point=0, zero_point=0, qmin=-128, qmax=127, **params
) -> np.ndarray:
    """As accelsim_kernels.sub (E8)."""
    domain.arithmetic_of("sub", arithmetic, params)
    output = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    return _combine(-1, a, b, a_zero_point, b_zero_point, output, **params)


def mul(a, b, *, a_zero_point=0, b_zero_point=0, requantize: dict) -> np.ndarray:
    """As accelsim_kernels.mul (E17)."""
    product = _pairs(a, b, lambda p, q: (p - a_zero_point) * (q - b_zero_point), np.int64)
    return apply_scheme(product, **requantize)


def minimum(a, b) -> np.ndarray:
    """As accelsim_kernels.minimum."""
    return _pairs(a, b, min, _same(a, b))


def maximum(a, b) -> np.ndarray:
    """As accelsim_kernels.maximum."""
    return _pairs(a, b, max, _same(a, b))


def _same(a, b) -> np.dtype:
    a, b = domain.codes("a", a), domain.codes("b", b)
    if a.dtype != b.dtype:
        raise ValueError(f"a is {a.dtype} and b is {b.dtype}: both must be codes of one grid")
    return a.dtype


def _combine(sign: int, a, b, za: int, zb: int, output: dict, **params) -> np.ndarray:
    if "left_shift" not in params and "a_multiplier" in params:
        one = lambda p, q: (p - za) * params["a_multiplier"] + sign * (q - zb) * params["b_multiplier"]  # noqa: E731
        total = _pairs(a, b, one, np.int64)
        return apply_scheme(total, "shift", params["shift"], rounding=params["rounding"], **output)
    if "left_shift" not in params:
        shifts = params["a_shift"], params["b_shift"]
        if not 0 <= min(shifts) <= max(shifts) <= 40:
            raise ValueError(f"a_shift and b_shift must be 0 to 40, got {shifts[0]} and {shifts[1]}")
        one = lambda p, q: ((p - za) << shifts[0]) + sign * ((q - zb) << shifts[1])  # noqa: E731
        total = _pairs(a, b, one, np.int64)
        return apply_scheme(total, "shift", params["shift"], rounding=params["rounding"], **output)
    scheme, left = params["scheme"], params["left_shift"]
    if not 0 <= left <= 30:
        raise ValueError(f"left_shift must be 0 to 30, got {left}")
    a = _pairs(a, 0, lambda p, _: (p - za) * 2**left, np.int64)
    b = _pairs(b, 0, lambda q, _: (q - zb) * 2**left, np.int64)
    a = apply_scheme(a, scheme, params["a_multiplier"], params["a_shift"], **_WIDE)
    b = apply_scheme(b, scheme, params["b_multiplier"], params["b_shift"], **_WIDE)
    total = _pairs(a, b, lambda p, q: p + sign * q, np.int64)
    return apply_scheme(total, scheme, params["multiplier"], params["shift"], **output)


def _adder_float32(za, zb, zero_point, *, a_scale, b_scale, scale):
    single = lambda v: float_round(Fraction(v), 24, -149)  # noqa: E731
    sa, sb, so = (Fraction(float(np.float32(s))) for s in (a_scale, b_scale, scale))
    ratio_a, ratio_b = single(sa / so), single(sb / so)
    constant = single(zero_point - single(ratio_a * za + single(ratio_b * zb)))
    return lambda p, q: round_fraction(single(p * ratio_a + single(q * ratio_b + constant)), "half_even")


def _pairs(a, b, function, dtype) -> np.ndarray:
    a, b = np.broadcast_arrays(domain.codes("a", a), domain.codes("b", b))
    flat = [function(int(p), int(q)) for p, q in zip(a.flat, b.flat, strict=True)]
    return np.array(flat, dtype).reshape(a.shape)
