"""Counts toggles and zeros of the activations' streams, each input byte read once. Imported only to compile.

A pair of pixels that follow one another at a port does so at several taps and outputs: it is counted once and taken
times its multiplicity, which is a product of one factor per row and one per column (streams_plan).
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import call, next_job, view
from accelsim_kernels.streams_plan import PAIR_WORDS, TOTALS, At

#: items of a call of the weighted count, whose 32-bit sums then hold
_MOST_ITEMS = 1 << 20


@intrinsic
def _ones(context, value):
    """Bits of an int64 that are set."""

    def generate(ctx, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), generate


def count_stream():
    """All pixels in a row, each against the one before it: At.rows pixels, cut into jobs."""
    count = len(At)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        while True:
            job = next_job(given[At.counter], given[At.jobs], worker, workers)
            if job < 0:
                break
            pixel, pixels, jobs = given[At.pixel], given[At.rows], given[At.jobs]
            first, end = pixels * job // jobs, pixels * (job + 1) // jobs
            totals = _cleared(given, job)
            at = given[At.x] + first * pixel
            if first == 0:
                # the first pixel follows nothing
                call(given[At.count], (at, at, pixel, given[At.zero], totals))
                first, at = first + 1, at + pixel
            call(given[At.count], (at - pixel, at, (end - first) * pixel, given[At.zero], totals))

    return kernel


def count_rows():
    """A job is an image and some rows of it, padding counted with them."""
    count = len(At)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        while True:
            job = next_job(given[At.counter], given[At.jobs], worker, workers)
            if job < 0:
                break
            image, block = job // given[At.blocks], job % given[At.blocks]
            totals = _cleared(given, job)
            if block == 0 and image > 0:
                for ky in range(given[At.image_turns]):
                    to = ky * given[At.dilation_y] - given[At.pad_top]
                    before = _row(given, image - 1, to + given[At.last_row])
                    _pairs(given, given[At.turns], given[At.turn_pairs], before, _row(given, image, to), 1, totals)
            rows, blocks = given[At.rows], given[At.blocks]
            times = view(given[At.row_times], rows, np.int64)
            turn_times = view(given[At.turn_times], rows, np.int64)
            for row in range(rows * block // blocks, rows * (block + 1) // blocks):
                now = _row(given, image, row - given[At.pad_top])
                if now and times[row]:
                    _whole_row(given, now, times[row], totals)
                    _pairs(given, given[At.steps], given[At.step_pairs], now, now, times[row], totals)
                if turn_times[row]:
                    before = _row(given, image, row - given[At.back] - given[At.pad_top])
                    _pairs(given, given[At.turns], given[At.turn_pairs], before, now, turn_times[row], totals)

    return kernel


@njit
def _cleared(given, job):
    """The job's own totals: toggles and zeros, then room for those of one call."""
    at = given[At.out] + 8 * TOTALS * job
    totals = view(at, TOTALS, np.int64)
    for i in range(TOTALS):
        totals[i] = 0
    return at


@njit
def _row(given, image, row):
    """Address of a row of the input, 0 in the padding."""
    if 0 <= row < given[At.in_y]:
        return given[At.x] + (image * given[At.in_y] + row) * given[At.pitch]
    return np.int64(0)


@njit
def _whole_row(given, at, times, totals_at):
    """Every item of a row against the one `shift` items before it; behind the row, padding against its last items."""
    item, shift, items = given[At.item_bytes], given[At.shift], given[At.row_items]
    part = totals_at + 16
    sums = view(part, 2, np.int64)
    sums[0], sums[1] = 0, 0
    first = min(shift, items)
    for plane in range(given[At.planes]):
        place = plane * given[At.plane_items]
        _weighted(given, given[At.padding], at, first, place, part)
        _weighted(given, at, at + first * item, items - first, place + first, part)
        if given[At.beyond]:
            outside = max(shift - items, 0)
            last = at + (items + outside - shift) * item
            _weighted(given, last, given[At.padding], shift - outside, place + items + outside, part)
    totals = view(totals_at, 2, np.int64)
    totals[0] += times * sums[0]
    totals[1] += times * sums[1]


@njit
def _weighted(given, before, now, items, place, totals):
    item, weight = given[At.item_bytes], given[At.weight_bytes]
    for first in range(0, items, _MOST_ITEMS):
        call(
            given[At.weighted],
            (
                before + first * item,
                now + first * item,
                min(items - first, _MOST_ITEMS),
                given[At.toggle_times] + (place + first) * weight,
                given[At.zero_times] + (place + first) * weight,
                given[At.zero],
                totals,
            ),
        )


@njit
def _pairs(given, table_at, count, from_row, to_row, times, totals_at):
    """Toggles of single pairs of pixels, or of single items of them, between two rows; row 0: padding."""
    if from_row == 0 and to_row == 0:
        return
    table = view(table_at, PAIR_WORDS * count, np.int64)
    totals, part = view(totals_at, 4, np.int64), totals_at + 16
    toggles = np.int64(0)
    for i in range(0, PAIR_WORDS * count, PAIR_WORDS):
        before = from_row + table[i] if from_row and table[i] >= 0 else given[At.padding]
        now = to_row + table[i + 1] if to_row and table[i + 1] >= 0 else given[At.padding]
        if table[i + 2] == 1:
            differ = view(before, 1, np.uint8)[0] ^ view(now, 1, np.uint8)[0]
            toggles += table[i + 3] * _ones(np.int64(differ))
        else:
            totals[2] = 0
            call(given[At.count], (before, now, table[i + 2], np.int64(0), part))
            toggles += table[i + 3] * totals[2]
    totals[0] += times * toggles
