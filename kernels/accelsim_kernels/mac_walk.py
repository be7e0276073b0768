"""Any accumulator, one addition at a time: the general path, vectorised across output columns.

Serves every combination of levels, order, bias and zero points, any operand dtype, with events; what has a faster
form is handled elsewhere and falls back to this. Equations A1 to A5 of kernels/README.md.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import stack_array, view, view2
from accelsim_kernels.mac_general import EVENT, FATAL, LANES

#: order of the arguments of walk_rows
ARGUMENTS = (
    "a",
    "b",
    "initial",
    "row_term",
    "column_factor",
    "out",
    "events",
    "levels",
    "level_count",
    "rows",
    "depth",
    "columns",
    "group",
    "after",
    "scratch",
    "scratch_items",
    "fixed",
)


@njit
def _add(held, sums, flags, level):
    """One addition to a level (minimum, maximum, saturates, raises, span): clipped at once, or exact until emptied."""
    low, high = level[0], level[1]
    mark = EVENT | (FATAL * level[3])
    if level[2]:
        for j in range(LANES):
            total = held[j] + sums[j]
            kept = min(max(total, low), high)
            held[j] = kept
            flags[j] |= mark * (kept != total)
    else:
        for j in range(LANES):
            total = held[j] + sums[j]
            held[j] = total
            flags[j] |= mark * ((total < low) | (total > high))


@njit
def _add_wide(held, carry, sums, sums_carry, flags, level):
    """_add where numbers reach beyond int64: each is low bits and a carry, its value low + carry * 2**64."""
    low, high = level[0], level[1]
    mark = EVENT | (FATAL * level[3])
    for j in range(LANES):
        total = held[j] + sums[j]
        over = ((held[j] ^ total) & (sums[j] ^ total)) < 0
        beyond = carry[j] + sums_carry[j] + over * (1 - 2 * (held[j] < 0))
        outside = (beyond != 0) | (total < low) | (total > high)
        flags[j] |= mark * outside
        if level[2]:
            nearest = high if beyond > 0 or (beyond == 0 and total > high) else low
            held[j], carry[j] = nearest if outside else total, 0
        else:
            held[j], carry[j] = total, beyond


@njit
def _empty(held, sums, level):
    """Move what a level holds to the sums and clear it."""
    low, mask = level[0], level[1] - level[0]
    if level[2]:
        for j in range(LANES):
            sums[j] = held[j]
            held[j] = 0
    else:
        for j in range(LANES):
            sums[j] = ((held[j] - low) & mask) + low
            held[j] = 0


def walk_rows(wide: bool):
    """Rows worker, worker + workers, ... of the (rows, columns) output.

    a: int32 (rows, depth), b: int32 (depth, columns): operands, zero points already taken off where the accumulator
    sees them so. The outermost level is given initial[j] + fixed[j] - row_term[i] * column_factor[j], before the first
    product, or after the last one where `after` is 1. levels: (minimum, maximum, saturates, raises, span) each.
    out: int64; events: uint8 (EVENT, FATAL). scratch: what each level holds, for every worker.
    wide: the outermost level's exact sums may leave int64; those of the levels inside it, sums of products, never do.
    """
    # on the stack, so that nothing else can share it and loops become vector code without checks
    reserve = stack_array(LANES, np.dtype(np.int64))
    reserve_flags = stack_array(LANES, np.dtype(np.int64))
    reserve_carry, reserve_sums_carry = (stack_array(LANES, np.dtype(np.int64)) for _ in range(2))

    def kernel(arguments, worker, workers):
        given = view(arguments, 17, np.int64)
        count, rows, depth, columns = given[8], given[9], given[10], given[11]
        group, after = given[12], given[13]
        a = view2(given[0], rows, depth, np.int32)
        out = view2(given[5], rows, columns, np.int64)
        events = view2(given[6], rows, columns, np.uint8)
        row_term = view(given[3], rows, np.int64)
        base = given[14] + worker * given[15] * 8
        outermost = view(given[7] + (count - 1) * 40, 5, np.int64)
        last = view(base + (count - 1) * LANES * 8, LANES, np.int64)
        inner_span = view(given[7], 5, np.int64)[4]
        sums, flags = reserve(), reserve_flags()
        carry, sums_carry = reserve_carry(), reserve_sums_carry()
        for i in range(worker, rows, workers):
            for j0 in range(0, columns, LANES):
                width = min(LANES, columns - j0)
                initial = view(given[2] + j0 * 8, width, np.int64)
                factor = view(given[4] + j0 * 8, width, np.int64)
                fixed = view(given[16] + j0 * 8, width, np.int64)
                for level in range(count):
                    held = view(base + level * LANES * 8, LANES, np.int64)
                    for j in range(LANES):
                        held[j] = 0
                for j in range(LANES):
                    sums[j] = 0
                    flags[j] = 0
                    carry[j] = 0
                    sums_carry[j] = 0
                for pass_ in range(2):
                    position = np.int64(0) if pass_ == 1 else depth
                    while position < depth:
                        stop = min(position + group, depth, (position // inner_span + 1) * inner_span)
                        for j in range(LANES):
                            sums[j] = 0
                        for k in range(position, stop):
                            x = np.int64(a[i, k])
                            w = view(given[1] + (k * columns + j0) * 4, width, np.int32)
                            for j in range(width):
                                sums[j] += x * w[j]
                        position = stop
                        for level in range(count):
                            rule = view(given[7] + level * 40, 5, np.int64)
                            held = view(base + level * LANES * 8, LANES, np.int64)
                            if wide and level == count - 1:
                                _add_wide(held, carry, sums, sums_carry, flags, rule)
                            else:
                                _add(held, sums, flags, rule)
                            if level == count - 1 or (position % rule[4] != 0 and position != depth):
                                break
                            _empty(held, sums, rule)
                    if pass_ == after:
                        for j in range(width):
                            correction = fixed[j] - row_term[i] * factor[j]
                            sums[j] = initial[j] + correction
                            if wide:
                                over = ((initial[j] ^ sums[j]) & (correction ^ sums[j])) < 0
                                sums_carry[j] = over * (1 - 2 * (correction < 0))
                        if wide:
                            _add_wide(last, carry, sums, sums_carry, flags, outermost)
                            for j in range(LANES):
                                sums_carry[j] = 0
                        else:
                            _add(last, sums, flags, outermost)
                _empty(last, sums, outermost)
                for j in range(width):
                    out[i, j0 + j] = sums[j]
                    events[i, j0 + j] = flags[j]

    return kernel
