"""Runs the general accumulator walk band by band: unfolds a few output rows, walks them, goes on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from accelsim_kernels._jit import kernel
from accelsim_kernels._threads import run
from accelsim_kernels.arguments import Accumulator, ConvGeometry

#: outputs that mac_walk holds at a time, and the flags it sets
LANES = 64
EVENT, FATAL = 1, 2
#: operands unfolded at a time, in elements: bounds the extra memory
BAND_ITEMS = 1 << 18
#: a bias below this, the correction of zero points and all products together stay within int64
_FAR = 1 << 61


def bands(shape: ConvGeometry, items: int = BAND_ITEMS) -> Iterator[tuple[int, int, int]]:
    """(image, first, end) of output rows whose unfolded windows hold about `items` operands."""
    step = max(1, items // max(1, shape.out_x * shape.depth))
    for image in range(shape.batch):
        for first in range(0, shape.out_y, step):
            yield image, first, min(first + step, shape.out_y)


def windows(
    x: np.ndarray, shape: ConvGeometry, band: tuple[int, int, int], group: int, fill: int, subtract: int
) -> np.ndarray:
    """The activations of a band of outputs, minus `subtract`: int32 (outputs, depth) in (fy, fx, c) order."""
    image, begin, end = band
    (top, _), (left, right) = shape.padding
    first = begin * shape.stride[0] - top
    height = (end - begin - 1) * shape.stride[0] + (shape.fy - 1) * shape.dilation[0] + 1
    channels = slice(group * shape.group_channels, (group + 1) * shape.group_channels)
    strip = np.full((height, shape.in_x + left + right, shape.group_channels), fill - subtract, np.int32)
    low, high = max(first, 0), min(first + height, shape.in_y)
    if low < high:
        inside = strip[low - first : high - first, left : left + shape.in_x]
        np.subtract(x[image, low:high, :, channels], subtract, out=inside, dtype=np.int32)
    row, column, item = strip.strides
    view = np.lib.stride_tricks.as_strided(
        strip,
        (end - begin, shape.out_x, shape.fy, shape.fx, shape.group_channels),
        (row * shape.stride[0], column * shape.stride[1], row * shape.dilation[0], column * shape.dilation[1], item),
    )
    return np.ascontiguousarray(view.reshape((end - begin) * shape.out_x, shape.depth))


def weight_columns(w: np.ndarray, shape: ConvGeometry, group: int, zw: np.ndarray) -> np.ndarray:
    """The weights of a group minus zw: int32 (depth, outputs of the group), C-contiguous."""
    per_group = shape.out_channels // shape.groups
    own = slice(group * per_group, (group + 1) * per_group)
    taken = w[own].reshape(per_group, shape.depth).astype(np.int32) - zw[own, None].astype(np.int32)
    return np.ascontiguousarray(taken.T)


def level_table(how: Accumulator) -> np.ndarray:
    """(minimum, maximum, saturates, raises, span) of each level, for mac_walk."""
    return np.array(
        [
            (
                level.minimum,
                level.maximum,
                level.overflow == "saturate",
                level.overflow == "raise",
                level.span or 1 << 62,
            )
            for level in how.levels
        ],
        np.int64,
    )


def walk(
    x: np.ndarray, w: np.ndarray, shape: ConvGeometry, zx: int, zw: np.ndarray, bias: np.ndarray, how: Accumulator
) -> Iterator[tuple[tuple[int, int, int], slice, np.ndarray, np.ndarray]]:
    """Yield (band, output channels, int64 values, uint8 flags), arrays (outputs, channels), of every band and group."""
    folded = how.zero_point_at == "folded"
    levels = level_table(how)
    per_group = shape.out_channels // shape.groups
    wide = how.levels[-1].bits == 64 or (bool(bias.size) and not -_FAR < bias.min() <= bias.max() < _FAR)
    weights = []
    for group in range(shape.groups):
        own = slice(group * per_group, (group + 1) * per_group)
        b = weight_columns(w, shape, group, np.zeros_like(zw) if folded else zw)
        fixed = np.zeros(per_group, np.int64)
        if folded:
            fixed += shape.depth * zx * zw[own] - zx * b.sum(axis=0, dtype=np.int64)
        weights.append((own, b, bias[own].copy(), fixed))
    for band in bands(shape):
        for group, (own, b, start, fixed) in enumerate(weights):
            a = windows(x, shape, band, group, zx, 0 if folded else zx)
            sums = a.sum(axis=1, dtype=np.int64) if folded else np.zeros(len(a), np.int64)
            factor = zw[own] if folded else np.zeros(per_group, np.int64)
            values, flags = _walk((a, b, start, sums, np.ascontiguousarray(factor)), fixed, levels, how, wide)
            yield band, own, values, flags


def _walk(
    operands: tuple[np.ndarray, ...],
    fixed: np.ndarray,
    levels: np.ndarray,
    how: Accumulator,
    wide: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """operands: a, b, bias, row terms and column factors, as mac_walk takes them."""
    a, b = operands[:2]
    rows, columns = a.shape[0], b.shape[1]
    values, flags = np.empty((rows, columns), np.int64), np.empty((rows, columns), np.uint8)
    items = len(levels) * LANES

    def job(workers: int) -> tuple[np.ndarray, list[np.ndarray]]:
        scratch = np.empty(workers * items, np.int64)
        held = [*operands, values, flags, levels, scratch, fixed]
        addresses = [array.ctypes.data for array in held]
        given = np.array(
            [
                *addresses[:8],
                len(levels),
                rows,
                a.shape[1],
                columns,
                how.group,
                how.bias_at == "after",
                addresses[8],
                items,
                addresses[9],
            ],
            np.int64,
        )
        return given, held

    run(kernel("mac_walk", "walk_rows", wide), job, work=rows * columns * a.shape[1])
    return values, flags
