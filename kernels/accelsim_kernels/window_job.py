"""Maxima and sums over windows of pixels, by vectors of channels. Imported only to compile."""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from accelsim_kernels._memory import call, next_job, view
from accelsim_kernels.simd_ir import INT, count_up, define, intrinsic, load, store

#: int64 arguments of max_pool, from position 2 on
MAX_POOL = (
    "x", "out", "tile", "channels", "width", "in_y", "in_x", "out_y", "out_x",
    "window_y", "window_x", "stride_y", "stride_x", "dilation_y", "dilation_x", "pad_top", "pad_left",
)  # fmt: skip
#: int64 arguments of channel_sums, from position 2 on
SUMS = (
    "x", "out", "tile", "channels", "width", "vectors", "pixels", "offset", "epilogue", "epilogue_arguments",
    "item_bytes", "scratch",
)  # fmt: skip
#: sums of 64 channels, for each worker
SUMS_BYTES = 256


def fold(kind: str, signed: bool, width: int) -> str:
    """LLVM IR of the largest byte ("max") or the int32 sum ("sum") over rows and columns, for `width` channels.

    rows and columns are at least 1; a pitch is the bytes from one to the next.
    """
    module, b, given = define(("x", "rows", "row_pitch", "columns", "column_pitch", "out"))
    bytes_, ints = ir.VectorType(ir.IntType(8), width), ir.VectorType(INT, width)
    least = -128 if signed else 0
    start = ir.Constant(bytes_, [least] * width) if kind == "max" else ir.Constant(ints, None)

    def row(y: ir.Value, held: list[ir.Value]) -> list[ir.Value]:
        line = b.add(given["x"], b.mul(y, given["row_pitch"]))

        def column(x: ir.Value, inner: list[ir.Value]) -> list[ir.Value]:
            codes = load(b, b.add(line, b.mul(x, given["column_pitch"])), bytes_)
            if kind == "sum":
                return [b.add(inner[0], (b.sext if signed else b.zext)(codes, ints))]
            return [intrinsic(b, f"llvm.{'s' if signed else 'u'}max.v{width}i8", inner[0], codes)]

        return count_up(b, given["columns"], held, column)

    (result,) = count_up(b, given["rows"], [start], row)
    store(b, result, given["out"])
    b.ret_void()
    return str(module)


def max_pool():
    """The largest code of each window of bytes, one output row a job; every window has a pixel inside the image."""
    count = 2 + len(MAX_POOL)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        x, out, tile, channels, width, in_y, in_x, out_y, out_x = given[2:11]
        window_y, window_x, stride_y, stride_x, dilation_y, dilation_x, pad_top, pad_left = given[11:19]
        while True:
            job = next_job(given[0], given[1], worker, workers)
            if job < 0:
                break
            image, oy = job // out_y, job % out_y
            top = oy * stride_y - pad_top
            first_y = (-top + dilation_y - 1) // dilation_y if top < 0 else np.int64(0)
            rows = min(window_y, (in_y - 1 - top) // dilation_y + 1) - first_y
            line = x + (image * in_y + top + first_y * dilation_y) * in_x * channels
            to = out + job * out_x * channels
            for ox in range(out_x):
                left = ox * stride_x - pad_left
                first_x = (-left + dilation_x - 1) // dilation_x if left < 0 else np.int64(0)
                columns = min(window_x, (in_x - 1 - left) // dilation_x + 1) - first_x
                at = line + (left + first_x * dilation_x) * channels
                pitches = dilation_y * in_x * channels, dilation_x * channels
                for start in range(0, channels, width):
                    c = min(start, channels - width)
                    call(tile, (at + c, rows, pitches[0], columns, pitches[1], to + c))
                to += channels

    return kernel


def channel_sums():
    """The sum of each channel over all pixels, minus `offset`, requantized: an image a job."""
    count = 2 + len(SUMS)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        x, out, tile, channels, width, vectors, pixels, offset, epilogue, epilogue_arguments, item = given[2:13]
        sums_at = given[13] + worker * SUMS_BYTES
        sums = view(sums_at, width, np.int32)
        while True:
            job = next_job(given[0], given[1], worker, workers)
            if job < 0:
                break
            for start in range(0, channels, width):
                c = min(start, channels - width)
                at = x + job * pixels * channels + c
                call(tile, (at, np.int64(1), np.int64(0), pixels, channels, sums_at))
                for i in range(width):
                    sums[i] -= offset
                to = out + (job * channels + c) * item
                call(epilogue, (sums_at, np.int64(1), vectors, width, c, epilogue_arguments, to, channels))

    return kernel
