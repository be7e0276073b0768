"""One scalar function per requantization scheme (equations R1 to R20), from accumulator to unclamped integer.

Each takes the accumulator and the scheme's parameters for one channel; `requantization.py` adds the zero
point and clamps.
"""

from __future__ import annotations

import numpy as np

from . import fixedpoint as fx
from ._jit import njit

_ONE = np.int64(1)
#: float results are held below this before they become integers; far beyond any [qmin, qmax]
_FLOAT_LIMIT = 2.0**62


@njit
def _int32(value):
    """A value that is known to fit int32, as int64: so the product of two becomes one 32-bit multiply."""
    return np.int64(np.int32(value))


@njit
def tflite_double(acc, multiplier, shift):
    """rdivide_away(srdhm(acc << left, multiplier), right): two roundings (R1).

    acc << max(shift, 0) fits int32; 0 <= multiplier < 2**31; -31 <= shift <= 30.
    """
    high = fx.high_multiply(_int32(np.int64(acc) << max(shift, 0)), _int32(multiplier))
    return fx.half_away_shift(high, max(-shift, 0))


@njit
def tflite_ruy(acc, multiplier, shift):
    """half_up(srdhm(acc << left, multiplier), right): ties up both times (R2)."""
    high = fx.high_multiply(_int32(np.int64(acc) << max(shift, 0)), _int32(multiplier))
    return fx.half_up_shift(high, max(-shift, 0))


@njit
def single_rounding(acc, multiplier, shift):
    """floor(acc * multiplier / 2**(31 - shift) + 1/2) (R3, R5)."""
    return fx.half_up_shift(_int32(acc) * _int32(multiplier), 31 - shift)


@njit
def tflite_int16x8(acc, multiplier, shift):
    """floor(acc * reduced / 2**(15 - shift) + 1/2), reduced = the multiplier rounded to 15 bits (R4).

    acc: 48 bits. Source: TensorFlow Lite common.cc, MultiplyByQuantizedMultiplier(int64).
    """
    multiplier = np.int64(multiplier)
    reduced = min((multiplier + (_ONE << 15)) >> 16, np.int64(0x7FFF))
    return fx.half_up_shift(np.int64(acc) * reduced, 15 - shift)


@njit
def tosa_double(acc, multiplier, shift):
    """(acc * multiplier + 2**(s-1) +- 2**30) >> s, s = 31 - shift, the second nudge where s > 31 (R6).

    Its sign is that of acc. -2**(s-1) <= acc < 2**(s-1).
    """
    s = 31 - np.int64(shift)
    acc = _int32(acc)
    second = (_ONE << 30) * (s > 31)
    return (acc * _int32(multiplier) + (_ONE << (s - 1)) + (second if acc >= 0 else -second)) >> s


@njit
def tosa_16(acc, multiplier, shift):
    """floor(acc * multiplier / 2**(15 - shift) + 1/2): 48-bit acc, 15-bit multiplier (R7)."""
    return fx.half_up_shift(np.int64(acc) * np.int64(multiplier), 15 - shift)


@njit
def cmsis_nn(acc, multiplier, shift):
    """rdivide_away((acc << left) * multiplier + 2**30 >> 31, right), the high half not saturated (R8)."""
    product = _int32(np.int64(acc) << max(shift, 0)) * _int32(multiplier)
    high = fx.wrap((product + (_ONE << 30)) >> 31, 32)
    return fx.half_away_shift(high, max(-shift, 0))


@njit
def cmsis_nn_s64(acc, multiplier, shift):
    """((acc * multiplier >> (14 - shift)) + 1) >> 1, multiplier already reduced to 16 bits (R9)."""
    return (((np.int64(acc) * np.int64(multiplier)) >> (14 - shift)) + 1) >> 1


@njit
def float32_scale(acc, scale):
    """rne(float32(acc) * scale), the product in float32 (R10, R16)."""
    product = np.float32(acc) * scale
    limit = np.float32(_FLOAT_LIMIT)
    return np.int64(np.rint(min(max(product, -limit), limit)))


