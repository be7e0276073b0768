"""Operators on two arrays of bytes as prepared steps: float32 additions on vectors, everything else by a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from accelsim_kernels import domain, simd
from accelsim_kernels._jit import Kernel, address, kernel
from accelsim_kernels.pair_table import Operator, table_of
from accelsim_kernels.step import Step

#: elements of a job
_SHARE = 1 << 15
#: of float32 numbers whose products and sums cannot overflow
_LARGEST = 1e30


def table_step(
    operator: Operator, shape: tuple[int, ...], a_dtype: np.dtype, b_dtype: np.dtype, keywords: dict[str, Any]
) -> Step | None:
    """operator(a, b, **keywords) by look-up; None where a table does not serve."""
    if max(a_dtype.itemsize, b_dtype.itemsize) > 1:
        return None
    table = table_of(operator, a_dtype, b_dtype, keywords)
    if table is None:
        return None
    return _step(kernel("elementwise_job", "look_up", table.dtype.name), table, table.dtype, shape, 1)


def float32_step(
    shape: tuple[int, ...],
    a_dtype: np.dtype,
    b_dtype: np.dtype,
    constants: np.ndarray,
    qmin: int,
    qmax: int,
) -> Step | None:
    """rint(clamp(fma(a, ratio_a, fma(b, ratio_b, constant)))) (E9); None where that has no vector code here.

    constants: float32 ratio_a, ratio_b, constant.
    """
    lanes = simd.lanes()
    dtype = domain.narrowest_dtype(qmin, qmax)
    one_byte = max(a_dtype.itemsize, b_dtype.itemsize, dtype.itemsize) == 1
    if not one_byte or math.prod(shape) < lanes or not simd.fuses_multiply_add():
        return None
    parameters = np.array([*constants, qmin, qmax], np.float32)
    if not (np.abs(parameters) < _LARGEST).all():
        return None
    compiled = kernel("elementwise_job", "add_float32", a_dtype.kind == "i", b_dtype.kind == "i", lanes)
    return _step(compiled, parameters, dtype, shape, lanes)


def _step(compiled: Kernel, parameters: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], least: int) -> Step:
    """Jobs have at least `least` elements."""
    count = math.prod(shape)
    jobs = max(1, min(count // _SHARE, count // least))
    arguments = np.array([0, jobs, 0, 0, 0, count, compiled.address, address(parameters)], np.int64)
    code = kernel("elementwise_job", "run_jobs", 1, 1, dtype.itemsize)
    return Step(code, arguments, (2, 3), 4, shape, dtype, held=parameters)
