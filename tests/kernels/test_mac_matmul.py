"""matmul: the fast kernels equal the reference for every accumulator."""

from __future__ import annotations

import accelsim_kernels as fast
import corners
import numpy as np
import pytest
from accelsim_kernels import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_cases import DTYPES, accumulators, biases, operand, same, zero_points


@pytest.mark.parametrize("a_dtype", DTYPES)
@pytest.mark.parametrize("b_dtype", DTYPES)
def test_corners_crossed(a_dtype: str, b_dtype: str) -> None:
    """Every corner times every corner, as one-product sums and as a whole row."""
    a, b = corners.of_dtype(a_dtype), corners.of_dtype(b_dtype)
    expected = np.multiply.outer(a.astype(object), b.astype(object)).astype(np.int64)
    np.testing.assert_array_equal(fast.matmul(a[:, None], b[None, :], accumulator_bits=40), expected)
    same("matmul", a[:, None], b[None, :])
    same("matmul", np.tile(a, (2, 1)), np.tile(a, (3, 1)).T.astype(b_dtype))


@pytest.mark.parametrize("overflow", ["wrap", "saturate", "raise"])
@pytest.mark.parametrize("bits", [1, 2, 8, 15, 16, 17, 24, 31, 32, 33, 40, 62, 63, 64])
def test_bias_at_the_limits(overflow: str, bits: int) -> None:
    """A bias at, beside and beyond the accumulator's ends, with products that push both ways."""
    top = 1 << (bits - 1)
    least = max(-top - 1, -(1 << 63))
    bias = np.array(corners.around([-top, top - 1, 0], least, min(top, (1 << 63) - 1)))
    b = np.ones((3, len(bias)), np.int8)
    for row in ([0, 0, 0], [1, 0, -1], [-1, 0, 1], [127, -128, 1], [-128, 127, 1]):
        a = np.array([row], np.int8)
        for bias_at in ("preload", "after"):
            same(
                "matmul", a, b, bias=bias, accumulator_bits=bits, overflow=overflow, bias_at=bias_at, return_events=True
            )


@pytest.mark.parametrize("overflow", ["wrap", "saturate", "raise"])
@pytest.mark.parametrize("bits", [8, 32, 62, 63, 64])
@pytest.mark.parametrize("bias_at", ["preload", "after"])
@pytest.mark.parametrize("zero_point_at", ["operand", "folded"])
def test_exact_sums_beyond_64_bits(overflow: str, bits: int, bias_at: str, zero_point_at: str) -> None:
    """A bias at the limits of int64: the exact running sum, and folded zero points alone, leave int64 and return."""
    ends = [-(1 << 63), (1 << 63) - 1]
    bias = np.array([*corners.around(ends, *ends), 0])
    rng = np.random.default_rng(bits)
    a = operand(rng, (40, 6), "uint16")
    a[:4] = [[65535] * 6, [0] * 6, [65535, 0] * 3, [0, 65535] * 3]
    b = operand(rng, (6, len(bias)), "int16")
    keywords = {"bias": bias, "bias_at": bias_at, "zero_point_at": zero_point_at, "a_zero_point": 40000,
                "b_zero_point": rng.integers(-32768, 32768, len(bias))}  # fmt: skip
    same("matmul", a, b, **keywords, accumulator_bits=bits, overflow=overflow, return_events=True)
    same("matmul", a, b, **keywords, levels=[(40, "wrap", 2), (64, overflow, 4), (bits, overflow, None)],
         return_events=True)  # fmt: skip
    if bits == 64:
        for row in a:
            same("matmul", row[None], b, **keywords, accumulator_bits=64, overflow=overflow)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_accumulator(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    m, k, n = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 40)), data.draw(st.integers(0, 70))
    a_dtype, b_dtype = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    same(
        "matmul",
        operand(rng, (m, k), a_dtype),
        operand(rng, (k, n), b_dtype),
        a_zero_point=zero_points(data.draw, rng, a_dtype, None),
        b_zero_point=zero_points(data.draw, rng, b_dtype, n),
        bias=biases(data.draw, rng, n),
        **data.draw(accumulators()),
    )


def test_packed_weights_give_the_same() -> None:
    rng = np.random.default_rng(5)
    a, b = operand(rng, (7, 33), "uint8"), operand(rng, (33, 50), "int8")
    for backend in (fast, reference):
        np.testing.assert_array_equal(backend.matmul(a, backend.pack(b)), a.astype(np.int32) @ b.astype(np.int32))


def test_raise_names_the_first_output() -> None:
    a = np.array([[1, 0], [127, 127]], np.int8)
    b = np.full((2, 3), 127, np.int8)
    for backend in (fast, reference):
        with pytest.raises(OverflowError, match=r"16-bit accumulator overflows at output index \(1, 2\)"):
            backend.matmul(a, b, accumulator_bits=16, overflow="raise", bias=np.array([0, 0, 32767 - 127 * 127]))


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"accumulator_bits": 0}, "accumulator_bits must lie in"),
        ({"accumulator_bits": 65}, "accumulator_bits must lie in"),
        ({"overflow": "clip"}, "overflow must be one of"),
        ({"order": "tree:0"}, "order must be"),
        ({"order": "mapping"}, "order must be"),
        ({"bias_at": "start"}, "bias_at must be one of"),
        ({"zero_point_at": "x"}, "zero_point_at must be one of"),
        ({"levels": []}, "levels must name"),
        ({"levels": [(16, "wrap", 4)]}, "last level"),
        ({"levels": [(16, "wrap", 4), (20, "wrap", 6), (32, "wrap", None)]}, "multiple of the span"),
        ({"bias": np.zeros(4, np.int32)}, "bias must have one integer per output channel"),
        ({"a_zero_point": 200}, "a_zero_point must be a value of int8"),
        ({"b_zero_point": np.zeros(2, int)}, "b_zero_point must be a scalar or one per output channel"),
        ({"requantize": {"scheme": "tflite-double"}}, "requantize needs"),
    ],
)
@pytest.mark.parametrize("backend", [fast, reference], ids=["fast", "reference"])
def test_wrong_calls_say_what_to_do(backend: object, keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend.matmul(np.zeros((2, 4), np.int8), np.zeros((4, 3), np.int8), **keywords)


@pytest.mark.parametrize("backend", [fast, reference], ids=["fast", "reference"])
def test_wrong_operands_say_what_to_do(backend: object) -> None:
    with pytest.raises(TypeError, match="a must be one of int8"):
        backend.matmul(np.zeros((2, 4)), np.zeros((4, 3), np.int8))
    with pytest.raises(ValueError, match="do not match"):
        backend.matmul(np.zeros((2, 5), np.int8), np.zeros((4, 3), np.int8))
