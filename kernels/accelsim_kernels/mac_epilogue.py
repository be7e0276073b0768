"""Requantization of a tile of sums while it is in the nearest cache. Imported only to compile.

A kernel takes int32 sums (rows, vectors * lanes), the number of columns that exist, the first channel, the addresses of
the parameters, and where and how many items apart the rows of codes go. Channels are counted with those that fill the
last vector of a group, and every vector is computed whole.
"""

from __future__ import annotations

from collections.abc import Callable

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
    item, first_item = out_type.itemsize, first_type.itemsize
    # codes go to memory that provably nothing else shares, so that the loop becomes vector code
    reserve = stack_array(_WIDEST, np.dtype(np.int64))

    def kernel(sums, rows, vectors, columns, channel, parameters, out, out_stride):
        given = view(parameters, 8, np.int64)
        # views start at the first channel: an index that may be negative would cost the vector code
        whole, width = vectors * lanes, given[7]
        at = channel * 8
        if thresholds:
            a = view2(given[0] + at * width, whole, width, first_type)
        else:
            a = view(given[0] + channel * first_item, whole, first_type)
        b, c = view(given[1] + at, whole, np.int64), view(given[2] + at, whole, np.int64)
        zero_point = view(given[3] + at, whole, np.int64)
        qmin, qmax = view(given[4] + at, whole, np.int64), view(given[5] + at, whole, np.int64)
        codes = reserve()
        for i in range(rows):
            acc = view(sums + i * whole * 4, whole, np.int32)
            for j in range(whole):
                codes[j] = code(acc[j], a[j], b[j], c[j], zero_point[j], qmin[j], qmax[j])
            to = view(out + i * out_stride * item, columns, out_type)
            for j in range(columns):
                to[j] = codes[j]

    return kernel


def scale_tile(out_bits: int, lanes: int) -> str:
    """float32(acc) * scale, ties to even, in float32 and int32 throughout                      (R10, R16)

    parameters: float32 scale, float32 qmin - zero_point, float32 qmax - zero_point, int32 zero_point; both limits
    within ±2**22, so that clamping before rounding is clamping after it. Equal to requantize_tile, and faster.
    """
    floats = ir.VectorType(FLOAT, lanes)

    def code(b: ir.IRBuilder, acc: ir.Value, parameters: list[ir.Value]) -> ir.Value:
        scale, low, high = (b.bitcast(value, floats) for value in parameters[:3])
        scaled = b.fmul(b.sitofp(acc, floats), scale)
        held = b.select(b.fcmp_ordered(">", scaled, low), scaled, low)
        held = b.select(b.fcmp_ordered("<", held, high), held, high)
        rounded = b.fptosi(intrinsic(b, f"llvm.rint.v{lanes}f32", held), acc.type)
        return b.add(rounded, parameters[3])

    return _tile(out_bits, lanes, 4, code)


def multiplier_tile(rounding: str, out_bits: int, lanes: int) -> str:
    """High multiply by a 31-bit multiplier, then a right shift; "away", "up", or both at once: "single"  (R1, R2, R3)

    parameters, int32: multiplier >= 0, right shift 0 .. 31, zero_point, qmin - zero_point, qmax - zero_point. In 32-bit
    lanes but for the product; equal to requantize_tile, and faster.
    """
    ints, longs = ir.VectorType(INT, lanes), ir.VectorType(WORD, lanes)

    def every(kind: ir.VectorType, value: int) -> ir.Constant:
        return ir.Constant(kind, [value] * lanes)

    def code(b: ir.IRBuilder, acc: ir.Value, parameters: list[ir.Value]) -> ir.Value:
        multiplier, right, zero_point, low, high = parameters
        product = b.mul(b.sext(acc, longs), b.sext(multiplier, longs))
        if rounding == "single":
            shift = b.add(b.zext(right, longs), every(longs, 31))
            half = b.shl(every(longs, 1), b.sub(shift, every(longs, 1)))
            value = b.trunc(b.ashr(b.add(product, half), shift), ints)
        else:
            value = b.trunc(b.ashr(b.add(product, every(longs, 1 << 30)), every(longs, 31)), ints)
            mask = b.sub(b.shl(every(ints, 1), right), every(ints, 1))
            least = b.lshr(mask, every(ints, 1))
            if rounding == "away":
                least = b.sub(least, b.ashr(value, every(ints, 31)))
            up = b.icmp_unsigned(">", b.and_(value, mask), least)
            value = b.add(b.ashr(value, right), b.zext(up, ints))
        value = intrinsic(b, f"llvm.smin.v{lanes}i32", value, high)
        return b.add(intrinsic(b, f"llvm.smax.v{lanes}i32", value, low), zero_point)

    return _tile(out_bits, lanes, 5, code)


def _tile(
    out_bits: int, lanes: int, arrays: int, code: Callable[[ir.IRBuilder, ir.Value, list[ir.Value]], ir.Value]
) -> str:
    """A kernel that makes codes a vector at a time. parameters: addresses of `arrays` arrays of 32-bit items."""
    module, b, given = define(ARGUMENTS)
    ints, narrow = ir.VectorType(INT, lanes), ir.VectorType(ir.IntType(out_bits), lanes)
    addresses = [load(b, b.add(given["parameters"], WORD(8 * i)), WORD) for i in range(arrays)]
    out_step = b.mul(given["out_stride"], WORD(out_bits // 8))
    sums_step = b.mul(given["vectors"], WORD(4 * lanes))

    def column(v: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        first = b.mul(v, WORD(lanes))
        at = b.mul(b.add(given["channel"], first), WORD(4))
        parameters = [load(b, b.add(address, at), ints) for address in addresses]
        sums = b.add(given["sums"], b.mul(first, WORD(4)))
        out = b.add(given["out"], b.mul(first, WORD(out_bits // 8)))
        left = b.trunc(b.sub(given["columns"], first), INT)
        exists = b.icmp_signed("<", ir.Constant(ints, list(range(lanes))), splat(b, left, lanes))

        def row(i: ir.Value, inner: list[ir.Value]) -> list[ir.Value]:
            codes = code(b, load(b, b.add(sums, b.mul(i, sums_step)), ints), parameters)
            codes = b.trunc(codes, narrow) if out_bits < 32 else codes
            to = b.add(out, b.mul(i, out_step))
            with b.if_else(b.icmp_signed(">=", left, INT(lanes))) as (whole, part):
                with whole:
                    store(b, codes, to)
                with part:
                    name = f"llvm.masked.store.v{lanes}i{out_bits}.p0"
                    pointer = b.inttoptr(to, ir.PointerType())
                    intrinsic(b, name, codes, pointer, INT(1), exists, result=ir.VoidType())
            return inner

        count_up(b, given["rows"], [], row)
        return carried

    count_up(b, given["vectors"], [], column)
    b.ret_void()
    return str(module)