@njit
def onnx_reference(acc, scale, zero_point):
    """rne(float64(acc) * float64(scale) + zero_point) (R11)."""
    value = np.float64(acc) * np.float64(scale) + np.float64(zero_point)
    return np.int64(np.rint(min(max(value, -_FLOAT_LIMIT), _FLOAT_LIMIT)))


@njit
def mantissa_away(acc, mantissa, right):
    """acc * mantissa / 2**right, ties away from zero; mantissa: the 24 bits of a float32 scale (R13)."""
    return fx.half_away_shift(_int32(acc) * _int32(mantissa), right)


@njit
def mantissa_up(acc, mantissa, right):
    """floor(acc * mantissa / 2**right + 1/2); mantissa: the 24 bits of a float32 scale (R14)."""
    return fx.half_up_shift(_int32(acc) * _int32(mantissa), right)


@njit
def nvdla(acc, offset, scale, shift):
    """sat17(half_away((acc - offset) * scale, -shift)): the offset is subtracted first (R15)."""
    product = (np.int64(acc) - offset) * scale
    return fx.saturate(fx.half_away_shift(product, min(-shift, 62)), 17)  # 49 bits: 62 and 63 agree


@njit
def thresholds_reached(acc, thresholds):
    """Number of sorted thresholds with acc >= threshold, by bisection (R17)."""
    low, high = 0, len(thresholds)
    while low < high:
        middle = (low + high) >> 1
        if acc >= thresholds[middle]:
            low = middle + 1
        else:
            high = middle
    return np.int64(low)


@njit
def real_double(acc, scale):
    """float64(acc) * scale rounded, ties away from zero: C's round() (R20)."""
    value = min(max(np.float64(acc) * scale, -_FLOAT_LIMIT), _FLOAT_LIMIT)
    whole = np.trunc(value)
    return np.int64(whole) + (value - whole >= 0.5) - (value - whole <= -0.5)


def _shifter(rounded):
    @njit
    def shifter(acc, shift):
        return rounded(np.int64(acc) << max(shift, 0), max(-shift, 0))

    return shifter


@njit
def stochastic(acc, shift, seed):
    """Power-of-two shift, rounded up with the probability of what is dropped (R19, F7)."""
    return fx.stochastic_shift(np.int64(acc) << max(shift, 0), max(-shift, 0), seed)


#: rounding name -> scalar of the power-of-two shifter: acc * 2**shift rounded so (R18, R19)
SHIFTERS = {
    "floor": _shifter(fx.floor_shift),
    "toward_zero": _shifter(fx.toward_zero_shift),
    "half_up": _shifter(fx.half_up_shift),
    "half_down": _shifter(fx.half_down_shift),
    "half_away": _shifter(fx.half_away_shift),
    "half_to_zero": _shifter(fx.half_to_zero_shift),
    "half_even": _shifter(fx.half_even_shift),
    "odd": _shifter(fx.odd_shift),
    "stochastic": stochastic,
}

#: scheme name -> scalar; shift and ap-fixed choose theirs from SHIFTERS
SCALARS = {
    "tflite-double": tflite_double,
    "tflite-ruy": tflite_ruy,
    "tflite-single": single_rounding,
    "tflite-int16x8": tflite_int16x8,
    "tosa-single": single_rounding,
    "tosa-double": tosa_double,
    "tosa-16": tosa_16,
    "cmsis-nn": cmsis_nn,
    "cmsis-nn-s64": cmsis_nn_s64,
    "onnx-float": float32_scale,
    "onnx-reference": onnx_reference,
    "qnnpack-q31": tflite_double,
    "qnnpack-precise": mantissa_away,
    "xnnpack-rndnu": mantissa_up,
    "nvdla": nvdla,
    "gemmini": float32_scale,
    "finn-thresholds": thresholds_reached,
    "real-double": real_double,
}
