"""Sums of float32 products by fused multiply-add, block after block of terms. Imported only to compile."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from accelsim_kernels._memory import view, view2

#: columns of a row of weights are filled up to a multiple of this, and rows are walked together
COLUMNS, ROWS = 16, 4


@intrinsic
def _fma(context, a, b, c):
    """a * b + c of float32 numbers, rounded once."""

    def generate(ctx, builder, signature, arguments):
        real = ir.FloatType()
        kind = ir.FunctionType(real, [real] * 3)
        function = builder.module.globals.get("llvm.fma.f32") or ir.Function(builder.module, kind, "llvm.fma.f32")
        return builder.call(function, arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


def add_panels():
    """out[p, o] += sum of x[p, k] * w[k, o] over each block of k in turn; each sum starts at 0.

    Arguments, int64: addresses of x (rows, K), w (K, columns), out (rows, columns) and of ROWS rows of columns for each
    worker, rows, K, columns, block.
    """

    def kernel(arguments, worker, workers):
        given = view(arguments, 8, np.int64)
        rows, terms, columns, block = given[4], given[5], given[6], given[7]
        x, w = view2(given[0], rows, terms, np.float32), view2(given[1], terms, columns, np.float32)
        out = view2(given[2], rows, columns, np.float32)
        tile = view2(given[3] + worker * ROWS * columns * 4, ROWS, columns, np.float32)
        end = rows * (worker + 1) // workers
        for first in range(rows * worker // workers, end, ROWS):
            count = min(ROWS, end - first)
            for start in range(0, terms, block):
                for row in range(count):
                    for column in range(columns):
                        tile[row, column] = np.float32(0)
                for k in range(start, min(start + block, terms)):
                    for row in range(count):
                        value = x[first + row, k]
                        for column in range(columns):
                            tile[row, column] = _fma(value, w[k, column], tile[row, column])
                for row in range(count):
                    for column in range(columns):
                        out[first + row, column] += tile[row, column]

    return kernel
