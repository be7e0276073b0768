"""TensorFlow Lite's 32-bit fixed point on whole arrays and single numbers, for tables of functions of few codes."""

from __future__ import annotations

import numpy as np

from accelsim.requant import decompose

_TOP = 2**31 - 1


def rescaled_codes(x: np.ndarray, scale: float) -> np.ndarray:
    """MultiplyByQuantizedMultiplier, rounding twice: int64 in and out, values of int32."""
    params = decompose("tflite-double", scale)
    return multiplied(x, params["multiplier"], params["shift"])


def multiplied(x: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    """x * multiplier * 2**(shift - 31): ties up in the product, away from zero in the shift."""
    high = ((x << max(shift, 0)) * multiplier + (1 << 30)) >> 31
    return divided(high, max(-shift, 0))


def divided(x: np.ndarray, exponent: int) -> np.ndarray:
    """x / 2**exponent, ties away from zero (RoundingDivideByPOT)."""
    rest = x & ((1 << exponent) - 1)
    return (x >> exponent) + (rest > ((1 << exponent) - 1 >> 1) + (x < 0))


def inverse_square_root(value: int) -> tuple[int, int]:
    """(multiplier, shift) of 1 / sqrt(value) for MultiplyByQuantizedMultiplier, by five steps of Newton's.

    Source: TensorFlow Lite kernels/internal/common.h, GetInvSqrtQuantizedMultiplierExp.
    """
    if value <= 1:
        return _TOP, 0
    shift = 11
    while value >= 1 << 29:
        value, shift = value // 4, shift + 1
    pairs = (31 - value.bit_length()) // 2 - 1
    value, shift = value << 2 * pairs, shift - pairs
    half = int(divided(np.int64(value >> 1), 1))
    x, three_halves = 1 << 28, (1 << 28) + (1 << 27)
    for _ in range(5):
        cube = _left(_high(_high(x, x), x), 6)
        x = _left(_high(three_halves, x) - _high(half, cube), 3)
    x = _high(x, 1518500250)
    return (x << -shift, 0) if shift < 0 else (x, -shift)


def _high(a: int, b: int) -> int:
    return (a * b + (1 << 30)) >> 31


def _left(x: int, bits: int) -> int:
    return min(max(x << bits, -_TOP - 1), _TOP)
