"""What compiled kernels do with raw addresses: views, calls, atomic counters. Imported only to compile."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from accelsim_kernels._jit import njit


@intrinsic
def _pointer(context, address):  # noqa: ANN001, ANN202 - Numba's protocol
    def generate(ctx, builder, signature, arguments):  # noqa: ANN001, ANN202
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), generate


@njit
def view(address, length, dtype):
    """The `length` items of `dtype` that start at `address`, as a C-contiguous array."""
    return carray(_pointer(address), (length,), dtype)


@njit
def view2(address, rows, columns, dtype):
    """The (rows, columns) items of `dtype` that start at `address`, as a C-contiguous array."""
    return carray(_pointer(address), (rows, columns), dtype)


@intrinsic(prefer_literal=False)
def call(context, address, arguments):  # noqa: ANN001, ANN202
    """Call the kernel at `address` with a tuple of int64."""
    def generate(ctx, builder, signature, values):  # noqa: ANN001, ANN202
        parts = cgutils.unpack_tuple(builder, values[1])
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * len(parts))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), parts)
        return ctx.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(arguments))), generate


@intrinsic
def next_index(context, address):  # noqa: ANN001, ANN202
    """Take the next number of the int64 counter at `address`; each caller in any thread gets another."""
    def generate(ctx, builder, signature, arguments):  # noqa: ANN001, ANN202
        counter = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", counter, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.int64), generate


@intrinsic
def copy_bytes(context, target, source, count):  # noqa: ANN001, ANN202
    """memcpy between two addresses."""
    def generate(ctx, builder, signature, arguments):  # noqa: ANN001, ANN202
        to, of = (builder.inttoptr(value, cgutils.voidptr_t) for value in arguments[:2])
        cgutils.raw_memcpy(builder, to, of, arguments[2], 1)
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic(prefer_literal=True)
def _reserved(context, size):  # noqa: ANN001, ANN202
    def generate(ctx, builder, signature, arguments):  # noqa: ANN001, ANN202
        area = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), size.literal_value))
        return builder.bitcast(area, cgutils.voidptr_t)

    return types.voidptr(size), generate


def stack_array(length: int, dtype: np.dtype) -> object:
    """An inlinable function that gives `length` items on the stack: memory that provably nothing else shares, so
    that a loop which stores there is vectorised without checks."""
    size = length * dtype.itemsize

    @njit
    def reserve():
        return carray(_reserved(size), (length,), dtype)

    return reserve
