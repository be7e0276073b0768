"""gemmlowp's fixed-point steps on arrays: high multiply, shifts, exp and reciprocal (equations F8 to F12).

Arrays are int64 that hold int32 values. Source: gemmlowp fixedpoint.h.
"""

from __future__ import annotations

import numpy as np

_TOP = 2**31 - 1


def high_multiply(a, b) -> np.ndarray:
    """SRDHM: (a * b + 2**30) >> 31, saturated (F8)."""
    return np.minimum((np.asarray(a, np.int64) * b + 2**30) >> 31, _TOP)


def divide_by_power_of_two(x, exponent) -> np.ndarray:
    """x / 2**exponent, ties away from zero; exponent >= 0, scalar or array (F9)."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    return (x + half - ((x < 0) & (half != 0))) >> exponent


def saturating_left(x, shift: int) -> np.ndarray:
    """x << shift held in int32 (F9)."""
    return np.clip(np.asarray(x, np.int64) << shift, -(2**31), _TOP)


def exp_of_negative(a, integer_bits: int = 5) -> np.ndarray:
    """exp(a), a <= 0 with that many integer bits, in Q0.31 (F10): Taylor below 1/4, then a factor per bit."""
    a = np.asarray(a, np.int64)
    quarter = 2 ** (29 - integer_bits)
    rest = (a & (quarter - 1)) - quarter
    x = (rest << integer_bits) + 2**28
    x2 = high_multiply(x, x)
    x3, x4 = high_multiply(x2, x), high_multiply(x2, x2)
    series = high_multiply(divide_by_power_of_two(x4, 2) + x3, 715827883) + x2
    y = 1895147668 + high_multiply(1895147668, x + divide_by_power_of_two(series, 1))
    for place, factor in enumerate(EXP_FACTORS[: integer_bits + 2]):
        y = np.where(((rest - a) & (quarter << place)) != 0, high_multiply(y, factor), y)
    return np.where(a == 0, _TOP, y)


#: exp(-2**k) in Q0.31 for k = -2 .. 4
EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def one_over_one_plus(x) -> np.ndarray:
    """1 / (1 + x), x in [0, 1) as Q0.31, result in Q0.31 (F11): three Newton steps."""
    half = (np.asarray(x, np.int64) + _TOP + 1) >> 1
    y = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        y = y + saturating_left(high_multiply(y, 2**29 - high_multiply(half, y)), 2)
    return saturating_left(y, 1)


def leading_zeros(x) -> np.ndarray:
    """Zeros above the highest set bit of a positive int32."""
    return 31 - np.floor(np.log2(np.asarray(x, np.float64))).astype(np.int64)


def one_minus_over_one_plus(x) -> np.ndarray:
    """(1 - x) / (1 + x), x in [0, 1] as Q0.31, result in Q0.31 (F12)."""
    half = (np.asarray(x, np.int64) + _TOP + 1) >> 1
    y = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        y = y + saturating_left(high_multiply(y, 2**29 - high_multiply(half, y)), 2)
    return saturating_left(y - 2**29, 2)
