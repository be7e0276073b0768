"""Requantization in Python integers: what accelsim_kernels.requantize must equal (equations R1 to R20).

Floating-point schemes are evaluated as exact fractions, rounded once where the hardware rounds.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import numpy as np

from .. import domain
from ..names import AP_QUANTIZATION


def requantize(acc, scheme: str, *args, zero_point=0, qmin=-128, qmax=127, **params) -> np.ndarray:
    """As accelsim_kernels.requantize, one Python integer at a time."""
    acc = np.asarray(acc)
    bound = domain.bind(scheme, args, zero_point=zero_point, qmin=qmin, qmax=qmax, **params)
    bound.check(acc)
    out = np.empty(acc.shape, bound.output_dtype)
    for index in np.ndindex(acc.shape):
        c = index[-1] if bound.channels is not None else 0
        out[index] = code_of(int(acc[index]), bound, c)
    return out


def code_of(acc: int, bound: domain.Bound, channel: int = 0) -> int:
    """The output code of one accumulator."""
    values, zero_point, qmin, qmax = channel_parameters(bound, channel)
    if bound.name == "onnx-reference":
        return min(max(_onnx_reference(acc, values[0], zero_point), qmin), qmax)
    value = scaled(acc, bound.name, values, bound.options)
    if bound.name == "ap-fixed":
        return _ap_overflow(value, bound.options["overflow"], qmin, qmax)
    return min(max(value + zero_point, qmin), qmax)


def channel_parameters(bound: domain.Bound, channel: int) -> tuple[tuple, int, int, int]:
    """Parameters, zero point, qmin and qmax of one channel as Python numbers."""
    at = lambda v: v[channel if len(v) > 1 else 0].tolist()  # noqa: E731
    return tuple(at(v) for v in bound.values), at(bound.zero_point), at(bound.qmin), at(bound.qmax)


def scaled(acc: int, scheme: str, values: tuple, options: dict[str, str]) -> int:
    """The scheme's rounded value, before zero point and clamp."""
    if scheme in ("shift", "ap-fixed"):
        rounding = options["rounding"] if scheme == "shift" else AP_QUANTIZATION[options["quantization"]]
        seed = values[1] if len(values) > 1 else 0
        return shifted(acc << max(values[0], 0), max(-values[0], 0), rounding, seed)
    return _SCHEMES[scheme](acc, *values)


def shifted(value: int, s: int, rounding: str, seed: int = 0) -> int:
    """value / 2**s rounded as named (F4 to F7)."""
    if rounding == "stochastic":
        return (value + noise(seed, value) % 2**s) >> s
    exact = Fraction(value, 2**s)
    if rounding == "odd":
        return floor(exact) if exact.denominator == 1 else floor(exact) | 1
    return round_fraction(exact, rounding)


def round_fraction(exact: Fraction, rounding: str) -> int:
    """The integer that the named rounding makes of an exact fraction."""
    low, high = floor(exact), ceil(exact)
    if rounding == "floor":
        return low
    if rounding == "toward_zero":
        return low if exact >= 0 else high
    below = exact - low
    if below != Fraction(1, 2):
        return low if below < Fraction(1, 2) else high
    return {
        "half_up": high,
        "half_down": low,
        "half_away": high if exact > 0 else low,
        "half_to_zero": low if exact > 0 else high,
        "half_even": low if low % 2 == 0 else high,
    }[rounding]


