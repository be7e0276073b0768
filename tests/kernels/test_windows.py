"""Pools and additions on vectors: the reference's codes at every width, nothing outside the arrays touched."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import reference, simd
from mac_cases import operand
from test_mac_memory import Canary, Guarded, needs_mprotect

FLOAT = {"arithmetic": "float32", "a_scale": 0.1, "b_scale": 0.07, "scale": 0.13, "a_zero_point": 3, "zero_point": -4}
POOLS = [
    {"window": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1))},
    {"window": (2, 3), "stride": (1, 2), "padding": ((0, 1), (2, 0)), "dilation": (2, 1)},
    {"window": (2, 2), "stride": (3, 3), "padding": ((3, 3), (3, 3))},  # windows without a pixel of the image
]


@pytest.fixture(params=simd.available())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Every instruction set of this machine in turn."""
    monkeypatch.setenv("ACCELSIM_ISA", request.param)
    simd.current.cache_clear()
    yield request.param
    simd.current.cache_clear()
    fast.set_threads(None)


@needs_mprotect
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("channels", [1, 3, 16, 37, 64, 100])
def test_pools(isa: str, dtype: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = operand(np.random.default_rng(channels), (2, 5, 6, channels), dtype)
    offsets = 3 if dtype == "uint8" else -7
    requantize = {"scheme": "tflite-double", "multiplier": 1 << 30, "shift": -4, "zero_point": -5}
    mean = {"arithmetic": "requantize", "x_zero_point": offsets, "requantize": requantize}
    expected = [reference.max_pool2d(x, **keywords) for keywords in POOLS]
    mean_expected = reference.mean(x, **mean)
    for threads in (1, 3):
        fast.set_threads(threads)
        for at_start in (False, True):
            canary = Canary()
            with monkeypatch.context() as patched:
                patched.setattr(np, "empty", canary)
                given = Guarded(x, at_start).array
                got = [fast.max_pool2d(given, **keywords) for keywords in POOLS]
                got_mean = fast.mean(given, **mean)
            canary.check()
            for mine, theirs in zip([*got, got_mean], [*expected, mean_expected], strict=True):
                assert mine.dtype == theirs.dtype
                np.testing.assert_array_equal(mine, theirs)


@needs_mprotect
@pytest.mark.parametrize("size", [4096, 4097, 5003, 70001])
def test_additions(isa: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(size)
    a, b = operand(rng, (size,), "int8"), operand(rng, (size,), "uint8")
    expected = reference.add(a, b, **FLOAT)
    for threads in (1, 3):
        fast.set_threads(threads)
        for at_start in (False, True):
            canary = Canary()
            with monkeypatch.context() as patched:
                patched.setattr(np, "empty", canary)
                got = fast.add(Guarded(a, at_start).array, Guarded(b, at_start).array, **FLOAT)
            canary.check()
            np.testing.assert_array_equal(got, expected)
