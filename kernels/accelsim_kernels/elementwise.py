"""Operators that act on one element at a time: quantize, dequantize, rescale, concat, pad, look-up.

Equations E1 to E7 of kernels/README.md. Codes are integer arrays (int8, uint8, int16 or uint16) of any shape
unless stated; results have the narrowest type that holds [qmin, qmax].
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.floats import positive, round_half_away, round_half_up
from accelsim_kernels.requantization import requantize


def quantize(x, *, scale, zero_point=0, qmin=-128, qmax=127, arithmetic="half-away") -> np.ndarray:
    """Real numbers to codes: clamp(round(x / scale) + zero_point, qmin, qmax) (E1).

    x: float32 or float64; the arithmetic is done in its precision. scale, zero_point: scalars or one per
    index of the last axis. arithmetic: a name of names.ARITHMETIC["quantize"]. Infinities saturate; NaN
    raises ValueError with its index.
    """
    domain.arithmetic_of("quantize", arithmetic, {})
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        raise ValueError(f"quantize takes float32 or float64, got {x.dtype}")
    if np.isnan(x).any():
        raise ValueError(f"quantize: x is NaN at index {tuple(int(i) for i in np.argwhere(np.isnan(x))[0])}")
    scale = positive("scale", scale, x.dtype)
    zero = np.asarray(zero_point, np.int64)
    low, high = (qmin - zero).astype(x.dtype), (qmax - zero).astype(x.dtype)
    with np.errstate(over="ignore"):
        real = x * (x.dtype.type(1) / scale) if arithmetic == "reciprocal" else x / scale
        if arithmetic == "zero-point-first":
            real = np.clip(real + zero.astype(x.dtype), x.dtype.type(qmin), x.dtype.type(qmax))
            return np.rint(real).astype(domain.narrowest_dtype(qmin, qmax))
    real = np.clip(real, low, high)
    rounded = {"half-away": round_half_away, "half-up": round_half_up}.get(arithmetic, np.rint)(real)
    return (rounded.astype(np.int64) + zero).astype(domain.narrowest_dtype(qmin, qmax))


def dequantize(q, *, scale, zero_point=0, dtype=np.float32) -> np.ndarray:
    """Codes to real numbers: (q - zero_point) * scale, in `dtype`, float32 or float64 (E2).

    scale, zero_point: scalars or one per index of the last axis.
    """
    dtype = np.dtype(dtype)
    difference = domain.codes("q", q).astype(np.int64) - np.asarray(zero_point, np.int64)
    return difference.astype(dtype) * positive("scale", scale, dtype)


def rescale(x, *, x_zero_point=0, requantize: dict) -> np.ndarray:
    """Codes to codes of another scale: requantize(x - x_zero_point, **requantize) (E3)."""
    return _requantize(domain.codes("x", x).astype(np.int32) - np.int32(x_zero_point), requantize)


def clamp(x, *, qmin: int, qmax: int) -> np.ndarray:
    """min(max(x, qmin), qmax), in the type of x (E4)."""
    x = domain.codes("x", x)
    info = np.iinfo(x.dtype)
    if qmin > qmax:
        raise ValueError(f"clamp: qmin {qmin} is above qmax {qmax}")
    return np.clip(x, max(qmin, info.min), min(qmax, info.max))


def lut(x, table, *, lowest: int) -> np.ndarray:
    """table[x - lowest]: any function of one code (E5).

    table: 1-D, one entry per code from `lowest` upwards. ValueError where a code has no entry.
    """
    index = domain.codes("x", x).astype(np.int64) - lowest
    table = np.asarray(table)
    if table.ndim != 1 or (index.size and (index.min() < 0 or index.max() >= len(table))):
        raise ValueError(f"lut: codes {x.min()} .. {x.max()} need a 1-D table from {lowest} on")
    return table[index]


def pad(x, *, padding, value: int) -> np.ndarray:
    """x with `value` (the zero point, for a real zero) around it (E6).

    padding: ((before, after), …), one pair per dimension.
    """
    x = domain.codes("x", x)
    info = np.iinfo(x.dtype)
    if not info.min <= value <= info.max:
        raise ValueError(f"pad: value {value} is no code of {x.dtype}")
    return np.pad(x, padding, constant_values=value)


def concat(inputs, *, axis: int, requantize=None, zero_points=None) -> np.ndarray:
    """Join code arrays along `axis`, each first rescaled to the output's scale (E7).

    requantize: None, or one entry per input: None (same scale: codes pass unchanged) or the keywords of
    requantize(), applied to code - zero_points[i].
    """
    parts = [domain.codes(f"input {i}", x) for i, x in enumerate(inputs)]
    for i, keywords in enumerate(requantize or []):
        if keywords is not None:
            parts[i] = rescale(parts[i], x_zero_point=zero_points[i], requantize=keywords)
    if len({p.dtype for p in parts}) > 1:
        raise ValueError(f"concat: inputs have different types {[str(p.dtype) for p in parts]}")
    return np.concatenate(parts, axis=axis)


def _requantize(acc: np.ndarray, keywords: dict) -> np.ndarray:
    return requantize(acc, **keywords)
