"""activity: the compiled counts equal streams written out and compared value by value."""

from __future__ import annotations

import math

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_cases import DTYPES, geometries, operand, zero_points

DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")


def equal(x: np.ndarray, w: np.ndarray, **keywords: object) -> dict:
    got, expected = fast.activity(x, w, **keywords), reference.activity(x, w, **keywords)
    assert got.keys() == expected.keys()
    for name, stream in expected.items():
        for key, value in stream.items():
            mine = got[name][key]
            same = math.isclose(mine, value, rel_tol=1e-12) or (math.isnan(mine) and math.isnan(value))
            assert same if isinstance(value, float) else mine == value, (name, key, mine, value)
    return got


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_the_written_out_streams(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x_shape, w_shape, keywords = data.draw(geometries())
    x_dtype, w_dtype = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    equal(
        operand(rng, x_shape, x_dtype),
        operand(rng, w_shape, w_dtype),
        **keywords,
        x_zero_point=zero_points(data.draw, rng, x_dtype, None),
        w_zero_point=zero_points(data.draw, rng, w_dtype, w_shape[0]),
        dataflow=data.draw(st.sampled_from(DATAFLOWS)),
        accumulator_bits=data.draw(st.sampled_from([8, 20, 32])),
        samples=data.draw(st.sampled_from([0, 5])),
    )


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_wide_rows_fill_whole_vectors(dataflow: str) -> None:
    rng = np.random.default_rng(1)
    x, w = operand(rng, (2, 5, 9, 70), "uint8"), operand(rng, (3, 3, 3, 70), "int8")
    equal(x, w, padding=((1, 1), (1, 1)), x_zero_point=128, dataflow=dataflow, samples=3)


def test_known_stream() -> None:
    """0, 255, 255, 0 through one port: eight bits, none, eight bits."""
    x = np.array([0, 255, 255, 0], np.uint8).reshape(1, 4, 1, 1)
    counts = fast.activity(x, np.ones((1, 1, 1, 1), np.int8), samples=0)["input"]
    assert counts == {"values": 4, "zeros": 2, "transitions": 3, "toggles": 16, "bits": 8}


def test_the_standard_error_covers_the_whole() -> None:
    """The mean over every output lies within a few standard errors of the sampled one."""
    rng = np.random.default_rng(2)
    x, w = operand(rng, (1, 12, 12, 6), "uint8"), operand(rng, (8, 3, 3, 6), "int8")
    few = fast.activity(x, w, samples=60, seed=1)["psum"]
    many = fast.activity(x, w, samples=4000, seed=2)["psum"]
    assert abs(few["toggles"] - many["toggles"]) < 5 * few["standard_error"]
    assert many["standard_error"] < few["standard_error"]


def test_unknown_dataflow() -> None:
    with pytest.raises(ValueError, match="dataflow must be one of"):
        fast.activity(np.zeros((1, 1, 1, 1), np.int8), np.zeros((1, 1, 1, 1), np.int8), dataflow="systolic")
