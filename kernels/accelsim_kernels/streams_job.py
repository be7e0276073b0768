"""Walks the windows of a convolution row by row and counts what changes. Imported only to compile."""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import call, view
from accelsim_kernels.mac_exact_job import fill_strip
from accelsim_kernels.mac_exact_plan import Arg


def count_windows(along_depth: bool):
    """Each worker takes every workers-th output row; its totals (toggles, zeros) lie at Arg.out + 16 * worker.

    along_depth: compare each operand with the one before it in its window, else with the same one of the output before.
    """
    count = len(Arg)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        strip, totals = given[Arg.scratch] + worker * given[Arg.scratch_bytes], given[Arg.out] + 16 * worker
        rows = given[Arg.bands] * given[Arg.out_y]
        for row in range(worker, rows, workers):
            image, y = row // given[Arg.out_y], row % given[Arg.out_y]
            first = max(y - 1, 0)
            fill_strip(given, strip, image, np.int64(0), first, y + 1)
            pixel = given[Arg.group_channels] * given[Arg.item_bytes]
            pitch = given[Arg.padded_x] * pixel
            at = strip + (y - first) * given[Arg.stride_y] * pitch
            if along_depth:
                _depth(given, at, pitch, pixel, totals)
            else:
                before = strip + (given[Arg.out_x] - 1) * given[Arg.stride_x] * pixel
                _outputs(given, at, before if y > 0 else at, pitch, pixel, totals)

    return kernel


@njit
def _count(given, before, now, length, totals):
    call(given[Arg.epilogue], (before, now, length, given[Arg.fill], totals))


@njit
def _outputs(given, at, before, pitch, pixel, totals):
    """Operands of each output of a row against those of the output before; `before`: of the row's first."""
    step, width = given[Arg.stride_x] * pixel, given[Arg.out_x]
    # side by side, the taps of a row are one run of bytes; one output apart, so are the outputs of a tap
    run, taps = pixel, given[Arg.fx]
    if step != pixel and given[Arg.dilation_x] == 1:
        run, taps = pixel * taps, np.int64(1)
    for ky in range(given[Arg.fy]):
        for kx in range(taps):
            tap = ky * given[Arg.dilation_y] * pitch + kx * given[Arg.dilation_x] * pixel
            _count(given, before + tap, at + tap, run, totals)
            if step == pixel:
                _count(given, at + tap, at + tap + step, (width - 1) * pixel, totals)
            else:
                for x in range(1, width):
                    _count(given, at + tap + (x - 1) * step, at + tap + x * step, run, totals)


@njit
def _depth(given, at, pitch, pixel, totals):
    """Operands of each window of a row against those before them; the first has none before it."""
    item, across = given[Arg.item_bytes], given[Arg.dilation_x] * pixel
    for x in range(given[Arg.out_x]):
        window = at + x * given[Arg.stride_x] * pixel
        last = window
        for ky in range(given[Arg.fy]):
            tap = window + ky * given[Arg.dilation_y] * pitch
            if across == pixel:
                run, taps = pixel * given[Arg.fx], 1
            else:
                run, taps = pixel, given[Arg.fx]
            for _ in range(taps):
                _count(given, last, tap, item, totals)
                _count(given, tap, tap + item, run - item, totals)
                last = tap + run - item
                tap += across
