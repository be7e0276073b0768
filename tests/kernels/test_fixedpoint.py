"""Fixed-point scalars against exact fractions, and gemmlowp's functions against Python integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from accelsim_kernels import fixedpoint, floats, gemmlowp
from accelsim_kernels.division import round_division
from accelsim_kernels.names import ROUNDINGS
from accelsim_kernels.reference import gemmlowp as truth
from accelsim_kernels.reference.requantization import (
    divide_by_power_of_two,
    float_round,
    high_multiply,
    noise,
    round_fraction,
    shifted,
)
from corners import integers
from hypothesis import given, settings
from hypothesis import strategies as st

INT32 = st.integers(-(2**31), 2**31 - 1)
SHIFTS = {
    "floor": fixedpoint.floor_shift, "toward_zero": fixedpoint.toward_zero_shift, "half_up": fixedpoint.half_up_shift,
    "half_down": fixedpoint.half_down_shift, "half_away": fixedpoint.half_away_shift,
    "half_to_zero": fixedpoint.half_to_zero_shift, "half_even": fixedpoint.half_even_shift, "odd": fixedpoint.odd_shift,
}  # fmt: skip


@pytest.mark.parametrize("rounding", SHIFTS)
def test_rounding_shifts(rounding):
    for s in (0, 1, 2, 7, 31, 60):
        for v in integers(-(2**60), 2**60):
            assert int(SHIFTS[rounding](v, s)) == shifted(v, s, rounding), (v, s)


@settings(max_examples=200, deadline=None)
@given(st.integers(-(2**61), 2**61), st.integers(0, 61), st.integers(0, 2**63 - 1))
def test_any_shift(value, s, seed):
    for rounding, function in SHIFTS.items():
        assert int(function(value, s)) == shifted(value, s, rounding)
    assert int(fixedpoint.stochastic_shift(value, s, seed)) == shifted(value, s, "stochastic", seed)


def test_stochastic_rounding_is_unbiased():
    values = [64 * k + 16 for k in range(4000)]
    up = sum(shifted(v, 6, "stochastic", 5) - (v >> 6) for v in values)
    assert abs(up / len(values) - 0.25) < 0.03
    assert noise(1, 2) != noise(2, 2) != noise(2, 3)


def test_wrap_saturate_high_multiply():
    for bits in (8, 16, 20, 32, 47):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        for v in integers(-(2**48), 2**48):
            assert int(fixedpoint.wrap(v, bits)) == (v - low) % 2**bits + low
            assert int(fixedpoint.saturate(v, bits)) == min(max(v, low), high)
    for a in integers(-(2**31), 2**31 - 1):
        for b in (0, 1, -1, 2**30, 2**31 - 1, -(2**31)):
            assert int(fixedpoint.high_multiply(a, b)) == high_multiply(a, b) == gemmlowp.high_multiply(a, b)


@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**31), 0), st.sampled_from([4, 5]))
def test_exp(a, integer_bits):
    assert int(gemmlowp.exp_of_negative(a, integer_bits)) == truth.exp_of_negative(a, integer_bits)
    real = np.exp(a * 2.0 ** (integer_bits - 31))
    assert abs(truth.exp_of_negative(a, integer_bits) / 2**31 - real) < 1e-6


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(0, 31))
def test_reciprocals_and_division(x, e):
    assert int(gemmlowp.one_over_one_plus(x)) == truth.one_over_one_plus(x)
    assert int(gemmlowp.one_minus_over_one_plus(x)) == truth.one_minus_over_one_plus(x)
    assert abs(truth.one_over_one_plus(x) / 2**31 - 1 / (1 + x / 2**31)) < 1e-7
    for v in (x, -x):
        assert int(gemmlowp.divide_by_power_of_two(v, e)) == divide_by_power_of_two(v, e)
    if x:
        assert int(gemmlowp.leading_zeros(x)) == 32 - x.bit_length()


def test_leading_zeros_beside_powers_of_two():
    for k in range(31):
        for v in {2**k, 2**k + 1, max(2**k - 1, 1)}:
            assert int(gemmlowp.leading_zeros(v)) == 32 - v.bit_length()


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(2**40), 2**40), st.integers(1, 2**20), st.sampled_from([r for r in ROUNDINGS if r != "stochastic"])
)
def test_round_division(numerator, denominator, rounding):
    exact = Fraction(numerator, denominator)
    if rounding == "odd":
        low = round_fraction(exact, "floor")
        expected = low if exact == low else low | 1
    else:
        expected = round_fraction(exact, rounding)
    assert int(round_division(np.int64(numerator), np.int64(denominator), rounding)) == expected


FLOAT32 = st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=False)


@settings(max_examples=400, deadline=None)
@given(FLOAT32, FLOAT32, FLOAT32)
def test_fma_rounds_once(a, b, c):
    exact = float_round(Fraction(a) * Fraction(b) + Fraction(c), 24, -149)
    assert floats.fma32(np.float32(a), np.float32(b), np.float32(c)).item() == float(exact)


def test_fma_where_float64_alone_would_round_twice():
    # a * b lies a hair above the middle of two float32 numbers: float64 drops the hair
    a, b, c = np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12), np.float32(2.0**-60)
    exact = float_round(Fraction(float(a)) ** 2 + Fraction(float(c)), 24, -149)
    assert floats.fma32(a, b, c).item() == float(exact)
    assert np.float32(np.float64(a) * np.float64(b) + np.float64(c)) != np.float32(float(exact))


@settings(max_examples=300, deadline=None)
@given(st.floats(-(2.0**50), 2.0**50))
def test_round_half_away_and_up(x):
    assert floats.round_half_away(np.float64(x)) == round_fraction(Fraction(x), "half_away")
    assert floats.round_half_up(np.float64(x)) == round_fraction(Fraction(x), "half_up")
