"""Requantization of a tile of sums while it is in the nearest cache. Imported only to compile.

A kernel takes int32 sums (rows, vectors * lanes), the number of columns that exist, the first channel, the addresses of
the parameters, and where and how many items apart the rows of codes go. Channels are counted with those that fill the
last vector of a group, and every vector is computed whole.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from accelsim_kernels._memory import stack_array, view, view2
from accelsim_kernels.requantize_loops import scalar
from accelsim_kernels.simd_ir import FLOAT, INT, WORD, count_up, define, intrinsic, load, splat, store

ARGUMENTS = ("sums", "rows", "vectors", "columns", "channel", "parameters", "out", "out_stride")
#: widest tile in sums
_WIDEST = 64


def requantize_tile(scheme: str, options: str, out_dtype: str, first_dtype: str, lanes: int):
    """Any scheme. parameters: the six arrays of requantization.Prepared, number of channels, thresholds of each."""
    code = scalar(scheme, options)
    thresholds = scheme == "finn-thresholds"
    out_type, first_type = np.dtype(out_dtype), np.dtype(first_dtype)
    item = out_type.itemsize
    # codes go to memory that provably nothing else shares, so that the loop becomes vector code
    reserve = stack_array(_WIDEST, np.dtype(np.int64))

    def kernel(sums, rows, vectors, columns, channel, parameters, out, out_stride):
        given = view(parameters, 8, np.int64)
        channels, width = given[6], given[7]
        if thresholds:
            a = view2(given[0], channels, width, first_type)
        else:
            a = view(given[0], channels, first_type)
        b, c = view(given[1], channels, np.int64), view(given[2], channels, np.int64)
        zero_point = view(given[3], channels, np.int64)
        qmin, qmax = view(given[4], channels, np.int64), view(given[5], channels, np.int64)
        codes = reserve()
        whole = vectors * lanes
        for i in range(rows):
            acc = view(sums + i * whole * 4, whole, np.int32)
            for j in range(whole):
                k = channel + j
                codes[j] = code(acc[j], a[k], b[k], c[k], zero_point[k], qmin[k], qmax[k])
            to = view(out + i * out_stride * item, columns, out_type)
            for j in range(columns):
                to[j] = codes[j]

    return kernel


def scale_tile(out_bits: int, lanes: int) -> str:
    """float32(acc) * scale, ties to even, in float32 and int32 throughout                      (R10, R16)

    parameters: float32 scale, float32 qmin - zero_point, float32 qmax - zero_point, int32 zero_point; both limits
    within ±2**22, so that clamping before rounding is clamping after it. Equal to requantize_tile, and twice as wide.
    """
    module, b, given = define(ARGUMENTS)
    ints, floats = ir.VectorType(INT, lanes), ir.VectorType(FLOAT, lanes)
    narrow = ir.VectorType(ir.IntType(out_bits), lanes)
    arrays = [load(b, b.add(given["parameters"], WORD(8 * i)), WORD) for i in range(4)]
    out_step = b.mul(given["out_stride"], WORD(out_bits // 8))
    sums_step = b.mul(given["vectors"], WORD(4 * lanes))

    def column(v: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        first = b.mul(v, WORD(lanes))
        at = b.mul(b.add(given["channel"], first), WORD(4))
        scale, low, high = (load(b, b.add(array, at), floats) for array in arrays[:3])
        zero_point = load(b, b.add(arrays[3], at), ints)
        sums = b.add(given["sums"], b.mul(first, WORD(4)))
        out = b.add(given["out"], b.mul(first, WORD(out_bits // 8)))
        left = b.trunc(b.sub(given["columns"], first), INT)
        numbers = ir.Constant(ints, list(range(lanes)))
        exists = b.icmp_signed("<", numbers, splat(b, left, lanes))

        def row(i: ir.Value, inner: list[ir.Value]) -> list[ir.Value]:
            scaled = b.fmul(b.sitofp(load(b, b.add(sums, b.mul(i, sums_step)), ints), floats), scale)
            held = b.select(b.fcmp_ordered(">", scaled, low), scaled, low)
            held = b.select(b.fcmp_ordered("<", held, high), held, high)
            rounded = b.fptosi(intrinsic(b, f"llvm.rint.v{lanes}f32", held), ints)
            codes = b.trunc(b.add(rounded, zero_point), narrow) if out_bits < 32 else b.add(rounded, zero_point)
            to = b.add(out, b.mul(i, out_step))
            with b.if_else(b.icmp_signed(">=", left, INT(lanes))) as (whole, part):
                with whole:
                    store(b, codes, to)
                with part:
                    pointer = b.inttoptr(to, ir.PointerType())
                    intrinsic(
                        b,
                        f"llvm.masked.store.v{lanes}i{out_bits}.p0",
                        codes,
                        pointer,
                        INT(1),
                        exists,
                        result=ir.VoidType(),
                    )
            return inner

        count_up(b, given["rows"], [], row)
        return carried

    count_up(b, given["vectors"], [], column)
    b.ret_void()
    return str(module)
