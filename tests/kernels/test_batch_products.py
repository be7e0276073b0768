"""Batched matrix products: all at once or pair by pair, in every accumulator; equal to the reference."""

from __future__ import annotations

import accelsim_kernels as fast
import accelsim_kernels.reference as slow
import numpy as np
import pytest

RESCALE = {"scheme": "tflite-double", "multiplier": 1518500250, "shift": -6, "zero_point": 3, "qmin": -128, "qmax": 127}
SHAPES = [((2, 3, 4, 5), (2, 3, 5, 6)), ((4, 5), (5, 1)), ((2, 1, 4, 5), (3, 5, 6)), ((1, 3, 1, 2), (4, 1, 2, 3))]


def operands(rng, dtypes, shapes):
    infos = [np.iinfo(d) for d in dtypes]
    return [rng.integers(i.min, i.max + 1, s).astype(d) for i, s, d in zip(infos, shapes, dtypes, strict=True)]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("uint8", "int8"), ("int16", "int8"), ("int16", "uint16")])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"accumulator_bits": 64, "zero_point_at": "folded"},
        {"accumulator_bits": 14, "overflow": "saturate"},
        {"levels": [(16, "saturate", 2), (20, "wrap", None)]},
        {"order": "tree:2", "accumulator_bits": 18},
    ],
    ids=["32 bits", "64 bits folded", "14 saturating", "two levels", "tree"],
)
def test_fast_is_reference(shapes, dtypes, how):
    a, b = operands(np.random.default_rng(0), dtypes, shapes)
    for zero_points in ({}, {"a_zero_point": 7, "b_zero_point": 100}):
        for requantize in (None, RESCALE) if how.get("accumulator_bits", 32) <= 32 else (None,):
            keywords = {**how, **zero_points, "requantize": requantize, "return_events": True}
            values, events = fast.batch_matmul(a, b, **keywords)
            true_values, true_events = slow.batch_matmul(a, b, **keywords)
            assert values.dtype == true_values.dtype
            np.testing.assert_array_equal(values, true_values)
            np.testing.assert_array_equal(events, true_events)
            np.testing.assert_array_equal(fast.batch_matmul(a, b, **{**keywords, "return_events": False}), values)


def test_many_rows_are_cut(monkeypatch):
    from accelsim_kernels import batch_products

    a, b = operands(np.random.default_rng(1), ("int8", "int8"), ((7, 2, 3, 4), (7, 1, 4, 5)))
    whole = fast.batch_matmul(a, b)
    monkeypatch.setattr(batch_products, "_AT_ONCE", 60)
    np.testing.assert_array_equal(fast.batch_matmul(a, b), whole)
    np.testing.assert_array_equal(fast.batch_matmul(a, b[:1]), slow.batch_matmul(a, b[:1]))


def test_bounds_are_those_of_the_extreme_codes():
    """The widest sums that float32 and 32-bit accumulators hold, and the first that they do not."""
    for depth in (1023, 1024, 1025):
        a, b = np.full((1, 1, depth), -128, np.int8), np.full((1, depth, 1), -128, np.int8)
        np.testing.assert_array_equal(fast.batch_matmul(a, b), [[[depth * 2**14]]])
        a, b = np.full((1, 1, 2), 127, np.int8), np.full((1, 2, 1), -128, np.int8)
    values, events = fast.batch_matmul(a, b, accumulator_bits=16, return_events=True)
    assert values[0, 0, 0] == -32512 and not events.any()
    values, events = fast.batch_matmul(a, b, accumulator_bits=15, return_events=True)
    assert values[0, 0, 0] == 256 and events.all()


def test_refusals():
    x = np.zeros((2, 3), np.int8)
    for module in (fast, slow):
        with pytest.raises(ValueError, match="takes"):
            module.batch_matmul(x, x[0])
        with pytest.raises(ValueError, match="no matrices"):
            module.batch_matmul(np.zeros((0, 2, 3), np.int8), np.zeros((0, 3, 2), np.int8))
        with pytest.raises(ValueError):
            module.batch_matmul(x, x)
