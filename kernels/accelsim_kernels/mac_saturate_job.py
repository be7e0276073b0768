"""Saturating accumulation, a band of outputs at a time. Imported only to compile.

A job is an image, a band of output rows, a group and a set of panels. The rows that the band reads are copied, zero
points taken off. Where many activations are zero, as after a ReLU, the others are gathered into lists: adding zero
never clips, so the walk goes from one to the next. A chunk of weights at a time serves all outputs of the band.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import call, copy_bytes, next_job, view
from accelsim_kernels.mac_exact_job import fill_strip, finish, place_of
from accelsim_kernels.mac_exact_plan import Arg
from accelsim_kernels.mac_saturate_plan import MOST_ROWS, RUN_WORDS, SETTLED, Sat


def run_jobs():
    """Take jobs until none is left; arguments: mac_exact_plan.Arg, then Sat."""
    count = len(Arg) + len(Sat)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        scratch = (given[Arg.scratch] + worker * given[Arg.scratch_bytes] + 63) // 64 * 64
        while True:
            job = next_job(given[Arg.counter], given[Arg.jobs], worker, workers)
            if job < 0:
                break
            _one_job(given, job, scratch)

    return kernel


@njit
def _one_job(given, job, scratch):
    panel_set, group, image, y0, y1 = place_of(given, job)
    out_x = given[Arg.out_x]
    outputs = (y1 - y0) * out_x
    height = (y1 - y0 - 1) * given[Arg.stride_y] + given[Sat.reach_y]
    pixels = height * given[Arg.padded_x]
    if given[Sat.widen]:
        _widen(given, scratch, image, group, y0, height)
    else:
        fill_strip(given, scratch, image, group, y0, y1)
        items = view(scratch, pixels * given[Arg.group_channels], np.int16)
        for i in range(pixels * given[Arg.group_channels]):
            items[i] = items[i] << given[Sat.scale]
    if given[Sat.spreads]:
        _spread(given, scratch, pixels)
    sparse = given[Sat.depthwise] == 0 and _gather(given, scratch, pixels)
    if not sparse:
        pixel = given[Sat.stored] * given[Sat.stored_bytes]
        offsets = view(scratch + given[Arg.offsets_at], outputs + MOST_ROWS, np.int64)
        for i in range(outputs + MOST_ROWS):
            o = min(i, outputs - 1)
            row = o // out_x * given[Arg.stride_y] * given[Arg.padded_x]
            offsets[i] = (row + o % out_x * given[Arg.stride_x]) * pixel
    first = (image * given[Arg.out_y] + y0) * out_x
    first_panel = panel_set * given[Arg.panels_per_set]
    for panel in range(first_panel, min(first_panel + given[Arg.panels_per_set], given[Arg.panels])):
        _one_panel(given, panel, group, scratch, outputs, first, sparse)


@njit
def _widen(given, scratch, image, group, y0, height):
    """fill_strip for items that lie side by side, times the scale; for depthwise layers as their tile reads them."""
    channels = given[Arg.group_channels]
    strip, item = scratch, np.int64(2)
    if given[Sat.depthwise] and not given[Sat.spreads]:
        strip, item = scratch + given[Sat.values_at], np.int64(4)
    pixel, whole = channels * item, given[Arg.x_column] == channels * given[Arg.x_channel]
    left = given[Arg.pad_left] * pixel
    inside = given[Arg.in_x] * pixel
    pitch = given[Arg.padded_x] * pixel
    top = y0 * given[Arg.stride_y] - given[Arg.pad_top]
    x = given[Arg.x] + image * given[Arg.x_image] + group * channels * given[Arg.x_channel]
    for y in range(height):
        at = strip + y * pitch
        if not 0 <= top + y < given[Arg.in_y]:
            _clear(at, pitch)
            continue
        _clear(at, left)
        source = x + (top + y) * given[Arg.x_row]
        runs, count = (np.int64(1), given[Arg.in_x] * channels) if whole else (given[Arg.in_x], channels)
        for run in range(runs):
            call(
                given[Sat.widen],
                (
                    source + run * given[Arg.x_column],
                    count,
                    at + left + run * pixel,
                    given[Arg.subtract],
                    given[Sat.scale],
                ),
            )
        _clear(at + left + inside, pitch - left - inside)


@njit
def _clear(at, count):
    room = view(at, count, np.uint8)
    for i in range(count):
        room[i] = 0


@njit
def _gather(given, scratch, pixels):
    """List what is not zero, if that is worth it; a few pixels say whether it may be, from the middle: others pad."""
    some = min(pixels, 16 + pixels // 16)
    return _list(given, scratch, (pixels - some) // 2, some) and _list(given, scratch, np.int64(0), pixels)


@njit
def _list(given, scratch, first, pixels):
    """List what is not zero in some pixels; whether it is few enough."""
    ends = scratch + given[Sat.runs_at]
    call(
        given[Sat.compress],
        (
            scratch + 2 * first * given[Arg.group_channels],
            pixels,
            given[Arg.group_channels],
            given[Sat.part],
            given[Sat.parts],
            scratch + given[Sat.values_at],
            given[Sat.room],
            scratch + given[Sat.starts_at],
            ends,
        ),
    )
    return view(ends, 1, np.int64)[0] * 100 <= pixels * given[Arg.group_channels] * given[Sat.worth]


@njit
def _spread(given, scratch, pixels):
    """Each activation twice in 32 bits, once for each of its output channels."""
    channels, repeat, stored = given[Arg.group_channels], given[Sat.repeat], given[Sat.stored]
    for pixel in range(pixels):
        source = view(scratch + pixel * channels * 2, channels, np.uint16)
        to = view(scratch + given[Sat.values_at] + pixel * stored * 4, stored, np.uint32)
        for c in range(channels):
            twice = np.uint32(source[c]) | (np.uint32(source[c]) << np.uint32(16))
            for r in range(repeat):
                to[c * repeat + r] = twice


@njit
def _one_panel(given, panel, group, scratch, outputs, first, sparse):
    """All outputs of a band for the columns of one panel."""
    panels, line = view(given[Arg.panel_table], 2 * given[Arg.panels], np.int64), given[Arg.lanes] * 4
    vector, vectors = panels[2 * panel], panels[2 * panel + 1]
    each = _weight_bytes(given, vectors)
    weights = given[Arg.weights] + group * given[Arg.group_bytes]
    for other in range(panel):
        weights += given[Arg.steps] * _weight_bytes(given, panels[2 * other + 1])
    sums = scratch + given[Arg.sums_at]
    initial = given[Arg.initial] + (group * given[Arg.group_vectors] + vector) * line
    for i in range(outputs + MOST_ROWS):
        copy_bytes(sums + i * vectors * line, initial, vectors * line)
    kind = np.int64(1 if sparse else 0)
    tile = view(given[Sat.tiles], 24, np.int64)[8 * kind + vectors]
    height = view(given[Sat.rows], 16, np.int64)[8 * kind + vectors]
    blocks = (outputs + height - 1) // height
    if sparse:
        table = view(given[Sat.chunk_table], 5 * given[Sat.chunks], np.int64)
        for chunk in range(given[Sat.chunks]):
            row, column, part, taps, count = table[5 * chunk : 5 * chunk + 5]
            _runs(given, scratch, row * given[Arg.padded_x] + column, part, taps, outputs)
            call(tile, (blocks, scratch + given[Sat.runs_at], np.int64(0), count, weights, sums, np.int64(0)))
            weights += count * each
    else:
        offsets, base = scratch + given[Arg.offsets_at], scratch
        if given[Sat.depthwise]:
            base += given[Sat.values_at] + vector * line
        for k in range(0, given[Arg.steps], given[Sat.most]):
            count = min(given[Sat.most], given[Arg.steps] - k)
            call(tile, (blocks, offsets, base, count, weights + k * each, sums, given[Sat.taps] + 8 * k))
    _settle(given, group, vector, vectors, scratch, outputs, first)


@njit
def _weight_bytes(given, vectors):
    """Bytes of one product's weights in a panel of so many vectors."""
    return (vectors + given[Sat.shared] - 1) // given[Sat.shared] * given[Arg.lanes] * 4


