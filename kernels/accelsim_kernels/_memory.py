"""What compiled kernels do with raw addresses: views, calls, atomic counters. Imported only to compile."""

from __future__ import annotations

import os
import platform

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from accelsim_kernels._jit import njit


@intrinsic
def _pointer(context, address):
    def generate(ctx, builder, signature, arguments):
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
def call(context, address, arguments):
    """Call the kernel at `address` with a tuple of int64."""

    def generate(ctx, builder, signature, values):
        parts = cgutils.unpack_tuple(builder, values[1])
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * len(parts))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), parts)
        return ctx.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, len(arguments))), generate


_WORD = ir.IntType(64)


def _word_at(builder, address):
    return builder.inttoptr(address, _WORD.as_pointer())


@intrinsic
def add_to(context, address, value):
    """Add to the int64 at `address` as one step for all threads; returns what it was."""

    def generate(ctx, builder, signature, arguments):
        return builder.atomic_rmw("add", _word_at(builder, arguments[0]), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@njit
def next_index(address):
    """Take the next number of the int64 counter at `address`; each caller in any thread gets another."""
    return add_to(address, np.int64(1))


@njit
def next_job(counters, jobs, worker, workers):
    """Take a job that nobody has taken, -1 where none is left; `counters` has an int64 for each worker, 64 bytes apart.

    First those of the worker's own share, which are neighbours: a core finds most of what one layer wrote in its cache
    when it reads it in the next. Then what others have not begun.
    """
    for turn in range(workers):
        owner = (worker + turn) % workers
        first = jobs * owner // workers
        count = jobs * (owner + 1) // workers - first
        if observe(counters + 64 * owner) < count:
            taken = next_index(counters + 64 * owner)
            if taken < count:
                return first + taken
    return np.int64(-1)


@intrinsic
def observe(context, address):
    """The int64 at `address` as other threads last published it."""

    def generate(ctx, builder, signature, arguments):
        return builder.load_atomic(_word_at(builder, arguments[0]), "seq_cst", 8, typ=_WORD)

    return types.int64(types.int64), generate


@intrinsic
def publish(context, address, value):
    """Store an int64 for other threads, after everything that was stored before."""

    def generate(ctx, builder, signature, arguments):
        builder.store_atomic(arguments[1], _word_at(builder, arguments[0]), "seq_cst", 8)
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def exchange_if(context, address, expected, value):
    """Store `value` at `address` if it holds `expected`; 1 if it did."""

    def generate(ctx, builder, signature, arguments):
        pair = builder.cmpxchg(_word_at(builder, arguments[0]), arguments[1], arguments[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(pair, 1), _WORD)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def pause(context):
    """Tell the core that this is a waiting loop."""

    def generate(ctx, builder, signature, arguments):
        if platform.machine().lower() in ("x86_64", "amd64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return ctx.get_dummy_value()

    return types.void(), generate


@intrinsic
def step_aside(context):
    """Let another thread have the core, if one waits for it."""

    def generate(ctx, builder, signature, arguments):
        if os.name == "posix":
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return ctx.get_dummy_value()

    return types.void(), generate


#: turns of a waiting loop before the core is offered to others: some ten microseconds
_SHORT_WAIT = 500


@njit
def wait_a_turn(turns):
    """One turn of a waiting loop that has had so many; returns turns + 1."""
    pause()
    if turns > _SHORT_WAIT:
        step_aside()
    return turns + 1


@intrinsic
def copy_bytes(context, target, source, count):
    """memcpy between two addresses."""

    def generate(ctx, builder, signature, arguments):
        to, of = (builder.inttoptr(value, cgutils.voidptr_t) for value in arguments[:2])
        cgutils.raw_memcpy(builder, to, of, arguments[2], 1)
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic(prefer_literal=True)
def _reserved(context, size):
    def generate(ctx, builder, signature, arguments):
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
