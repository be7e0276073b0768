"""Elementwise operators in Python integers and exact fractions: what the fast ones must equal."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .. import domain
from .requantization import float_round, requantize, round_fraction

_FORMATS = {np.dtype(np.float32): (24, -149), np.dtype(np.float64): (53, -1074)}


def quantize(x, *, scale, zero_point=0, qmin=-128, qmax=127, arithmetic="half-away") -> np.ndarray:
    """As accelsim_kernels.quantize, one exact fraction at a time (E1)."""
    domain.arithmetic_of("quantize", arithmetic, {})
    x = np.asarray(x)
    if x.dtype not in _FORMATS:
        raise ValueError(f"quantize takes float32 or float64, got {x.dtype}")
    scales = np.broadcast_to(np.asarray(scale, x.dtype), x.shape)
    zeros = np.broadcast_to(zero_point, x.shape)
    out = np.empty(x.shape, domain.narrowest_dtype(qmin, qmax))
    for index in np.ndindex(x.shape):
        value, step, zero = float(x[index]), Fraction(float(scales[index])), int(zeros[index])
        if value != value:
            raise ValueError(f"quantize: x is NaN at index {index}")
        if abs(value) == float("inf"):
            out[index] = qmax if value > 0 else qmin
            continue
        code = _quantize_one(Fraction(value), step, zero, arithmetic, _FORMATS[x.dtype])
        out[index] = min(max(code, qmin), qmax)
    return out


def _quantize_one(value: Fraction, step: Fraction, zero: int, arithmetic: str, form: tuple[int, int]) -> int:
    if arithmetic == "reciprocal":
        real = float_round(value * float_round(1 / step, *form), *form)
    else:
        real = float_round(value / step, *form)
    if arithmetic == "zero-point-first":
        return round_fraction(float_round(real + zero, *form), "half_even")
    rounding = {"half-away": "half_away", "half-up": "half_up"}.get(arithmetic, "half_even")
    return round_fraction(real, rounding) + zero


def dequantize(q, *, scale, zero_point=0, dtype=np.float32) -> np.ndarray:
    """As accelsim_kernels.dequantize (E2)."""
    q = domain.codes("q", q)
    dtype = np.dtype(dtype)
    form = _FORMATS[dtype]
    scales, zeros = np.broadcast_to(np.asarray(scale, dtype), q.shape), np.broadcast_to(zero_point, q.shape)
    out = np.empty(q.shape, dtype)
    for index in np.ndindex(q.shape):
        exact = (int(q[index]) - int(zeros[index])) * Fraction(float(scales[index]))
        out[index] = float(float_round(exact, *form))
    return out


def rescale(x, *, x_zero_point=0, requantize: dict) -> np.ndarray:
    """As accelsim_kernels.rescale (E3)."""
    x = domain.codes("x", x)
    return _requantize(_map(x, lambda v: v - x_zero_point, np.int64), requantize)


def clamp(x, *, qmin: int, qmax: int) -> np.ndarray:
    """As accelsim_kernels.clamp (E4)."""
    x = domain.codes("x", x)
    if qmin > qmax:
        raise ValueError(f"clamp: qmin {qmin} is above qmax {qmax}")
    info = np.iinfo(x.dtype)
    low, high = max(qmin, info.min), min(qmax, info.max)
    return _map(x, lambda v: min(max(v, low), high), x.dtype)


def lut(x, table, *, lowest: int) -> np.ndarray:
    """As accelsim_kernels.lut (E5)."""
    x, table = domain.codes("x", x), np.asarray(table)
    if table.ndim != 1 or any(not 0 <= int(v) - lowest < len(table) for v in x.flat):
        raise ValueError(f"lut: codes {x.min()} .. {x.max()} need a 1-D table from {lowest} on")
    return _map(x, lambda v: int(table[v - lowest]), table.dtype)


def pad(x, *, padding, value: int) -> np.ndarray:
    """As accelsim_kernels.pad (E6)."""
    x = domain.codes("x", x)
    if not np.iinfo(x.dtype).min <= value <= np.iinfo(x.dtype).max:
        raise ValueError(f"pad: value {value} is no code of {x.dtype}")
    shape = tuple(n + before + after for n, (before, after) in zip(x.shape, padding, strict=True))
    out = np.empty(shape, x.dtype)
    for index in np.ndindex(shape):
        source = tuple(i - before for i, (before, _) in zip(index, padding, strict=True))
        inside = all(0 <= i < n for i, n in zip(source, x.shape, strict=True))
        out[index] = x[source] if inside else value
    return out


def concat(inputs, *, axis: int, requantize=None, zero_points=None) -> np.ndarray:
    """As accelsim_kernels.concat (E7)."""
    parts = [domain.codes(f"input {i}", x) for i, x in enumerate(inputs)]
    for i, keywords in enumerate(requantize or []):
        if keywords is not None:
            parts[i] = rescale(parts[i], x_zero_point=zero_points[i], requantize=keywords)
    if len({p.dtype for p in parts}) > 1:
        raise ValueError(f"concat: inputs have different types {[str(p.dtype) for p in parts]}")
    return np.concatenate(parts, axis=axis)


def _requantize(acc: np.ndarray, keywords: dict) -> np.ndarray:
    return requantize(acc, **keywords)


def _map(x: np.ndarray, function, dtype) -> np.ndarray:
    return np.array([function(int(v)) for v in x.flat], dtype).reshape(x.shape)
