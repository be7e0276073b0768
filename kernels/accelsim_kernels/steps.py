"""Operators as prepared steps on arrays of known shapes: what a program of several operators is made of.

Keywords are those of the functions of the same name; each gives None where the operator has no single step, and then
that function computes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim_kernels import arguments
from accelsim_kernels._jit import kernel
from accelsim_kernels.mac_array import Packed, conv2d_route, matmul_route
from accelsim_kernels.pairwise import add_step as add
from accelsim_kernels.step import Step
from accelsim_kernels.window_step import max_pool_step as max_pool2d
from accelsim_kernels.window_step import mean_step as mean

__all__ = ["add", "conv2d", "interleave", "matmul", "max_pool2d", "mean"]

_ACCUMULATOR = {
    "accumulator_bits": 32,
    "overflow": "wrap",
    "order": "serial",
    "bias_at": "preload",
    "zero_point_at": "operand",
    "levels": None,
}
#: planes of an image
_MOST_PLANES = 4


def conv2d(
    shape: tuple[int, ...],
    dtype: np.dtype,
    w: Packed,
    workers: int,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    x_zero_point: int,
    w_zero_point: Any,
    bias: Any,
    requantize: Mapping[str, Any] | None,
    **accumulator: Any,
) -> Step | None:
    """conv2d of x of that shape, cut for that many threads, where no accumulator can have an event."""
    how = arguments.accumulator(**(_ACCUMULATOR | accumulator))
    strides = _contiguous(shape, dtype)
    geometry = stride, padding, dilation, groups
    route = conv2d_route(
        shape, dtype, strides, w, geometry, x_zero_point, w_zero_point, bias, how, True, requantize, workers
    )
    return route.step


def matmul(
    shape: tuple[int, int],
    dtype: np.dtype,
    b: Packed,
    workers: int,
    *,
    a_zero_point: int,
    b_zero_point: Any,
    bias: Any,
    requantize: Mapping[str, Any] | None,
    **accumulator: Any,
) -> Step | None:
    """matmul of a of that shape, cut for that many threads, where no accumulator can have an event."""
    how = arguments.accumulator(**(_ACCUMULATOR | accumulator))
    strides = _contiguous(shape, dtype)
    route = matmul_route(shape, dtype, strides, b, a_zero_point, b_zero_point, bias, how, True, requantize, workers)
    return route.step


def interleave(shape: tuple[int, int, int, int], dtype: np.dtype) -> Step | None:
    """(N, C, H, W) -> (N, H, W, C) for the few planes of an image."""
    batch, planes, rows, columns = shape
    if not 1 < planes <= _MOST_PLANES:
        return None
    words = np.array([0, batch, 0, 0, rows * columns], np.int64)
    compiled = kernel("layout_job", "interleave", planes, dtype.name)
    return Step(compiled, words, (2,), 3, (batch, rows, columns, planes), dtype)


def _contiguous(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """Strides of a C-contiguous array."""
    return tuple(math.prod(shape[axis + 1 :]) * dtype.itemsize for axis in range(len(shape)))
