"""Fixed-point scalars: wrap, saturate, rounding shifts, high multiply (equations F1 to F8).

Each takes and returns int64 numbers and is compiled into its caller. Shifts here are right shifts,
0 <= s <= 62.
"""

from __future__ import annotations

import numpy as np

from ._jit import njit


@njit
def clamp(value, low, high):
    """min(max(value, low), high) (F1)."""
    return min(max(value, low), high)


@njit
def wrap(value, bits):
    """value modulo 2**bits, in [-2**(bits-1), 2**(bits-1)); 1 <= bits <= 64 (F2)."""
    unused = 64 - bits
    return (value << unused) >> unused


@njit
def saturate(value, bits):
    """value clamped to the range of a signed integer of that many bits; 1 <= bits <= 63 (F3)."""
    top = np.int64(1) << (bits - 1)
    return min(max(value, -top), top - 1)


@njit
def floor_shift(value, s):
    """floor(value / 2**s) (F4)."""
    return value >> s


@njit
def toward_zero_shift(value, s):
    """trunc(value / 2**s) (F4)."""
    return (value + ((value >> 63) & ((np.int64(1) << s) - 1))) >> s


@njit
def half_up_shift(value, s):
    """floor(value / 2**s + 1/2): ties towards +inf (F5). No overflow for |value| < 2**62."""
    return (value + ((np.int64(1) << s) >> 1)) >> s


@njit
def half_down_shift(value, s):
    """ceil(value / 2**s - 1/2): ties towards -inf (F5)."""
    half = (np.int64(1) << s) >> 1
    return (value + half - (half != 0)) >> s


@njit
def half_away_shift(value, s):
    """value / 2**s rounded, ties away from zero (F5)."""
    half = (np.int64(1) << s) >> 1
    return (value + half - ((value < 0) & (half != 0))) >> s


@njit
def half_to_zero_shift(value, s):
    """value / 2**s rounded, ties towards zero (F5)."""
    half = (np.int64(1) << s) >> 1
    return (value + half - ((value > 0) & (half != 0))) >> s


@njit
def half_even_shift(value, s):
    """value / 2**s rounded, ties to even (F5)."""
    half = (np.int64(1) << s) >> 1
    return (value + half - ((half != 0) & (((value >> s) & 1) == 0))) >> s


@njit
def odd_shift(value, s):
    """floor(value / 2**s) with its last bit set where anything was dropped: round to odd (F6)."""
    return (value >> s) | ((value & ((np.int64(1) << s) - 1)) != 0)


@njit
def noise(seed, value):
    """64 mixed bits of (seed, value): the splitmix64 finaliser (F7).

    A function of its arguments alone, so that every order of evaluation gives the same result.
    """
    z = (np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(value)
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit
def stochastic_shift(value, s, seed):
    """floor((value + u) / 2**s) with u uniform in [0, 2**s), taken from noise(seed, value) (F7)."""
    u = noise(seed, value) & ((np.uint64(1) << np.uint64(s)) - np.uint64(1))
    return (value + np.int64(u)) >> s


@njit
def high_multiply(a, b):
    """SRDHM: (a * b + 2**30) >> 31, saturated for a = b = -2**31; int32 operands, ties up (F8)."""
    return min((a * b + (np.int64(1) << 30)) >> 31, np.int64(2**31 - 1))
