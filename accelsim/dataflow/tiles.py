"""Tiles of a layer that move between DRAM and the buffers: sizes, loop order, and what each operand moves.

Groups are the outermost loop (they share nothing). Inside, three loops over tiles, in any order: m (batch,
output rows and columns), n (filters), k (input channels; the whole filter window stays together).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import permutations, product

import numpy as np

from accelsim.dataflow.problem import Ints, Problems, ceil_div

#: loop orders, outermost first; a tiling names one by its index
ORDERS: tuple[str, ...] = tuple("".join(p) for p in permutations("mnk"))
#: POSITION[order][loop]: depth of loop m, n, k (0, 1, 2), 0 outermost
POSITION = np.array([[order.index(loop) for loop in "mnk"] for order in ORDERS])


@dataclass(frozen=True)
class Tiles:
    """Columns of tile sizes: tb images, ty × tx output pixels, tc channels of a group, tn filters of a group.

    order: index into ORDERS. A tile of several images takes whole images, one of several rows whole rows.
    """

    tb: Ints
    ty: Ints
    tx: Ints
    tc: Ints
    tn: Ints
    order: Ints

    def take(self, index: Ints) -> Tiles:
        return Tiles(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def tm(self) -> Ints:
        """Output pixels of a full tile."""
        return self.tb * self.ty * self.tx


def whole(problems: Problems) -> Tiles:
    """One tile that holds everything."""
    p = problems
    return Tiles(p.b, p.oy, p.ox, p.c, p.n, np.zeros(len(p), dtype=np.int64))


def split_sum(size: Ints, tile: Ints, value: Callable[[Ints], Ints]) -> Ints:
    """Σ value(t) over the tiles of one loop: full tiles, and a smaller last one where it does not divide."""
    full, rest = size // tile, size % tile
    return full * value(tile) + np.where(rest > 0, value(np.maximum(rest, 1)), 0)


def m_tile_sum(p: Problems, t: Tiles, value: Callable[[Ints], Ints]) -> Ints:
    """Σ value(m) over the m tiles, m the output pixels of each."""
    total = np.zeros_like(p.b)
    for parts in product((True, False), repeat=3):
        count, pixels = np.ones_like(p.b), np.ones_like(p.b)
        for is_full, size, tile in zip(parts, (p.b, p.oy, p.ox), (t.tb, t.ty, t.tx), strict=True):
            count = count * (size // tile if is_full else (size % tile > 0))
            pixels = pixels * (tile if is_full else np.maximum(size % tile, 1))
        total = total + count * value(pixels)
    return total


def _series(first: Ints, step: Ints, count: Ints) -> Ints:
    """Σ max(0, first + i·step) for i in 0 … count-1, step > 0."""
    skipped = np.clip(ceil_div(-first, step), 0, count)
    left = count - skipped
    return left * (first + skipped * step) + step * (left * (left - 1) // 2)


def halo_rows(out: Ints, tile: Ints, filt: Ints, stride: Ints, dilation: Ints, pad: Ints, size: Ints) -> Ints:
    """Input rows that all tiles of `tile` output rows read together, overlaps counted each time, padding not.

    Tile i covers padded rows [i·tile·stride - pad, …); the part outside [0, size) is not read.
    """
    full, rest = out // tile, out % tile
    reach = (filt - 1) * dilation + 1
    step = tile * stride
    length = (tile - 1) * stride + reach
    start = -pad
    # Σ length - Σ max(0, -start_i) - Σ max(0, end_i - size), each clipped to the tile's length
    above = _clipped_series(-start, -step, full, length)
    below = _clipped_series(start + length - size, step, full, length)
    rows = full * length - above - below
    last_start = start + full * step
    last_length = (np.maximum(rest, 1) - 1) * stride + reach
    last = np.maximum(0, np.minimum(size, last_start + last_length) - np.maximum(0, last_start))
    return rows + np.where(rest > 0, last, 0)


def _clipped_series(first: Ints, step: Ints, count: Ints, top: Ints) -> Ints:
    """Σ min(top, max(0, first + i·step)), i in 0 … count-1; step of one sign for all."""
    if np.all(step <= 0):
        first, step = first + (count - 1) * step, -step
    return _series(first, step, count) - _series(first - top, step, count)


@dataclass(frozen=True)
class Trips:
    """Of each tiling: trips of the loops, and how often each operand crosses the DRAM link.

    input_passes, weight_passes: times each element is fetched (halos apart); psum_spills: times each partial
    sum leaves for DRAM and returns, less than the k trips by one or 0.
    """

    m: Ints
    n: Ints
    k: Ints
    input_passes: Ints
    weight_passes: Ints
    psum_spills: Ints
    inner: Ints  # which loop (0 m, 1 n, 2 k) is innermost


def trips_of(p: Problems, t: Tiles) -> Trips:
    """An operand stays in its buffer while only loops that do not index it run inside the loops that do."""
    m = ceil_div(p.b, t.tb) * ceil_div(p.oy, t.ty) * ceil_div(p.ox, t.tx)
    n = ceil_div(p.n, t.tn)
    k = ceil_div(p.c, t.tc)
    at_m, at_n, at_k = (POSITION[t.order, i] for i in range(3))
    input_leaves = ((m > 1) & (at_m > at_n)) | ((k > 1) & (at_k > at_n))
    weight_leaves = ((n > 1) & (at_n > at_m)) | ((k > 1) & (at_k > at_m))
    psum_leaves = ((m > 1) & (at_m > at_k)) | ((n > 1) & (at_n > at_k))
    return Trips(
        m,
        n,
        k,
        np.where(input_leaves, n, 1),
        np.where(weight_leaves, m, 1),
        np.where(psum_leaves, k - 1, 0),
        np.argmax(np.stack([at_m, at_n, at_k]), axis=0),
    )


def innermost_running(trips: Trips, t: Tiles) -> Ints:
    """Which loop with more than one trip (0 m, 1 n, 2 k) is innermost; -1 where no loop runs."""
    positions = np.stack(
        [np.where(count > 1, POSITION[t.order, i], -1) for i, count in enumerate((trips.m, trips.n, trips.k))]
    )
    return np.where(positions.max(axis=0) < 0, -1, positions.argmax(axis=0))


def input_elements(p: Problems, t: Tiles) -> Ints:
    """Input elements of one group fetched in one pass over all m and k tiles, overlaps of the tiles included."""
    rows = halo_rows(p.oy, t.ty, p.fy, p.stride_y, p.dilation_y, p.pad_top, p.iy)
    columns = halo_rows(p.ox, t.tx, p.fx, p.stride_x, p.dilation_x, p.pad_left, p.ix)
    return p.b * p.c * rows * columns


def input_tile(p: Problems, t: Tiles) -> Ints:
    """Elements of the largest input tile of one group."""
    rows = np.minimum(p.iy, (t.ty - 1) * p.stride_y + (p.fy - 1) * p.dilation_y + 1)
    columns = np.minimum(p.ix, (t.tx - 1) * p.stride_x + (p.fx - 1) * p.dilation_x + 1)
    return t.tb * t.tc * rows * columns
