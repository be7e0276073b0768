"""The exact product of a convolution or matrix product, a band of outputs at a time. Imported only to compile.

A job is an image, a band of output rows, a group and a set of column panels. Where the input needs padding, widening
or gathering, the few rows that the band reads are copied into scratch memory first; otherwise the tiles read the input
itself. Each tile's sums are corrected, wrapped, requantized and stored while they are in the nearest cache.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import call, copy_bytes, next_job, view
from accelsim_kernels.mac_exact_plan import Arg


def run_jobs():
    """Take jobs until none is left; the arguments are named in mac_exact_plan.Arg."""

    count = len(Arg)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        while True:
            job = next_job(given[Arg.counter], given[Arg.jobs], worker, workers)
            if job < 0:
                break
            _one_job(given, job, given[Arg.scratch] + worker * given[Arg.scratch_bytes])

    return kernel


@njit
def place_of(given, job):
    """Which panels, group and image a job is, and its first row of outputs and the one behind its last."""
    panel_set, rest = job % given[Arg.panel_sets], job // given[Arg.panel_sets]
    group, rest = rest % given[Arg.groups], rest // given[Arg.groups]
    band, image = rest % given[Arg.bands], rest // given[Arg.bands]
    y0 = band * given[Arg.band_rows]
    y1 = min(y0 + given[Arg.band_rows], given[Arg.out_y])
    return panel_set, group, image, y0, y1


@njit
def _one_job(given, job, scratch):
    panel_set, group, image, y0, y1 = place_of(given, job)
    out_x = given[Arg.out_x]
    rows = (y1 - y0) * out_x
    offsets_at = scratch + given[Arg.offsets_at]
    offsets = view(offsets_at, rows, np.int64)
    if given[Arg.copies]:
        base = scratch
        pixel = given[Arg.group_channels] * given[Arg.item_bytes]
        pitch = given[Arg.padded_x] * pixel
        fill_strip(given, scratch, image, group, y0, y1)
    else:
        pitch, pixel = given[Arg.x_row], given[Arg.x_column]
        base = (
            given[Arg.x]
            + image * given[Arg.x_image]
            + y0 * given[Arg.stride_y] * pitch
            + group * given[Arg.group_channels] * given[Arg.x_channel]
        )
    for y in range(y1 - y0):
        for x in range(out_x):
            offsets[y * out_x + x] = y * given[Arg.stride_y] * pitch + x * given[Arg.stride_x] * pixel
    sums_at = scratch + given[Arg.sums_at]
    if given[Arg.row_factor]:
        _row_sums(given, base, offsets_at, rows, sums_at, scratch + given[Arg.tile_at])
    first = (image * given[Arg.out_y] + y0) * out_x
    first_panel = panel_set * given[Arg.panels_per_set]
    for panel in range(first_panel, min(first_panel + given[Arg.panels_per_set], given[Arg.panels])):
        _one_panel(given, panel, group, base, offsets_at, rows, first, sums_at, scratch + given[Arg.tile_at])


@njit
def _one_panel(given, panel, group, base, offsets_at, rows, first, sums_at, tile_at):
    """All rows of a band for the columns of one panel."""
    lanes = given[Arg.lanes]
    vector, vectors = view(given[Arg.panel_table], 2 * given[Arg.panels], np.int64)[2 * panel : 2 * panel + 2]
    column = vector * lanes
    columns = min(vectors * lanes, given[Arg.group_outputs] - column)
    channel = group * given[Arg.group_outputs] + column
    weights = given[Arg.weights] + group * given[Arg.group_bytes] + given[Arg.steps] * vector * lanes * 4
    initial = given[Arg.initial] + (group * given[Arg.group_vectors] + vector) * lanes * 4
    scaled = given[Arg.scales] != 0
    plain = given[Arg.epilogue] == 0 and given[Arg.wrap_bits] == 32 and given[Arg.row_factor] == 0
    straight = scaled or (plain and columns == vectors * lanes)
    tallest = view(given[Arg.tallest], 8, np.int64)[vectors - 1]
    blocks = (rows + tallest - 1) // tallest
    tiles = view(given[Arg.tiles], 64, np.int64)
    extra_at = tile_at + given[Arg.extra_at]
    extra = view(extra_at, 5, np.int64)
    first_column = (group * given[Arg.group_vectors] + vector) * lanes
    if scaled:
        describe_codes(given, extra_at, first_column, columns)
    else:
        extra[0], extra[1] = given[Arg.low], given[Arg.high]
        extra[2] = given[Arg.final] + first_column * 4
        extra[3], extra[4] = tile_at + given[Arg.events_at], given[Arg.chunk]
    row = np.int64(0)
    for block in range(blocks):
        height = rows // blocks + (1 if block < rows % blocks else 0)
        out_item = given[Arg.out_item_bytes]
        out = given[Arg.out] + ((first + row) * given[Arg.out_channels] + channel) * out_item
        out_stride = given[Arg.out_channels] * out_item
        to, to_stride = (out, out_stride) if straight else (tile_at, vectors * lanes * 4)
        call(
            tiles[(vectors - 1) * 8 + height - 1],
            (
                base,
                offsets_at + row * 8,
                given[Arg.depth_offsets],
                given[Arg.steps],
                weights,
                initial,
                to,
                to_stride,
                given[Arg.mask],
                extra_at,
            ),
        )
        if given[Arg.events]:
            _keep_events(
                given,
                tile_at + given[Arg.events_at],
                height,
                vectors * lanes,
                columns,
                given[Arg.events] + (first + row) * given[Arg.out_channels] + channel,
            )
        if not straight:
            if given[Arg.row_factor]:
                _take_off(given, tile_at, height, vectors * lanes, columns, sums_at + row * 4, channel)
            finish(given, tile_at, height, vectors, columns, (group * given[Arg.group_vectors] + vector) * lanes, out)
        row += height


@njit
def describe_codes(given, words_at, column, columns):
    """Write what tiles need to make codes, simd_codes.WORDS, for columns from `column` on."""
    words = view(words_at, 5, np.int64)
    words[0], words[1] = given[Arg.scales] + column * 4, columns
    words[2], words[3], words[4] = given[Arg.zero_point], given[Arg.low], given[Arg.high]


@njit
def _keep_events(given, flags_at, height, width, columns, out):
    """Store which outputs of a tile had an event."""
    flags = view(flags_at, height * width, np.int32)
    for i in range(height):
        to = view(out + i * given[Arg.out_channels], columns, np.uint8)
        for j in range(columns):
            to[j] = flags[i * width + j] != 0


@njit
def _take_off(given, tile_at, height, width, columns, sums_at, channel):
    """Subtract each row's sum of activations times the weights' zero point."""
    sums = view(tile_at, height * width, np.int32)
    factors = view(given[Arg.row_factor] + channel * 4, columns, np.int32)
    totals = view(sums_at, height, np.int32)
    for i in range(height):
        for j in range(columns):
            sums[i * width + j] -= np.int32(np.int64(totals[i]) * np.int64(factors[j]))


@njit
def finish(given, tile_at, height, vectors, columns, channel, out):
    """Wrap a tile's sums, requantize them where that is asked for, and store the columns that exist.

    channel: of the first column, counted with those that fill the last vector of a group. out: address of row 0.
    """
    width = vectors * given[Arg.lanes]
    sums = view(tile_at, height * width, np.int32)
    if given[Arg.wrap_bits] < 32:
        unused = 32 - given[Arg.wrap_bits]
        for i in range(height * width):
            sums[i] = np.int32(np.int64(sums[i]) << (32 + unused) >> (32 + unused))
    if given[Arg.epilogue]:
        call(
            given[Arg.epilogue],
            (tile_at, height, vectors, columns, channel, given[Arg.epilogue_arguments], out, given[Arg.out_channels]),
        )
    else:
        for i in range(height):
            copy_bytes(out + i * given[Arg.out_channels] * 4, tile_at + i * width * 4, columns * 4)


@njit
def _row_sums(given, base, offsets_at, rows, sums_at, tile_at):
    """The sum of each output's activations, through the same tiles with weights of one."""
    lanes = given[Arg.lanes]
    totals = view(sums_at, rows, np.int32)
    tallest = view(given[Arg.tallest], 8, np.int64)[0]
    tiles = view(given[Arg.tiles], 64, np.int64)
    blocks = (rows + tallest - 1) // tallest
    row = np.int64(0)
    for block in range(blocks):
        height = rows // blocks + (1 if block < rows % blocks else 0)
        call(
            tiles[height - 1],
            (
                base,
                offsets_at + row * 8,
                given[Arg.depth_offsets],
                given[Arg.steps],
                given[Arg.ones],
                given[Arg.zeros],
                tile_at,
                lanes * 4,
                given[Arg.mask],
                np.int64(0),
            ),
        )
        sums = view(tile_at, height * lanes, np.int32)
        for i in range(height):
            totals[row + i] = sums[i * lanes]
        row += height


