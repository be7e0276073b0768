"""Elementwise work in even shares, and the additions that are computed on vectors. Imported only to compile."""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from accelsim_kernels._memory import call, next_job, view
from accelsim_kernels.simd_ir import FLOAT, INT, WORD, count_up, define, intrinsic, load, splat, store


def run_jobs(a_bytes: int, b_bytes: int, out_bytes: int):
    """Shares of two arrays with items of those sizes, through a kernel that takes (a, b, out, items, parameters).

    Arguments, int64: address of the counters, jobs, addresses of a, b and the output, items, kernel, its parameters.
    """

    def kernel(arguments, worker, workers):
        given = view(arguments, 8, np.int64)
        while True:
            job = next_job(given[0], given[1], worker, workers)
            if job < 0:
                break
            first, end = given[5] * job // given[1], given[5] * (job + 1) // given[1]
            at = given[2] + first * a_bytes, given[3] + first * b_bytes, given[4] + first * out_bytes
            call(given[6], (at[0], at[1], at[2], end - first, given[7]))

    return kernel


def look_up(dtype: str):
    """Pairs of bytes in a table of 65536 items of `dtype` at `parameters`."""
    kind = np.dtype(dtype)

    def kernel(a_at, b_at, out_at, count, parameters):
        a, b = view(a_at, count, np.uint8), view(b_at, count, np.uint8)
        table, out = view(parameters, 1 << 16, kind), view(out_at, count, kind)
        for i in range(count):
            out[i] = table[(np.uint32(a[i]) << np.uint32(8)) | np.uint32(b[i])]

    return kernel


def add_float32(a_signed: bool, b_signed: bool, lanes: int) -> str:
    """LLVM IR of rint(clamp(fma(a, ratio_a, fma(b, ratio_b, constant)), low, high)) on bytes           (E9)

    parameters: those five as float32. At least `lanes` items: the last vector overlaps the one before.
    """
    module, b, given = define(("a", "b", "out", "count", "parameters"))
    bytes_, ints, floats = (ir.VectorType(kind, lanes) for kind in (ir.IntType(8), INT, FLOAT))
    ratio_a, ratio_b, constant, low, high = (
        splat(b, load(b, b.add(given["parameters"], WORD(4 * i)), FLOAT), lanes) for i in range(5)
    )

    def real(operand: str, signed: bool, at: ir.Value) -> ir.Value:
        wide = (b.sext if signed else b.zext)(load(b, b.add(given[operand], at), bytes_), ints)
        return b.sitofp(wide, floats)

    def vector(index: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        start, last = b.mul(index, WORD(lanes)), b.sub(given["count"], WORD(lanes))
        at = b.select(b.icmp_signed("<", start, last), start, last)
        fma = f"llvm.fma.v{lanes}f32"
        total = intrinsic(b, fma, real("b", b_signed, at), ratio_b, constant)
        total = intrinsic(b, fma, real("a", a_signed, at), ratio_a, total)
        total = b.select(b.fcmp_ordered(">", total, low), total, low)
        total = b.select(b.fcmp_ordered("<", total, high), total, high)
        codes = b.trunc(b.fptosi(intrinsic(b, f"llvm.rint.v{lanes}f32", total), ints), bytes_)
        store(b, codes, b.add(given["out"], at))
        return carried

    count_up(b, b.sdiv(b.add(given["count"], WORD(lanes - 1)), WORD(lanes)), [], vector)
    b.ret_void()
    return str(module)
