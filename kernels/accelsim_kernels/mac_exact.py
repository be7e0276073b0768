"""Runs the exact product: int32 sums, or requantized codes, without an overflow that matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim_kernels import _threads, simd
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_exact_plan import Arg, Plan, make_plan
from accelsim_kernels.mac_pack import Packed


_X, _OUT, _SCRATCH, _COUNTER = int(Arg.x), int(Arg.out), int(Arg.scratch), int(Arg.counter)
_COUNT = len(Arg)


class Exact:
    """An exact product for one shape, layout of x and set of parameters, run on any number of inputs."""

    def __init__(self, shape: ConvGeometry, out_shape: tuple[int, ...], x_dtype: np.dtype, x_strides: tuple[int, ...],
                 packed: Packed, zx: int, zw: np.ndarray, bias: np.ndarray, wrap_bits: int, isa: str,
                 requantize: Mapping[str, Any] | None, workers: int) -> None:
        engine = simd.engine(isa, x_dtype.itemsize == 1 and packed.w.dtype.itemsize == 1)
        self.out_shape, self.out_dtype = out_shape, np.dtype(np.int32)
        epilogue = None
        if requantize is not None:
            self.out_dtype, epilogue, self._held = _epilogue(requantize, shape.out_channels)
        self.empty = 0 in out_shape
        if self.empty:
            return
        self.plan: Plan = make_plan(shape, x_dtype, x_strides, packed, engine, zx, zw, bias, wrap_bits,
                                    self.out_dtype, epilogue, workers)
        self.kernel = kernel("mac_exact_job", "run_jobs")
        self.workers = min(workers, self.plan.jobs)
        self._words = _COUNT + 8 + (self.workers * self.plan.scratch_bytes + 64) // 8

    def __call__(self, x: np.ndarray) -> np.ndarray:
        out = np.empty(self.out_shape, self.out_dtype)
        if self.empty:
            return out
        given = np.empty(self._words, np.int64)
        given[:_COUNT] = self.plan.arguments
        at = address(given)
        given[_X], given[_OUT] = address(x), address(out)
        given[_COUNTER], given[_SCRATCH] = at + 8 * _COUNT, at + 8 * _COUNT + 64
        given[_COUNT] = 0
        _threads.run_workers(self.kernel, at, self.workers)
        return out


def _epilogue(requantize: Mapping[str, Any], channels: int) -> tuple[np.dtype, tuple[int, np.ndarray], object]:
    """Output dtype, (kernel address, its parameters), and what must stay alive."""
    from accelsim_kernels.requantization import prepare

    ready = prepare(channels=channels, **requantize)
    compiled = kernel("mac_epilogue", "requantize_tile", ready.scheme, ready.options, ready.dtype.name,
                      ready.first_dtype)
    width = ready.params[0].shape[-1]
    parameters = np.array([*(array.ctypes.data for array in ready.params), channels, width], np.int64)
    return ready.dtype, (compiled.address, parameters), ready
