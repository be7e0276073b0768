"""Runs the exact product: int32 sums, or requantized codes, without an overflow that matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim_kernels import _threads, simd
from accelsim_kernels._jit import kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_exact_plan import Arg, Plan, make_plan
from accelsim_kernels.mac_pack import Packed


class Exact:
    """An exact product for one shape, layout of x and set of parameters, run on any number of inputs."""

    def __init__(self, shape: ConvGeometry, x: np.ndarray, packed: Packed, zx: int, zw: np.ndarray, bias: np.ndarray,
                 wrap_bits: int, isa: str, requantize: Mapping[str, Any] | None, workers: int) -> None:
        engine = simd.engine(isa, x.dtype.itemsize == 1 and packed.w.dtype.itemsize == 1)
        self.out_dtype, epilogue, self._held = np.dtype(np.int32), None, None
        if requantize is not None:
            self.out_dtype, epilogue, self._held = _epilogue(requantize, shape.out_channels)
        self.out_shape = (shape.batch, shape.out_y, shape.out_x, shape.out_channels)
        self.empty = 0 in self.out_shape
        self.workers = workers
        self.kernel = kernel("mac_exact_job", "run_jobs")
        if not self.empty:
            self.plan: Plan = make_plan(shape, x.dtype, x.strides, packed, engine, zx, zw, bias, wrap_bits,
                                        self.out_dtype, epilogue, workers)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        out = np.empty(self.out_shape, self.out_dtype)
        if self.empty:
            return out
        workers = min(self.workers, self.plan.jobs)
        scratch = np.empty(workers * self.plan.scratch_bytes + 64, np.uint8)
        counter = np.zeros(1, np.int64)
        given = self.plan.arguments.copy()
        given[Arg.x], given[Arg.out], given[Arg.counter] = x.ctypes.data, out.ctypes.data, counter.ctypes.data
        given[Arg.scratch] = scratch.ctypes.data
        _threads.run_workers(self.kernel, given, workers)
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
