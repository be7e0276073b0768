"""Saturating sums that are certified by chunks: near both ends, over them, and back again."""

from __future__ import annotations

import numpy as np
import pytest
from accelsim_kernels import arguments as checked
from accelsim_kernels import conv2d, mac_bounds, mac_walks, matmul, simd
from mac_cases import same

needs_tile = pytest.mark.skipif("avx512vnni" not in simd.available(), reason="the certifying tile needs AVX512 VNNI")


def drifting(rng: np.random.Generator, depth: int, columns: int) -> np.ndarray:
    """Weights whose sums drift up, down, up and then down, or there and back again within a chunk: int8."""
    place = np.arange(depth)
    waves = np.where(place % 40 < 20, 25.0, -25.0)
    centre = np.stack(
        [np.full(depth, 3.0), np.full(depth, -3.0), np.where(place < depth / 2, 4.0, -4.0), waves, -waves]
    )
    weights = rng.normal(0, 9, (depth, columns)) + centre[rng.integers(0, len(centre), columns)].T
    return np.clip(np.rint(weights), -128, 127).astype(np.int8)


@needs_tile
@pytest.mark.parametrize("bits", [17, 18, 20])
@pytest.mark.parametrize("dtype, zero_point", [("uint8", 0), ("int8", -128)])
@pytest.mark.parametrize("bias_at", ["preload", "after"])
def test_near_both_ends(bits: int, dtype: str, zero_point: int, bias_at: str) -> None:
    rng = np.random.default_rng(bits)
    depth, columns, top = 900, 36, 1 << (bits - 1)
    b = drifting(rng, depth, columns)
    a = (np.clip(np.abs(rng.normal(0, 120, (1, depth))), 0, 255) + zero_point).astype(dtype)
    bias = rng.choice([0, top - 1, -top, top - 2000, 2000 - top, top, -top - 1], columns)
    for return_events in (False, True):
        same("matmul", a, b, bias=bias, a_zero_point=zero_point, accumulator_bits=bits, overflow="saturate",
             bias_at=bias_at, return_events=return_events)  # fmt: skip


@needs_tile
def test_convolution_with_padding_and_a_tail() -> None:
    rng = np.random.default_rng(3)
    x = np.clip(np.abs(rng.normal(0, 90, (1, 4, 5, 37))), 0, 255).astype(np.uint8)
    w = np.ascontiguousarray(drifting(rng, 9 * 37, 21).T).reshape(21, 3, 3, 37)
    got, events = same("conv2d", x, w, padding=((1, 1), (1, 1)), accumulator_bits=17, overflow="saturate",
                       return_events=True)  # fmt: skip
    exact = conv2d(x, w, padding=((1, 1), (1, 1)))
    assert (got != exact).any() and (got[~events] == exact[~events]).all()


@needs_tile
def test_these_problems_reach_the_certifying_tile() -> None:
    b = drifting(np.random.default_rng(1), 1100, 70)
    how = checked.accumulator(18, "saturate", "serial", "preload", "operand", None)
    shape = checked.ConvGeometry(1, 2, 1, 1100, 2, 1, 70, 1, 1, (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    zero = np.zeros(70, np.int64)
    w = b.T[:, None, None, :]
    ends = mac_bounds.reach(b.T, np.dtype(np.uint8), 0, zero, zero, how)
    assert not mac_bounds.nothing_overflows(how, ends)
    walk = mac_walks.choose(shape, np.dtype(np.uint8), w, 0, zero, zero, how, True, False)
    assert walk is not None and walk.kind == "certify"


def test_a_certified_layer_has_no_events() -> None:
    a, b = np.full((2, 9), 255, np.uint8), np.full((9, 3), 127, np.int8)
    result, events = matmul(a, b, accumulator_bits=20, overflow="saturate", return_events=True)
    assert (result == 9 * 255 * 127).all() and not events.any()
