"""How often each pair of neighbouring activations meets at a port, and the arguments that streams_job reads."""

from __future__ import annotations

import functools
from enum import IntEnum

import numpy as np

from accelsim_kernels import simd
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_exact_plan import raw_bits
from accelsim_kernels.step import Step

#: bytes that are worth a job of their own, and jobs for each thread
_JOB_BYTES, _JOBS_EACH = 1 << 17, 4
#: int64 words of a pair: bytes from the start of a row to the earlier and the later (negative: padding), bytes
#: of each, and how often the two meet
PAIR_WORDS = 4
#: int64 words of a job's result: toggles, zeros, and two for the kernel's own use
TOTALS = 4
#: what one plane of multiplicities holds, and items behind a row's that a vector may read
_MOST_TIMES, _SLACK = 255, 64


class At(IntEnum):
    """Positions in the kernels' int64 arguments. Sizes are in bytes unless they count items, rows or pairs."""

    counter, jobs, x, out, count, zero, pixel, rows = range(8)
    blocks, in_y, pitch, pad_top, dilation_y, last_row, back, item_bytes = range(8, 16)
    shift, row_items, planes, plane_items, beyond, padding, weight_bytes, weighted = range(16, 24)
    toggle_times, zero_times, row_times, turn_times, steps, step_pairs, turns, turn_pairs = range(24, 32)
    image_turns = 32