@njit
def fill_strip(given, strip, image, group, y0, y1):
    """Copy the input rows that outputs y0 .. y1 of a group read, padded with the zero point."""
    channels, item = given[Arg.group_channels], given[Arg.item_bytes]
    pixel = channels * item
    pitch = given[Arg.padded_x] * pixel
    top = y0 * given[Arg.stride_y] - given[Arg.pad_top]
    height = (y1 - y0 - 1) * given[Arg.stride_y] + (given[Arg.fy] - 1) * given[Arg.dilation_y] + 1
    left = given[Arg.pad_left] * channels
    inside = given[Arg.in_x] * channels
    right = (given[Arg.padded_x] - given[Arg.pad_left] - given[Arg.in_x]) * channels
    whole = given[Arg.x_column] == channels * given[Arg.x_channel]
    for y in range(height):
        at = strip + y * pitch
        if not 0 <= top + y < given[Arg.in_y]:
            _fill(at, left + inside + right, item, given[Arg.fill])
            continue
        _fill(at, left, item, given[Arg.fill])
        at += left * item
        source = (
            given[Arg.x]
            + image * given[Arg.x_image]
            + (top + y) * given[Arg.x_row]
            + group * channels * given[Arg.x_channel]
        )
        if whole:
            _copy(
                at,
                source,
                inside,
                given[Arg.x_channel],
                given[Arg.x_bytes],
                item,
                given[Arg.x_signed],
                given[Arg.subtract],
            )
        else:
            for x in range(given[Arg.in_x]):
                _copy(
                    at + x * pixel,
                    source + x * given[Arg.x_column],
                    channels,
                    given[Arg.x_channel],
                    given[Arg.x_bytes],
                    item,
                    given[Arg.x_signed],
                    given[Arg.subtract],
                )
        _fill(at + inside * item, right, item, given[Arg.fill])


