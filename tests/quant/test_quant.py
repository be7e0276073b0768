"""Quantizers against exact rational arithmetic, and what they refuse."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim import AccelsimError, QTensor, QuantParams, choose_params, dequantize, quantize

BITS = st.integers(2, 16)
REAL = st.floats(-1e4, 1e4, allow_nan=False, width=32)


def exact_quantize(x: float, params: QuantParams) -> int:
    """(Q1) in rationals: round half to even, shift, clamp."""
    return min(max(round(Fraction(x) / Fraction(params.scale)) + params.zero_point, params.qmin), params.qmax)


@given(BITS, st.booleans())
def test_grid_limits(bits: int, signed: bool) -> None:
    params = QuantParams(0.5, 0, bits, signed)
    assert params.qmax - params.qmin == 2**bits - 1
    assert params.qmin == (-(2 ** (bits - 1)) if signed else 0)
    info = np.iinfo(params.dtype)
    assert info.min <= params.qmin and params.qmax <= info.max and info.bits == (8 if bits <= 8 else 16)


@given(st.lists(REAL, min_size=1, max_size=20), REAL, REAL, BITS, st.booleans(), st.booleans())
def test_chosen_grid_covers_its_range(xs, a, b, bits, signed, power_of_two) -> None:
    lower, upper = min(a, b, 0.0), max(a, b, 0.0)
    if upper - lower < 1e-6:
        return
    params = choose_params(lower, upper, bits=bits, signed=signed, power_of_two=power_of_two)
    inside = np.clip(np.array(xs, np.float64), lower, upper)
    codes = quantize(inside, params)
    assert dequantize(quantize(np.zeros(1), params), params) == 0, "real zero has a code"
    error = np.abs(dequantize(codes, params) - inside)
    # the zero point is rounded, so an end of the range may be cut by half a step more
    assert np.all(error <= params.scale * (1 + 1e-6)), error / params.scale
    if power_of_two:
        assert np.log2(params.scale) == np.rint(np.log2(params.scale))


@given(st.lists(REAL, min_size=1, max_size=50), BITS, st.booleans(), st.floats(0, 1))
def test_quantize_equals_rationals(xs, bits, signed, position) -> None:
    grid = QuantParams(2.0**-3, 0, bits, signed)
    params = QuantParams(grid.scale, grid.qmin + round(position * (grid.qmax - grid.qmin)), bits, signed)
    expected = [exact_quantize(x, params) for x in xs]
    assert np.array_equal(quantize(np.array(xs), params), expected)


def test_ties_go_to_even() -> None:
    params = QuantParams(1.0, 0, 8)
    assert quantize(np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]), params).tolist() == [0, 2, 2, 0, -2, -2]


def test_per_channel() -> None:
    x = np.array([[1.0, -2.0], [30.0, 40.0]])
    params = choose_params(x.min(axis=1), x.max(axis=1), bits=8, symmetric=True, axis=0)
    codes = quantize(x, params)
    assert codes.tolist() == [[64, -127], [95, 127]] and np.all(params.zero_point == 0)
    np.testing.assert_allclose(dequantize(codes, params), x, atol=0.2)
    assert QTensor(codes, params).real.shape == x.shape


def test_scales_are_float32() -> None:
    scale = choose_params(-1.0, 0.3, bits=7).scale
    assert scale == float(np.float32(scale))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"bits": 1}, "bits must be an integer from 2 to 16"),
        ({"bits": 17}, "bits must be"),
        ({"bits": 8.0}, "bits must be"),
        ({"scale": 0.0}, "finite and positive"),
        ({"scale": -1.0}, "finite and positive"),
        ({"scale": float("nan")}, "finite and positive"),
        ({"zero_point": 128}, r"within \[-128, 127\]"),
        ({"zero_point": 0.5}, "must be an integer"),
        ({"scale": [1.0, 2.0]}, "axis=None"),
        ({"axis": 0}, "axis=0"),
    ],
)
def test_refused_parameters(fields, match) -> None:
    with pytest.raises(AccelsimError, match=match):
        QuantParams(**{"scale": 1.0, **fields})


def test_refused_values() -> None:
    params = QuantParams(1.0)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(AccelsimError, match="finite"):
            quantize(np.array([0.0, bad]), params)
    with pytest.raises(AccelsimError, match="single value 0"):
        choose_params(0.0, 0.0)
    with pytest.raises(AccelsimError, match="finite"):
        choose_params(0.0, np.inf)
    with pytest.raises(AccelsimError, match="do not fit 4 signed bits"):
        QTensor(np.array([8]), QuantParams(1.0, bits=4))
    with pytest.raises(AccelsimError, match="integer codes"):
        QTensor(np.array([0.5]), params)