@functools.lru_cache(maxsize=256)
def plan(shape: ConvGeometry, dtype: np.dtype, zx: int, along_depth: bool, isa: str, workers: int) -> Step:
    """Counts of C-contiguous x of that shape: int64 (jobs, TOTALS), toggles and zeros first, zeros without padding's.

    along_depth: each operand after the one before it in its window, else after the same one of the output before.
    """
    given = np.zeros(len(At), np.int64)
    given[At.item_bytes], given[At.zero] = dtype.itemsize, raw_bits(zx, dtype)
    given[At.pixel] = shape.in_channels * dtype.itemsize
    given[At.count] = kernel("simd_count", "count", dtype.itemsize).address
    pixels = shape.batch * shape.in_y * shape.in_x
    size = pixels * shape.in_channels * dtype.itemsize
    wanted = 1 if workers == 1 else max(1, min(_JOBS_EACH * workers, size // _JOB_BYTES))
    alone = shape.fy == shape.fx == 1 and shape.stride == (1, 1) and not sum(map(sum, shape.padding))
    if alone and not along_depth:
        # what follows one another at a port lies one after the other in memory
        name, held, given[At.rows], given[At.jobs] = "count_stream", None, pixels, min(wanted, pixels)
    else:
        name, held = "count_rows", _rows(given, shape, dtype, zx, along_depth, isa)
        given[At.blocks] = min(-(-wanted // shape.batch), given[At.rows])
        given[At.jobs] = shape.batch * given[At.blocks]
    jobs = int(given[At.jobs])
    code = kernel("streams_job", name)
    return Step(code, given, (int(At.x),), int(At.out), (jobs, TOTALS), np.dtype(np.int64), held=held)


def padding_zeros(shape: ConvGeometry) -> int:
    """Activations of all windows that lie in the padding."""
    inside = 1
    for axis, size in ((0, shape.in_y), (1, shape.in_x)):
        before = shape.padding[axis][0]
        inside *= int(_met(shape, axis)[before : before + size].sum())
    whole = shape.out_y * shape.out_x * shape.fy * shape.fx
    return shape.batch * shape.in_channels * (whole - inside)


def _met(shape: ConvGeometry, axis: int, first_output: int = 0, first_tap: int = 0) -> np.ndarray:
    """How many (output, tap) from those on meet at each padded row (axis 0) or column (axis 1)."""
    outputs, taps = ((shape.out_y, shape.fy), (shape.out_x, shape.fx))[axis]
    places = (
        np.arange(first_output, outputs)[:, None] * shape.stride[axis]
        + np.arange(first_tap, taps) * shape.dilation[axis]
    )
    reach = (outputs - 1) * shape.stride[axis] + (taps - 1) * shape.dilation[axis] + 1
    return np.bincount(places.reshape(-1), minlength=reach)


def _rows(
    given: np.ndarray, shape: ConvGeometry, dtype: np.dtype, zx: int, along_depth: bool, isa: str
) -> list[np.ndarray]:
    """Write the arguments of count_rows; returns what they point to."""
    channels, (top, left) = shape.in_channels, (shape.padding[0][0], shape.padding[1][0])
    columns = np.arange(shape.out_x) * shape.stride[1]
    taps = np.arange(shape.fx) * shape.dilation[1]
    end = left + shape.in_x
    met = _met(shape, 1)
    if along_depth:
        following, turn_times, back = _met(shape, 1, first_tap=1), _met(shape, 0, first_tap=1), shape.dilation[0]
        side_by_side, shift = shape.dilation[1] == 1, 1
        toggle_times = np.repeat(_padded(met, left, end)[:, None], channels, axis=1)
        toggle_times[:, 0] = _padded(following, left, end) * side_by_side
        behind = _padded(following, end, end + 1) * side_by_side
        places = np.arange(0 if side_by_side else len(following))
        steps = _pair_table(shape, dtype, places - shape.dilation[1], places, following, single=True)
        turns = _pair_table(shape, dtype, columns + taps[-1], columns, np.ones(len(columns), int), single=True)
    else:
        following, turn_times, back = _met(shape, 1, first_output=1), _met(shape, 0, first_output=1), shape.stride[0]
        shift = shape.stride[1] * channels
        toggle_times = np.repeat(_padded(following, left, end), channels)
        behind = np.repeat(_padded(following, end, end + shape.stride[1]), channels)
        steps = _pair_table(shape, dtype, taps[:0], taps[:0], following, single=False)
        turns = _pair_table(shape, dtype, columns[-1] + taps, taps, np.ones(len(taps), int), single=False)
        given[At.image_turns] = shape.fy
    zero_times = np.repeat(_padded(met, left, end), channels)
    engine = simd.engine(isa, dtype.itemsize == 1)
    planes = max(1, -(-int(max(following.max(initial=0), met.max(initial=0))) // _MOST_TIMES))
    items = shape.in_x * channels
    times = np.zeros((2, planes, items + shift + _SLACK), np.uint8 if engine.item_bytes == 1 else np.int16)
    for plane in range(planes):
        for row, values in zip(times[:, plane], ((toggle_times, behind), (zero_times,)), strict=True):
            whole = np.concatenate([value.reshape(-1) for value in values])
            row[: len(whole)] = np.clip(whole - plane * _MOST_TIMES, 0, _MOST_TIMES)
    padding = np.full(max(channels, min(shift, items)), zx, dtype)
    row_times = _met(shape, 0)
    given[At.rows], given[At.in_y], given[At.pad_top] = len(row_times), shape.in_y, top
    given[At.pitch] = items * dtype.itemsize
    given[At.last_row], given[At.back] = (shape.out_y - 1) * shape.stride[0], back
    given[At.dilation_y] = shape.dilation[0]
    given[At.shift], given[At.row_items], given[At.beyond] = shift, items, behind.any()
    given[At.planes], given[At.plane_items], given[At.weight_bytes] = planes, times.shape[2], times.itemsize
    given[At.weighted] = kernel("simd_count", "count_weighted", engine.name, dtype.itemsize).address
    given[At.step_pairs], given[At.turn_pairs] = len(steps), len(turns)
    held = [times, padding, row_times, turn_times, steps, turns]
    names = (At.toggle_times, At.padding, At.row_times, At.turn_times, At.steps, At.turns)
    given[list(names)] = [address(array) for array in held]
    given[At.zero_times] = given[At.toggle_times] + times.strides[0]
    return held


def _padded(values: np.ndarray, first: int, end: int) -> np.ndarray:
    """values[first:end], zeros behind the last."""
    whole = np.zeros(max(end, len(values)), np.int64)
    whole[: len(values)] = values
    return whole[first:end]


def _pair_table(
    shape: ConvGeometry, dtype: np.dtype, before: np.ndarray, now: np.ndarray, times: np.ndarray, *, single: bool
) -> np.ndarray:
    """Pairs of pixels in padded columns that meet; single: the last channel of one and the first of the other."""
    item, pixel, left = dtype.itemsize, shape.in_channels * dtype.itemsize, shape.padding[1][0]
    table = np.empty((len(before), PAIR_WORDS), np.int64)
    for column, places, within in ((0, before, pixel - item if single else 0), (1, now, 0)):
        inside = (left <= places) & (places < left + shape.in_x)
        table[:, column] = np.where(inside, (places - left) * pixel + within, -1)
    table[:, 2], table[:, 3] = item if single else pixel, times[: len(before)]
    return np.ascontiguousarray(table[table[:, 3] > 0])
