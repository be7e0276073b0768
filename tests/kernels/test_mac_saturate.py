"""Accumulators that saturate in the top bits of their lanes: every width, both ends, lists and spread activations."""

from __future__ import annotations

import numpy as np
import pytest
from accelsim_kernels import arguments as checked
from accelsim_kernels import conv2d, mac_walks, pack_conv2d, simd
from accelsim_kernels.mac_saturate import Saturation
from mac_cases import same

PADDED = {"padding": ((1, 1), (1, 1))}
LAYERS = [
    # x shape, w shape, keywords: runs of several taps, parts of a pixel, groups, depthwise with one and more outputs
    ((1, 3, 4, 37), (21, 3, 3, 37), PADDED),
    ((2, 1, 1, 300), (70, 1, 1, 300), {}),
    ((1, 5, 5, 6), (12, 3, 2, 3), {"groups": 2, "stride": (2, 1)}),
    ((1, 7, 6, 3), (33, 5, 3, 3), {"dilation": (1, 2), **PADDED}),
    ((1, 5, 8, 3), (17, 3, 3, 3), {"dilation": (1, 2)}),
    ((1, 4, 5, 24), (24, 3, 3, 1), {"groups": 24, **PADDED}),
    ((1, 4, 5, 5), (15, 3, 3, 1), {"groups": 5, "stride": (1, 2), **PADDED}),
]


@pytest.fixture(params=simd.available())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELSIM_ISA", request.param)
    simd.current.cache_clear()
    yield request.param
    simd.current.cache_clear()


@pytest.mark.parametrize("x_shape, w_shape, keywords", LAYERS)
@pytest.mark.parametrize(
    "bits", [16, 17, 32, *(pytest.param(bits, marks=pytest.mark.slow) for bits in (18, 24, 30, 31))]
)
def test_equals_the_reference(isa: str, bits: int, x_shape: tuple, w_shape: tuple, keywords: dict) -> None:
    """Few and many zeros, a bias at and beyond both limits, first and last, with events and without."""
    rng, top = np.random.default_rng(bits), 1 << (bits - 1)
    w = np.clip(np.rint(rng.normal(0, 40, w_shape)), -128, 127).astype(np.int8)
    bias = rng.choice([0, top - 1, -top, top - 2000, 2000 - top, top, -top - 1, 100, -4000], w_shape[0])
    for zero_point, filled in ((-128, 0.4), (-128, 1.0), (5, 1.0)):
        x = rng.integers(0, 256, x_shape) * (rng.random(x_shape) < filled) - 128
        for bias_at in ("preload", "after"):
            same("conv2d", x.astype(np.int8), w, x_zero_point=zero_point, bias=bias, bias_at=bias_at,
                 accumulator_bits=bits, overflow="saturate", return_events=(filled < 1) == (bias_at == "after"),
                 **keywords)  # fmt: skip
            same("conv2d", x.astype(np.int8), w, x_zero_point=zero_point, bias=bias, bias_at=bias_at,
                 accumulator_bits=bits, overflow="saturate", return_events=(filled < 1) != (bias_at == "after"),
                 **keywords)  # fmt: skip


@pytest.mark.skipif("avx512vnni" not in simd.available(), reason="lanes of layers with more inputs need AVX512 VNNI")
@pytest.mark.parametrize("x_shape, w_shape, keywords", LAYERS)
def test_these_layers_reach_the_lanes(x_shape: tuple, w_shape: tuple, keywords: dict) -> None:
    how = checked.accumulator(17, "saturate", "serial", "preload", "operand", None)
    shape = checked.conv_geometry(x_shape, w_shape, **{"stride": (1, 1), "padding": ((0, 0), (0, 0)),
                                                      "dilation": (1, 1), "groups": 1, **keywords})  # fmt: skip
    w, zero = np.full(w_shape, 127, np.int8), np.zeros(w_shape[0], np.int64)
    walk = mac_walks.choose(shape, np.dtype(np.int8), w, -128, zero, zero, how, True, True)
    assert isinstance(walk, Saturation)


@pytest.mark.parametrize("groups", [1, 64])
def test_extra_memory(groups: int) -> None:
    """Memory of all workers stays below a quarter of the unfolded input in int32."""
    size, channels = 28, 64
    packed = pack_conv2d(np.full((64, 3, 3, channels // groups), 90, np.int8), groups=groups)
    x = np.zeros((1, size, size, channels), np.uint8)
    conv2d(x, packed, groups=groups, accumulator_bits=16, overflow="saturate", **PADDED)
    (route,) = packed.plans.values()
    extra = route.product.workers * route.product.plan.scratch_bytes
    assert extra <= size * size * 9 * channels


@pytest.mark.skipif("avx512vnni" not in simd.available(), reason="lanes of layers with more inputs need AVX512 VNNI")
@pytest.mark.parametrize("bits", [24, 31, 32])
def test_sums_that_start_at_the_limit_are_walked_at_once(bits: int) -> None:
    """Nothing of them could be certified: bounds would only be computed for nothing."""
    how = checked.accumulator(bits, "saturate", "serial", "preload", "operand", None)
    shape = checked.conv_geometry((1, 1, 1, 64), (16, 1, 1, 64), (1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    w, zero = np.full((16, 1, 1, 64), 1, np.int8), np.zeros(16, np.int64)
    limit = zero + (1 << (bits - 1)) - 1
    for bias, walked in ((zero, bits == 32), (limit, True), (-limit, True)):
        walk = mac_walks.choose(shape, np.dtype(np.uint8), w, 0, zero, bias, how, True, False)
        assert isinstance(walk, Saturation) == walked
