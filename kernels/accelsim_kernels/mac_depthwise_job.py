"""The exact depthwise convolution, a band of output rows at a time. Imported only to compile.

Tiles read the input itself through a table of row addresses: rows of padding are a row of zero points. Blocks whose
windows cross the left or right edge, and every block where channels are scattered or repeated, read a small copy.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import call, copy_bytes, next_job, view
from accelsim_kernels.mac_exact_job import describe_codes, finish
from accelsim_kernels.mac_exact_plan import Arg


def run_jobs():
    """Take jobs until none is left; the arguments are named in mac_exact_plan.Arg."""
    count = len(Arg)

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        scratch = given[Arg.scratch] + worker * given[Arg.scratch_bytes]
        while True:
            job = next_job(given[Arg.counter], given[Arg.jobs], worker, workers)
            if job < 0:
                break
            image, band = job // given[Arg.bands], job % given[Arg.bands]
            first = band * given[Arg.band_rows]
            for y in range(first, min(first + given[Arg.band_rows], given[Arg.out_y])):
                _one_row(given, image, y, scratch)

    return kernel


@njit
def _one_row(given, image, y, scratch):
    rows_at, pad_left = scratch + given[Arg.rows_at], given[Arg.pad_left]
    fy = given[Arg.fy]
    rows = view(rows_at, 2 * fy, np.int64)
    for ky in range(fy):
        at = y * given[Arg.stride_y] - given[Arg.pad_top] + ky * given[Arg.dilation_y]
        if 0 <= at < given[Arg.in_y]:
            rows[ky] = given[Arg.x] + image * given[Arg.x_image] + at * given[Arg.x_row]
        else:
            rows[ky] = given[Arg.fill_row]
    blocks = view(given[Arg.block_table], 3 * given[Arg.blocks], np.int64)
    for block in range(given[Arg.blocks]):
        ox, outputs, patched = blocks[3 * block : 3 * block + 3]
        column = ox * given[Arg.stride_x] - pad_left
        out = given[Arg.out] + (
            ((image * given[Arg.out_y] + y) * given[Arg.out_x] + ox)
            * given[Arg.out_channels]
            * given[Arg.out_item_bytes]
        )
        if patched:
            width = (outputs - 1) * given[Arg.stride_x] + (given[Arg.fx] - 1) * given[Arg.dilation_x] + 1
            for ky in range(fy):
                to = scratch + ky * width * given[Arg.out_channels]
                rows[fy + ky] = to
                _copy_columns(given, to, rows[ky], rows[ky] == given[Arg.fill_row], column, width)
            _one_block(
                given,
                outputs,
                rows_at + fy * 8,
                np.int64(0),
                given[Arg.out_channels],
                out,
                scratch + given[Arg.tile_at],
            )
        else:
            _one_block(
                given,
                outputs,
                rows_at,
                column * given[Arg.x_column],
                given[Arg.x_column],
                out,
                scratch + given[Arg.tile_at],
            )


@njit
def _one_block(given, outputs, rows_at, offset, pixel, out, tile_at):
    """All channels of a few outputs of a row."""
    chunks = view(given[Arg.chunk_table], 8 * given[Arg.chunks], np.int64)
    weights = given[Arg.weights]
    for chunk in range(given[Arg.chunks]):
        channel, width, chunk_bytes = chunks[8 * chunk], chunks[8 * chunk + 1], chunks[8 * chunk + 2]
        tile = chunks[8 * chunk + 3 + outputs]
        channels = min(width, given[Arg.out_channels] - channel)
        scaled = given[Arg.scales] != 0
        extra_at = tile_at + given[Arg.extra_at]
        to, to_stride = tile_at, width * 4
        if scaled:
            describe_codes(given, extra_at, channel, channels)
            to, to_stride = out + channel, given[Arg.out_channels]
        call(
            tile,
            (
                rows_at,
                offset + channel,
                pixel,
                weights,
                given[Arg.initial] + channel * 4,
                to,
                to_stride,
                given[Arg.mask],
                channels,
                extra_at,
            ),
        )
        if not scaled:
            finish(
                given,
                tile_at,
                outputs,
                width // given[Arg.lanes],
                channels,
                channel,
                out + channel * given[Arg.out_item_bytes],
            )
        weights += chunk_bytes


@njit
def _copy_columns(given, to, row, outside, column, width):
    """Columns column .. column + width of an input row, padded, with each channel repeated `multiplier` times."""
    pixel, multiplier = given[Arg.out_channels], given[Arg.multiplier]
    for x in range(column, column + width):
        target = view(to, pixel, np.uint8)
        source = row + x * given[Arg.x_column]
        if outside or x < 0 or x >= given[Arg.in_x]:
            for c in range(pixel):
                target[c] = given[Arg.fill]
        elif multiplier == 1 and given[Arg.x_channel] == 1:
            copy_bytes(to, source, pixel)
        else:
            for c in range(pixel // multiplier):
                value = view(source + c * given[Arg.x_channel], 1, np.uint8)[0]
                for repeat in range(multiplier):
                    target[c * multiplier + repeat] = value
        to += pixel
