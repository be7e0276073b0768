"""Quantizers: the grid of integer codes that stands for real numbers.

Notation of Nagel et al., *A White Paper on Neural Network Quantization* (2021), section 2.2:
    x_int = clamp(round(x / s) + z, q_min, q_max)            (Q1)
    x_hat = s * (x_int - z)                                  (Q2)
Scales are kept to float32 precision, because every file format that carries them does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError

MIN_BITS, MAX_BITS = 2, 16


@dataclass(frozen=True, eq=False)
class QuantParams:
    """One quantizer: real = scale * (code - zero_point), codes of `bits` bits.

    scale: positive float, or 1-D float64 array (one entry per index of `axis`); unit of the real value.
    zero_point: integer code of real zero, or 1-D int64 array; within [qmin, qmax].
    bits: 2 .. 16.  signed: codes in [-2^(bits-1), 2^(bits-1) - 1], else [0, 2^bits - 1].
    axis: the dimension that per-channel entries run along, None per tensor.
    Raises AccelsimError where a value is outside these domains.
    """

    scale: Any
    zero_point: Any = 0
    bits: int = 8
    signed: bool = True
    axis: int | None = None

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits")
        scale = np.asarray(self.scale, dtype=np.float64)
        zero_point = np.asarray(self.zero_point)
        if scale.ndim > 1 or (scale.ndim == 1) != (self.axis is not None):
            raise AccelsimError(
                f"scale of shape {scale.shape} with axis={self.axis}: "
                "give a number (axis=None) or a 1-D array per channel (axis=its dimension)"
            )
        if not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
            raise AccelsimError(f"scale must be finite and positive, not {_first_bad(scale)}")
        if zero_point.dtype.kind not in "iu":
            raise AccelsimError(f"zero_point must be an integer, not {zero_point.dtype}")
        if zero_point.shape not in ((), scale.shape):
            raise AccelsimError(f"zero_point of shape {zero_point.shape} for a scale of shape {scale.shape}")
        if np.any(zero_point < self.qmin) or np.any(zero_point > self.qmax):
            raise AccelsimError(f"zero_point must lie within [{self.qmin}, {self.qmax}] so that real zero has a code")
        if scale.ndim:
            object.__setattr__(self, "scale", scale)
            object.__setattr__(self, "zero_point", np.broadcast_to(zero_point, scale.shape).astype(np.int64))
        else:
            object.__setattr__(self, "scale", float(scale))
            object.__setattr__(self, "zero_point", int(zero_point))

    @property
    def qmin(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype:
        """The narrowest NumPy container of the codes: (u)int8 or (u)int16."""
        return np.dtype(("int" if self.signed else "uint") + ("8" if self.bits <= 8 else "16"))

    @property
    def symmetric(self) -> bool:
        return bool(np.all(np.asarray(self.zero_point) == 0))

    @property
    def real_min(self) -> Any:
        """Smallest representable real value (scalar, or one per channel)."""
        return self.scale * (self.qmin - np.asarray(self.zero_point))

    @property
    def real_max(self) -> Any:
        return self.scale * (self.qmax - np.asarray(self.zero_point))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QuantParams):
            return NotImplemented
        return (
            (self.bits, self.signed, self.axis) == (other.bits, other.signed, other.axis)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class AccumulatorParams:
    """The grid of accumulators that leave the array unrescaled: real = scale * code, zero point 0.

    scale: float, or 1-D float64 array along `axis` (weight scale per channel x input scale).
    axis: the dimension of the channels, the batch counted; None where the scale is one number.
    Raises AccelsimError where a scale is not finite and positive.
    """

    scale: Any
    axis: int | None = None

    zero_point = 0
    bits = 32
    signed = True

    def __post_init__(self) -> None:
        scale = np.asarray(self.scale, dtype=np.float64)
        if scale.ndim > 1 or scale.size == 0 or not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
            raise AccelsimError(f"the scale of accumulators must be finite and positive, not {self.scale!r}")
        object.__setattr__(self, "scale", scale if scale.ndim else float(scale))
        if scale.ndim == 0:
            object.__setattr__(self, "axis", None)
        elif not isinstance(self.axis, int):
            raise AccelsimError("accumulators with a scale per channel need the axis of the channels")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AccumulatorParams):
            return NotImplemented
        return self.axis == other.axis and np.array_equal(self.scale, other.scale)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class QTensor:
    """Integer codes and the quantizer that gives them their meaning."""

    values: np.ndarray
    params: QuantParams

    def __post_init__(self) -> None:
        if self.values.dtype.kind not in "iu":
            raise AccelsimError(f"a QTensor holds integer codes, not {self.values.dtype}")
        if self.values.size and (self.values.min() < self.params.qmin or self.values.max() > self.params.qmax):
            raise AccelsimError(
                f"codes in [{self.values.min()}, {self.values.max()}] do not fit "
                f"{self.params.bits} {'signed' if self.params.signed else 'unsigned'} bits"
            )

    @property
    def real(self) -> np.ndarray:
        """float64 values that the codes stand for (Q2)."""
        return dequantize(self.values, self.params)


def check_bits(bits: Any, name: str) -> int:
    """bits as an int in 2 .. 16, or an error that names the field."""
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not MIN_BITS <= bits <= MAX_BITS:
        raise AccelsimError(f"{name} must be an integer from {MIN_BITS} to {MAX_BITS}, not {bits!r}")
    return int(bits)


def along(value: Any, axis: int | None, ndim: int) -> np.ndarray:
    """A per-channel 1-D array shaped so that it broadcasts along `axis` of an ndim array."""
    value = np.asarray(value)
    if axis is None or value.ndim == 0:
        return value
    shape = [1] * ndim
    shape[axis] = -1
    return value.reshape(shape)


def quantize(x: np.ndarray, params: QuantParams) -> np.ndarray:
    """Codes of real values by (Q1), ties to even; dtype `params.dtype`.

    Used for weights and biases, ahead of time. What a runtime does to its inputs is the business
    of its profile (`profiles.py`). Raises AccelsimError on NaN or infinite values.
    """
    x = np.asarray(x, dtype=np.float64)
    if not np.all(np.isfinite(x)):
        raise AccelsimError(f"cannot quantize {_first_bad(x)}: values must be finite")
    codes = np.rint(x / along(params.scale, params.axis, x.ndim))
    codes += along(params.zero_point, params.axis, x.ndim)
    return np.clip(codes, params.qmin, params.qmax).astype(params.dtype)


def dequantize(codes: np.ndarray, params: QuantParams | AccumulatorParams) -> np.ndarray:
    """float64 real values of integer codes (Q2)."""
    codes = np.asarray(codes)
    centred = codes.astype(np.int64) - along(params.zero_point, params.axis, codes.ndim)
    return centred * along(params.scale, params.axis, codes.ndim)


def choose_params(
    lower: Any,
    upper: Any,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool = False,
    power_of_two: bool = False,
    axis: int | None = None,
) -> QuantParams:
    """The quantizer that covers the real range [lower, upper] (paper, section 2.2 and 3.1).

    lower, upper: floats, or 1-D arrays per channel (with `axis`). The range is widened to contain
    zero, so that zero has an exact code. symmetric: zero_point 0 and a scale from the larger side.
    power_of_two: the scale is rounded up to 2^-k, so that the range still fits.
    Raises AccelsimError where the range is empty, reversed, NaN or infinite.
    """
    check_bits(bits, "bits")
    lower = np.minimum(np.asarray(lower, dtype=np.float64), 0.0)
    upper = np.maximum(np.asarray(upper, dtype=np.float64), 0.0)
    if not (np.all(np.isfinite(lower)) and np.all(np.isfinite(upper))):
        raise AccelsimError("the range to quantize must be finite")
    if np.any(lower == upper):
        raise AccelsimError("the range to quantize is the single value 0: nothing to choose a scale from")
    qmin, qmax = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if symmetric:
        if not signed and np.any(lower < 0):
            raise AccelsimError("an unsigned symmetric quantizer cannot represent negative values")
        scale = np.maximum(-lower, upper) / qmax
    else:
        scale = (upper - lower) / (qmax - qmin)
    scale = np.exp2(np.ceil(np.log2(scale))) if power_of_two else _to_float32(scale)
    zero_point = np.zeros(scale.shape, np.int64)
    if not symmetric:
        zero_point = np.clip(np.rint(qmin - lower / scale), qmin, qmax).astype(np.int64)
    if axis is None:
        return QuantParams(float(scale), int(zero_point), bits, signed, None)
    return QuantParams(np.atleast_1d(scale), np.atleast_1d(zero_point), bits, signed, axis)


def power_of_two_exponent(scale: float) -> int | None:
    """k where scale == 2^k exactly, else None."""
    mantissa, exponent = math.frexp(scale)
    return exponent - 1 if mantissa == 0.5 else None


def _to_float32(scale: np.ndarray) -> np.ndarray:
    narrow = np.asarray(scale, dtype=np.float32).astype(np.float64)
    tiny = float(np.finfo(np.float32).tiny)
    return np.maximum(narrow, tiny)  # a subnormal range must not become scale 0


def _first_bad(x: np.ndarray) -> Any:
    bad = x[~(np.isfinite(x) & (x > 0))] if x.dtype.kind == "f" else x
    return bad.flat[0] if bad.size else None