@njit
def _runs(given, scratch, at, part, taps, outputs):
    """Where each output's list of a chunk lies; at: the pixel of the chunk's first tap in the first output's window."""
    out_x, parts = given[Arg.out_x], given[Sat.parts]
    table = view(scratch + given[Sat.runs_at], RUN_WORDS * (outputs + MOST_ROWS), np.int64)
    starts = view(scratch + given[Sat.starts_at], np.int64(1) << 40, np.int32)
    values = scratch + given[Sat.values_at]
    cells = taps if parts == 1 else np.int64(1)
    i = 0
    for y in range(outputs // out_x):
        pixel = at + y * given[Arg.stride_y] * given[Arg.padded_x]
        for _ in range(out_x):
            cell = pixel * parts + part
            begin = np.int64(starts[cell])
            table[i] = values + 4 * begin
            table[i + 1] = starts[cell + cells] - begin
            table[i + 2] = (pixel * given[Arg.group_channels] + part * given[Sat.part] & 0xFFFF) << 16
            i += RUN_WORDS
            pixel += given[Arg.stride_x]
    for _ in range(MOST_ROWS):
        table[i], table[i + 1], table[i + 2] = values, 0, 0
        i += RUN_WORDS


@njit
def _settle(given, group, vector, vectors, scratch, outputs, first):
    """Take the accumulators out of their lanes, then finish them as every product."""
    columns_each = given[Sat.vector_columns]
    width, line = vectors * columns_each, given[Arg.lanes] * 4
    column = vector * columns_each
    columns = min(width, given[Arg.group_outputs] - column)
    channel = group * given[Arg.group_outputs] + column
    spread = group * given[Arg.group_vectors] * columns_each + column
    tile = view(given[Sat.tiles], 24, np.int64)[16 + vectors]
    sums, flags = scratch + given[Arg.tile_at], scratch + given[Sat.flags_at]
    for row in range(0, outputs, SETTLED):
        rows = min(SETTLED, outputs - row)
        call(
            tile,
            (
                scratch + given[Arg.sums_at] + row * vectors * line,
                rows,
                sums,
                given[Arg.final] + spread * 4,
                flags,
                given[Arg.low],
                given[Arg.high],
                given[Sat.shift],
            ),
        )
        place = (first + row) * given[Arg.out_channels] + channel
        if given[Arg.events]:
            for i in range(rows):
                copy_bytes(given[Arg.events] + place + i * given[Arg.out_channels], flags + i * width, columns)
        finish(
            given,
            sums,
            rows,
            width // given[Arg.lanes],
            columns,
            spread,
            given[Arg.out] + place * given[Arg.out_item_bytes],
        )
