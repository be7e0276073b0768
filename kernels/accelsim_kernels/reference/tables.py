"""Look-up tables point by point (F13, F14, E20)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from .requantization import float_round, round_fraction


def interpolation_table(function: Callable[[float], float], low: float, high: float) -> list[int]:
    """513 int16 points of a function with values in [-1, 1) (F13)."""
    step = (high - low) / 512
    value = lambda x: function(x) * 32768.0  # noqa: E731
    points = []
    for i in range(513):
        here = _round(value(low + i * step if i < 512 else high))
        bias = 0
        if i < 512:
            middle = _round(value(low + i * step + step / 2))
            bias = _round((_round((value(low + (i + 1) * step) + here) / 2) - middle) / 2)
        points.append(min(max(here - bias, -32768), 32767))
    return points


def interpolate(table: list[int], x: int) -> int:
    """The table at an int16 argument: 7 fraction bits, ties up (F14)."""
    index, fraction = 256 + x // 128, x % 128
    return table[index] + ((table[index + 1] - table[index]) * fraction + 64) // 128


def _round(x: float) -> int:
    return round_fraction(Fraction(x), "half_away")


def code_table(function, *, input_scale, input_zero_point, scale, zero_point, lowest, highest, qmin, qmax) -> list[int]:
    """As accelsim_kernels.tables.code_table."""
    single = lambda v: float_round(Fraction(v), 24, -149)  # noqa: E731
    step, inverse = single(float(input_scale)), single(1 / single(float(scale)))
    codes = []
    for x in range(lowest, highest + 1):
        value = min(max(function(float(single(step * (x - input_zero_point)))), -(2.0**100)), 2.0**100)
        real = single(single(value) * inverse)
        codes.append(min(max(round_fraction(real, "half_away") + zero_point, qmin), qmax))
    return codes
