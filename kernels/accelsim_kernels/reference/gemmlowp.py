"""gemmlowp's exp and reciprocal in Python integers, as written in fixedpoint.h (F9 to F12)."""

from __future__ import annotations

from .requantization import divide_by_power_of_two, high_multiply


def saturate(x: int, bits: int) -> int:
    """x held in a signed integer of that many bits."""
    return min(max(x, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def exp_of_negative(a: int, integer_bits: int = 5) -> int:
    """exp(a), a <= 0 with that many integer bits, in Q0.31 (F10)."""
    if a == 0:
        return 2**31 - 1
    one = 2 ** (31 - integer_bits)
    below_quarter = a % (one // 4) - one // 4
    y = _exp_on_interval(below_quarter * 2**integer_bits)
    remainder = below_quarter - a
    factors = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
    for exponent, factor in factors.items():
        if exponent < integer_bits and remainder & (one * 4 * 2 ** (exponent + 2) // 16):
            y = high_multiply(y, factor)
    return y


def _exp_on_interval(a: int) -> int:
    """exp(a) for a in [-1/4, 0) as Q0.31: Taylor around -1/8."""
    x = a + 2**28
    x2 = high_multiply(x, x)
    x3, x4 = high_multiply(x2, x), high_multiply(x2, x2)
    series = high_multiply(divide_by_power_of_two(x4, 2) + x3, 715827883) + x2
    return 1895147668 + high_multiply(1895147668, x + divide_by_power_of_two(series, 1))


def one_over_one_plus(x: int) -> int:
    """1 / (1 + x), x in [0, 1) as Q0.31, result in Q0.31 (F11)."""
    total = x + 2**31 - 1
    half = (total + (1 if total >= 0 else -1)) // 2
    y = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        correction = 2**29 - high_multiply(half, y)
        y += saturate(high_multiply(y, correction) * 4, 32)
    return saturate(y * 2, 32)


def one_minus_over_one_plus(x: int) -> int:
    """(1 - x) / (1 + x), x in [0, 1] as Q0.31, result in Q0.31 (F12)."""
    total = x + 2**31 - 1
    half = (total + (1 if total >= 0 else -1)) // 2
    y = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        correction = 2**29 - high_multiply(half, y)
        y += saturate(high_multiply(y, correction) * 4, 32)
    return saturate((y - 2**29) * 4, 32)
