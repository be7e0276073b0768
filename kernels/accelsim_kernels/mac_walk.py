"""Any accumulator, one addition at a time: the general path, vectorised across output columns.

Serves every combination of levels, order, bias and zero points, any operand dtype, with events; what has a faster
form is handled elsewhere and falls back to this. Equations A1 to A5 of kernels/README.md.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import view, view2
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
)


@njit
def _add(run, level, step, flags, levels, width):
    """One addition of run[step] to a level: clipped at once, or summed exactly and wrapped when emptied."""
    low, high = levels[level, 0], levels[level, 1]
    mark = EVENT | (FATAL * levels[level, 3])
    if levels[level, 2]:
        for j in range(width):
            total = run[level, j] + run[step, j]
            held = min(max(total, low), high)
            run[level, j] = held
            run[flags, j] |= mark * (held != total)
    else:
        for j in range(width):
            total = run[level, j] + run[step, j]
            run[level, j] = total
            run[flags, j] |= mark * ((total < low) | (total > high))


@njit
def _empty(run, level, step, levels, width):
    """Move what a level holds to run[step] and clear it."""
    low, high = levels[level, 0], levels[level, 1]
    for j in range(width):
        value = run[level, j]
        if not levels[level, 2]:
            value = ((value - low) & (high - low)) + low
        run[step, j] = value
        run[level, j] = 0


def walk_rows():
    """Rows worker, worker + workers, ... of the (rows, columns) output.

    a: int32 (rows, depth), b: int32 (depth, columns): operands, zero points already taken off where the accumulator
    sees them so. The outermost level is given initial[j] - row_term[i] * column_factor[j], before the first product,
    or after the last one where `after` is 1. levels: (minimum, maximum, saturates, raises, span) each.
    out: int64; events: uint8 (EVENT, FATAL).
    """
    lanes = LANES

    def kernel(arguments, worker, workers):
        given = view(arguments, 16, np.int64)
        count, rows, depth, columns = given[8], given[9], given[10], given[11]
        group, after = given[12], given[13]
        a = view2(given[0], rows, depth, np.int32)
        b = view2(given[1], depth, columns, np.int32)
        initial = view(given[2], columns, np.int64)
        row_term = view(given[3], rows, np.int64)
        factor = view(given[4], columns, np.int64)
        out = view2(given[5], rows, columns, np.int64)
        events = view2(given[6], rows, columns, np.uint8)
        levels = view2(given[7], count, 5, np.int64)
        # running sums of every level, the step's sum, and the flags, private to this worker
        base = given[14] + worker * given[15] * 8
        run = view2(base, count + 2, lanes, np.int64)
        step = count
        flags = count + 1
        for i in range(worker, rows, workers):
            for j0 in range(0, columns, lanes):
                width = min(lanes, columns - j0)
                for row in range(count + 2):
                    for j in range(lanes):
                        run[row, j] = 0
                for pass_ in range(2):
                    if pass_ == 1:
                        position = 0
                        while position < depth:
                            stop = min(position + group, depth)
                            span = levels[0, 4]
                            stop = min(stop, (position // span + 1) * span)
                            for j in range(width):
                                run[step, j] = 0
                            for k in range(position, stop):
                                x = np.int64(a[i, k])
                                for j in range(width):
                                    run[step, j] += x * b[k, j0 + j]
                            position = stop
                            level = 0
                            while True:
                                _add(run, level, step, flags, levels, width)
                                if level == count - 1 or (position % levels[level, 4] != 0 and position != depth):
                                    break
                                _empty(run, level, step, levels, width)
                                level += 1
                    if pass_ == after:
                        for j in range(width):
                            run[step, j] = initial[j0 + j] - row_term[i] * factor[j0 + j]
                        _add(run, count - 1, step, flags, levels, width)
                _empty(run, count - 1, step, levels, width)
                for j in range(width):
                    out[i, j0 + j] = run[step, j]
                    events[i, j0 + j] = run[flags, j]

    return kernel
