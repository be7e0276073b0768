"""Operators that act on one element at a time: quantize, dequantize, rescale, add, concat, pad, look-up.

Equations E1 to E9 of kernels/README.md. Codes are integer arrays (int8, uint8, int16 or uint16) of any shape
unless stated; results have the narrowest type that holds [qmin, qmax].
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.floats import fma32, round_half_away, round_half_up
from accelsim_kernels.requantization import requantize

#: an intermediate that no scheme clamps
_WIDE = {"qmin": -(2**31), "qmax": 2**31 - 1}


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
    scale = _positive("scale", scale, x.dtype)
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
    return difference.astype(dtype) * _positive("scale", scale, dtype)


def rescale(x, *, x_zero_point=0, requantize: dict) -> np.ndarray:
    """Codes to codes of another scale: requantize(x - x_zero_point, **requantize) (E3)."""
    return _requantize(_minus(domain.codes("x", x), x_zero_point), requantize)


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


def add(
    a, b, *, arithmetic: str, a_zero_point=0, b_zero_point=0, zero_point=0, qmin=-128, qmax=127, **params
) -> np.ndarray:
    """The code of the real sum of a and b, broadcast against each other (E8, E9).

    arithmetic and its params (names.ARITHMETIC["add"]):
    "rescale": R(R((a - za) << left_shift, a_multiplier, a_shift) + R((b - zb) << left_shift, b_multiplier,
    b_shift), multiplier, shift), R the integer scheme `scheme`, each intermediate in int32 (TFLite, CMSIS-NN:
    left_shift 20, 15 for int16; TOSA: 0, the shift is part of a_shift and b_shift).
    "float32": a_scale, b_scale, scale: fused multiply-adds of float32 ratios, ties to even (ONNX Runtime's
    AVX2 QLinearAdd).
    "power-of-two": ((a - za) << a_shift) + ((b - zb) << b_shift), then `shift` (negative = right) rounded as
    `rounding` names; a_shift, b_shift >= 0.
    """
    domain.arithmetic_of("add", arithmetic, params)
    a, b = domain.codes("a", a), domain.codes("b", b)
    if arithmetic == "float32":
        return _add_float32(a, b, a_zero_point, b_zero_point, zero_point, qmin, qmax, **params)
    a, b = _minus(a, a_zero_point), _minus(b, b_zero_point)
    output = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    if arithmetic == "power-of-two":
        if min(params["a_shift"], params["b_shift"]) < 0 or max(params["a_shift"], params["b_shift"]) > 40:
            raise ValueError("add: a_shift and b_shift must be 0 to 40")
        total = (a.astype(np.int64) << params["a_shift"]) + (b.astype(np.int64) << params["b_shift"])
        return requantize(total, "shift", params["shift"], rounding=params["rounding"], **output)
    scheme, left = params["scheme"], params["left_shift"]
    a = requantize(_left(a, left), scheme, params["a_multiplier"], params["a_shift"], **_WIDE)
    b = requantize(_left(b, left), scheme, params["b_multiplier"], params["b_shift"], **_WIDE)
    total = a.astype(np.int64) + b
    return requantize(total, scheme, params["multiplier"], params["shift"], **output)


def _add_float32(a, b, za, zb, zero_point, qmin, qmax, *, a_scale, b_scale, scale) -> np.ndarray:
    f = np.float32
    sa, sb, so = (_positive(n, s, np.float32) for n, s in (("a", a_scale), ("b", b_scale), ("output", scale)))
    ratio_a, ratio_b = sa / so, sb / so
    constant = f(zero_point) - fma32(ratio_a, f(za), ratio_b * f(zb))
    real = fma32(a.astype(f), ratio_a, fma32(b.astype(f), ratio_b, constant))
    return np.rint(np.clip(real, f(qmin), f(qmax))).astype(domain.narrowest_dtype(qmin, qmax))


def _requantize(acc: np.ndarray, keywords: dict) -> np.ndarray:
    return requantize(acc, **keywords)


def _minus(x: np.ndarray, zero_point) -> np.ndarray:
    return x.astype(np.int32) - np.asarray(zero_point, np.int32)


def _left(x: np.ndarray, shift: int) -> np.ndarray:
    if not 0 <= shift <= 30:
        raise ValueError(f"left_shift must be 0 to 30, got {shift}")
    return x.astype(np.int64) << shift


def _positive(name: str, value, dtype) -> np.ndarray:
    scale = np.asarray(value, dtype)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return scale
