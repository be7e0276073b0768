"""activity: the compiled counts equal streams written out and compared value by value."""

from __future__ import annotations

import math

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import reference, simd, streams_plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mac_cases import DTYPES, geometries, operand, zero_points

DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")


@pytest.fixture(params=simd.available())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Every instruction set of this machine in turn."""
    monkeypatch.setenv("ACCELSIM_ISA", request.param)
    simd.current.cache_clear()
    yield request.param
    simd.current.cache_clear()


@pytest.fixture
def many_jobs(monkeypatch: pytest.MonkeyPatch):
    """Two threads, and small inputs cut as large ones are."""
    monkeypatch.setattr(streams_plan, "_JOB_BYTES", 64)
    streams_plan.plan.cache_clear()
    fast.set_threads(2)
    yield
    fast.set_threads(None)
    streams_plan.plan.cache_clear()


def equal(x: np.ndarray, w: np.ndarray, **keywords: object) -> dict:
    """activity as the reference has it, also with packed weights, at the first and the second call."""
    expected = reference.activity(x, w, **keywords)
    packed = fast.pack_conv2d(w, groups=keywords.get("groups", 1))
    for weights in (w, packed, packed):
        got = fast.activity(x, weights, **keywords)
        assert got.keys() == expected.keys()
        for name, stream in expected.items():
            for key, value in stream.items():
                mine = got[name][key]
                same = math.isclose(mine, value, rel_tol=1e-12) or (math.isnan(mine) and math.isnan(value))
                assert same if isinstance(value, float) else mine == value, (name, key, mine, value)
    return got


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_equals_the_written_out_streams(isa: str, data: st.DataObject) -> None:
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


#: x shape, w shape, keywords
CORNERS = {
    "padding beyond the filter": ((1, 2, 2, 3), (2, 3, 3, 3), {"padding": ((4, 3), (3, 4))}),
    "one column": ((2, 4, 1, 5), (2, 3, 1, 5), {"padding": ((1, 1), (0, 0))}),
    "one column, padded": ((2, 4, 1, 5), (2, 1, 3, 5), {"padding": ((0, 0), (1, 1))}),
    "steps over whole pixels": ((1, 9, 9, 2), (2, 2, 2, 2), {"stride": (4, 4)}),
    "steps wider than a row": ((2, 3, 2, 2), (2, 1, 1, 2), {"stride": (1, 5), "padding": ((0, 0), (6, 7))}),
    "dilated": ((2, 9, 9, 3), (2, 3, 2, 3), {"dilation": (3, 5), "padding": ((2, 0), (4, 1)), "stride": (2, 1)}),
    "all pixels in a row": ((3, 4, 5, 7), (2, 1, 1, 7), {}),
    "a matrix product": ((1, 6, 1, 33), (4, 1, 1, 33), {}),
    "a pair met more than 255 times": ((1, 1, 519, 1), (1, 1, 260, 1), {}),
    "one output": ((1, 3, 3, 4), (2, 3, 3, 4), {}),
    "no images": ((0, 3, 3, 4), (2, 3, 3, 4), {}),
    "no channels": ((1, 3, 3, 0), (2, 3, 3, 0), {}),
    "nothing but padding": ((1, 2, 0, 2), (2, 2, 2, 2), {"padding": ((0, 0), (2, 1))}),
}


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_corners_of_shapes(isa: str, corner: str, dtype: str) -> None:
    x_shape, w_shape, keywords = CORNERS[corner]
    rng = np.random.default_rng(3)
    x, w = operand(rng, x_shape, dtype), operand(rng, w_shape, "int8")
    for dataflow in DATAFLOWS:
        equal(x, w, **keywords, x_zero_point=7, dataflow=dataflow, samples=0)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(
    "x_shape, w_shape, padding", [((3, 9, 8, 6), (2, 3, 3, 6), 1), ((3, 9, 8, 6), (2, 1, 1, 6), 0)]
)
def test_many_jobs(many_jobs: None, dataflow: str, x_shape: tuple, w_shape: tuple, padding: int) -> None:
    rng = np.random.default_rng(4)
    x, w = operand(rng, x_shape, "uint8"), operand(rng, w_shape, "int8")
    equal(x, w, padding=((padding, padding),) * 2, dataflow=dataflow, samples=0)


def test_layout_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    x, w = operand(rng, (2, 5, 6, 4), "int8"), operand(rng, (3, 2, 2, 4), "int8")
    for x_view in (np.asfortranarray(x), x[::-1], x[:, ::2], x[..., ::2]):
        equal(x_view, w[..., : x_view.shape[-1]], samples=2)


def test_packed_weights_are_counted_for_each_zero_point_and_dataflow() -> None:
    x, w = np.zeros((1, 2, 2, 3), np.uint8), np.array([[0, 1, 1], [2, 1, 0]], np.int8).reshape(2, 1, 1, 3)
    packed = fast.pack_conv2d(w)
    for zero_point, zeros in ((0, 2), (1, 3), (2, 1), (np.array([0, 2]), 2)):
        assert fast.activity(x, packed, w_zero_point=zero_point, samples=0)["weight"]["zeros"] == zeros
    assert fast.activity(x, packed, samples=0)["weight"]["toggles"] == 1 + 0 + 2 + 1
    assert fast.activity(x, packed, dataflow="input_stationary", samples=0)["weight"]["toggles"] == 1 + 0 + 1
    counts = fast.activity(x, packed, samples=0)
    counts["weight"]["toggles"] = 0
    assert fast.activity(x, packed, samples=0)["weight"]["toggles"] == 4


def test_a_packed_matrix() -> None:
    rng = np.random.default_rng(6)
    a, b = operand(rng, (5, 9), "uint8"), operand(rng, (9, 4), "int8")
    x, w = a.reshape(1, 5, 1, 9), np.ascontiguousarray(b.T).reshape(4, 1, 1, 9)
    assert fast.activity(x, fast.pack(b), samples=3) == reference.activity(x, w, samples=3)


def test_lists_do_as_well_as_tuples() -> None:
    rng = np.random.default_rng(7)
    x, packed = operand(rng, (1, 5, 5, 4), "uint8"), fast.pack_conv2d(operand(rng, (2, 3, 3, 4), "int8"))
    lists, tuples = {"stride": [2, 2], "padding": [[1, 1], (1, 1)]}, {"stride": (2, 2), "padding": ((1, 1), (1, 1))}
    assert fast.activity(x, packed, **lists) == fast.activity(x, packed, **tuples)
    np.testing.assert_array_equal(fast.conv2d(x, packed, **lists), fast.conv2d(x, packed, **tuples))


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_wide_rows_fill_whole_vectors(isa: str, dataflow: str) -> None:
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


def test_wrong_calls_say_so_also_after_a_good_one() -> None:
    x, packed = np.zeros((1, 2, 2, 4), np.int8), fast.pack_conv2d(np.zeros((2, 1, 1, 4), np.int8))
    fast.activity(x, packed, samples=0)
    with pytest.raises(ValueError, match="accumulator_bits must lie in"):
        fast.activity(x, packed, samples=0, accumulator_bits=65)
    with pytest.raises(ValueError, match="samples must lie in"):
        fast.activity(x, packed, samples=-1)
    with pytest.raises(ValueError, match="packed for groups=1, not groups=2"):
        fast.activity(x, packed, groups=2)
    with pytest.raises(ValueError, match="x_zero_point must be a value of int8"):
        fast.activity(x, packed, x_zero_point=128)