def noise(seed: int, value: int) -> int:
    """64 mixed bits of (seed, value): the splitmix64 finaliser (F7)."""
    mask = 2**64 - 1
    z = ((seed * 0x9E3779B97F4A7C15) ^ value) & mask
    z = (z + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def high_multiply(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul as written: sign-dependent nudge, truncation (F8)."""
    if a == b == -(2**31):
        return 2**31 - 1
    product = a * b
    product += 2**30 if product >= 0 else 1 - 2**30
    return product // 2**31 if product >= 0 else -(-product // 2**31)


def divide_by_power_of_two(x: int, exponent: int) -> int:
    """gemmlowp's RoundingDivideByPOT as it is written: ties away from zero."""
    mask = 2**exponent - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def float_round(exact: Fraction, digits: int, lowest_exponent: int) -> Fraction:
    """An exact number rounded to a binary float of that many digits, ties to even.

    lowest_exponent: of the smallest normal number's unit in the last place (float32: 24 digits, -149).
    """
    if exact == 0:
        return exact
    exponent = len(bin(abs(exact.numerator))) - len(bin(exact.denominator))
    if abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - digits + 1, lowest_exponent)
    return round_fraction(exact / unit, "half_even") * unit


def _double(acc, multiplier, shift):
    return divide_by_power_of_two(high_multiply(acc * 2 ** max(shift, 0), multiplier), max(-shift, 0))


def _ruy(acc, multiplier, shift):
    return shifted(high_multiply(acc * 2 ** max(shift, 0), multiplier), max(-shift, 0), "half_up")


def _single(acc, multiplier, shift):
    return shifted(acc * multiplier, 31 - shift, "half_up")


def _int16x8(acc, multiplier, shift):
    reduced = (multiplier + 2**15) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    return shifted(acc * reduced, 15 - shift, "half_up")


def _tosa_double(acc, multiplier, shift):
    s = 31 - shift
    nudge = 2 ** (s - 1)
    if s > 31:
        nudge += 2**30 if acc >= 0 else -(2**30)
    return (acc * multiplier + nudge) >> s


def _tosa_16(acc, multiplier, shift):
    return shifted(acc * multiplier, 15 - shift, "half_up")


def _cmsis_nn(acc, multiplier, shift):
    high = (acc * 2 ** max(shift, 0) * multiplier + 2**30) >> 31
    return divide_by_power_of_two((high + 2**31) % 2**32 - 2**31, max(-shift, 0))


def _cmsis_nn_s64(acc, multiplier, shift):
    return (((acc * multiplier) >> (14 - shift)) + 1) >> 1


def _float32(acc, scale):
    product = float_round(float_round(Fraction(acc), 24, -149) * Fraction(scale), 24, -149)
    return round_fraction(product, "half_even")


def _onnx_reference(acc, scale, zero_point):
    product = float_round(Fraction(acc) * Fraction(scale), 53, -1074)
    return round_fraction(float_round(product + zero_point, 53, -1074), "half_even")


def _mantissa(scale: float) -> tuple[int, int]:
    """(m, s) with scale = m * 2**-s and 2**23 <= m < 2**24."""
    exact = Fraction(scale)
    s = 0
    while exact < 2**23:
        exact, s = exact * 2, s + 1
    return int(exact), s


def _q31(acc, scale):
    mantissa, s = _mantissa(scale)
    return _double(acc, mantissa << 7, 24 - s)


def _precise(acc, scale):
    mantissa, s = _mantissa(scale)
    magnitude = (abs(acc) * mantissa + 2 ** (s - 1)) >> s
    return magnitude if acc >= 0 else -magnitude


def _rndnu(acc, scale):
    mantissa, s = _mantissa(scale)
    return (acc * mantissa + 2 ** (s - 1)) >> s


def _nvdla(acc, offset, scale, shift):
    value = shifted((acc - offset) * scale, -shift, "half_away")
    return min(max(value, -(2**16)), 2**16 - 1)


def _thresholds(acc, thresholds):
    return sum(acc >= t for t in thresholds)


def _real_double(acc, scale):
    return round_fraction(float_round(Fraction(acc) * Fraction(scale), 53, -1074), "half_away")


def _ap_overflow(value: int, overflow: str, qmin: int, qmax: int) -> int:
    span = qmax - qmin + 1
    if qmin <= value <= qmax:
        return max(value, -qmax) if overflow == "AP_SAT_SYM" and qmin < 0 else value
    if overflow in ("AP_SAT", "AP_SAT_SYM"):
        lowest = -qmax if overflow == "AP_SAT_SYM" and qmin < 0 else qmin
        return min(max(value, lowest), qmax)
    if overflow == "AP_SAT_ZERO":
        return 0
    kept = (value - qmin) % span + qmin
    if overflow == "AP_WRAP":
        return kept
    sign, kept_sign = (value // span) % 2, (value // (span // 2)) % 2
    return kept if sign == kept_sign else -kept - 1


_SCHEMES = {
    "tflite-double": _double,
    "tflite-ruy": _ruy,
    "tflite-single": _single,
    "tflite-int16x8": _int16x8,
    "tosa-single": _single,
    "tosa-double": _tosa_double,
    "tosa-16": _tosa_16,
    "cmsis-nn": _cmsis_nn,
    "cmsis-nn-s64": _cmsis_nn_s64,
    "onnx-float": _float32,
    "qnnpack-q31": _q31,
    "qnnpack-precise": _precise,
    "xnnpack-rndnu": _rndnu,
    "nvdla": _nvdla,
    "gemmini": _float32,
    "finn-thresholds": _thresholds,
    "real-double": _real_double,
}
