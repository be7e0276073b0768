"""conv2d: the fast kernels equal the reference for every geometry and accumulator."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_cases import DTYPES, accumulators, biases, geometries, operand, same, zero_points


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_geometry_and_accumulator(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x_shape, w_shape, keywords = data.draw(geometries())
    x_dtype, w_dtype = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    same(
        "conv2d",
        operand(rng, x_shape, x_dtype),
        operand(rng, w_shape, w_dtype),
        x_zero_point=zero_points(data.draw, rng, x_dtype, None),
        w_zero_point=zero_points(data.draw, rng, w_dtype, w_shape[0]),
        bias=biases(data.draw, rng, w_shape[0]),
        **keywords,
        **data.draw(accumulators()),
    )


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_geometry_wrapping(data: st.DataObject) -> None:
    """The accumulator of most networks, which has a path of its own."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x_shape, w_shape, keywords = data.draw(geometries())
    x_dtype, w_dtype = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    same(
        "conv2d",
        operand(rng, x_shape, x_dtype),
        operand(rng, w_shape, w_dtype),
        x_zero_point=zero_points(data.draw, rng, x_dtype, None),
        w_zero_point=zero_points(data.draw, rng, w_dtype, w_shape[0]),
        bias=biases(data.draw, rng, w_shape[0]),
        accumulator_bits=data.draw(st.sampled_from([8, 16, 20, 32])),
        **keywords,
    )


def test_padding_reads_as_a_real_zero() -> None:
    """All of x at its zero point: every output is the bias, at the border too."""
    x = np.full((1, 4, 4, 3), 131, np.uint8)
    w = np.arange(-54, 54, dtype=np.int8).reshape(4, 3, 3, 3)
    bias = np.array([1, -2, 3, -4])
    out = fast.conv2d(x, w, padding=((1, 1), (1, 1)), x_zero_point=131, bias=bias)
    np.testing.assert_array_equal(out, np.broadcast_to(bias, (1, 4, 4, 4)))


def test_products_are_walked_in_row_column_channel_order() -> None:
    """A saturating sum whose result depends on the order: only (fy, fx, c) gives this one."""
    x = np.zeros((1, 2, 2, 2), np.int8)
    x[0, 0, 0], x[0, 0, 1], x[0, 1, 0], x[0, 1, 1] = (100, 0), (0, 100), (-100, 0), (0, 1)
    w = np.ones((1, 2, 2, 2), np.int8)
    out = fast.conv2d(x, w, accumulator_bits=8, overflow="saturate")
    assert out.item() == 127 - 100 + 1


@pytest.mark.parametrize("backend", [fast, reference], ids=["fast", "reference"])
@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"groups": 2}, "do not match in 2 group"),
        ({"stride": (0, 1)}, "stride must lie in"),
        ({"stride": 2}, "stride must be a pair"),
        ({"padding": ((0, 0), (0, -1))}, r"padding\[1\] must lie in"),
        ({"dilation": (4, 4)}, "the filter covers 9 but the padded height of x is 5"),
    ],
)
def test_wrong_geometry_says_what_to_do(backend: object, keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend.conv2d(np.zeros((1, 5, 5, 3), np.int8), np.zeros((2, 3, 3, 3), np.int8), **keywords)


def test_weights_packed_for_other_groups_are_refused() -> None:
    packed = fast.pack_conv2d(np.zeros((4, 3, 3, 1), np.int8), groups=4)
    with pytest.raises(ValueError, match="packed for groups=4"):
        fast.conv2d(np.zeros((1, 5, 5, 1), np.int8), packed)