@njit
def _fill(at, count, item, value):
    if item == 1:
        narrow = view(at, count, np.uint8)
        for i in range(count):
            narrow[i] = value
    else:
        wide = view(at, count, np.int16)
        for i in range(count):
            wide[i] = value


@njit
def _copy(to, source, count, stride, from_bytes, to_bytes, signed, subtract):
    """`count` items, `stride` bytes apart, of one or two bytes, to items of one or two bytes in a row.

    Items of two bytes are stored minus `subtract`.
    """
    if from_bytes == 1 and to_bytes == 1:
        if stride == 1:
            copy_bytes(to, source, count)
        else:
            target = view(to, count, np.uint8)
            for i in range(count):
                target[i] = view(source + i * stride, 1, np.uint8)[0]
    elif from_bytes == 1:
        wide = view(to, count, np.int16)
        if signed:
            for i in range(count):
                wide[i] = view(source + i * stride, 1, np.int8)[0] - subtract
        else:
            for i in range(count):
                wide[i] = view(source + i * stride, 1, np.uint8)[0] - subtract
    else:
        wide = view(to, count, np.int16)
        for i in range(count):
            pair = view(source + i * stride, 2, np.uint8)
            wide[i] = np.int64(pair[0]) + (np.int64(pair[1]) << 8) - subtract
