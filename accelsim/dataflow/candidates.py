"""Tile sizes worth trying for each layer, and a the best among them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints, Problems
from accelsim.dataflow.schedule import Schedules, schedules
from accelsim.dataflow.tiles import ORDERS, Tiles
from accelsim.errors import AccelsimError

#: loops up to this long try every tile size: small layers are searched exhaustively
EVERY_SIZE_UP_TO = 8
#: of longer loops, at most this many sizes
SIZES = 10
#: orders that differ in which operand stays: the others move the same elements
SEARCHED_ORDERS = tuple(ORDERS.index(order) for order in ("mnk", "mkn", "nkm"))


def tile_sizes(size: int, grain: int, limit: int = SIZES) -> list[int]:
    """Sizes for a loop of `size`: all of them where it is short, else the evenest split for each number of
    tiles, and that rounded up to whole folds of `grain`, thinned geometrically to about `limit`.
    """
    if size <= EVERY_SIZE_UP_TO:
        return list(range(1, size + 1))
    trips = sorted({max(1, round(size ** (i / (limit - 1)))) for i in range(limit)})
    even = {-(-size // n) for n in trips}
    whole = {min(size, -(-e // grain) * grain) for e in even}
    return sorted(even | whole)


def candidates_of(p: Problems, row: int, machine: Machine, limit: int = SIZES) -> np.ndarray:
    """All candidate tiles of one layer: columns tb, ty, tx, tc, tn, order."""
    b, oy, ox, c, n = (int(getattr(p, name)[row]) for name in ("b", "oy", "ox", "c", "n"))
    window = int(p.fy[row] * p.fx[row])
    rows, cols = int(np.max(machine.rows)), int(np.max(machine.cols))
    depth = cols if machine.dataflow == "output_stationary" else rows
    pixels = [(b, oy, ox)]
    pixels += [(tb, oy, ox) for tb in tile_sizes(b, 1, limit) if tb < b]
    pixels += [(1, ty, ox) for ty in tile_sizes(oy, 1, limit) if ty < oy]
    pixels += [(1, 1, tx) for tx in tile_sizes(ox, 1, limit) if tx < ox]
    channels = tile_sizes(c, max(1, depth // window), limit)
    filters = tile_sizes(n, cols, limit)
    grid = np.array(
        [(*pixel, tc, tn) for pixel in dict.fromkeys(pixels) for tc in channels for tn in filters],
        dtype=np.int64,
    )
    orders = np.array(SEARCHED_ORDERS, dtype=np.int64)
    return np.column_stack([np.repeat(grid, len(orders), axis=0), np.tile(orders, len(grid))])


def tiles_from(table: np.ndarray) -> Tiles:
    return Tiles(*(np.ascontiguousarray(table[:, i]) for i in range(6)))


def all_candidates(p: Problems, machine: Machine, names: Iterable[str]) -> tuple[Schedules, Ints]:
    """(schedules of every candidate that fits, the row of p each belongs to).

    Raises AccelsimError that names the layer whose smallest tile does not fit into the buffers.
    """
    tables = [candidates_of(p, row, machine) for row in range(len(p))]
    index = np.repeat(np.arange(len(p)), [len(table) for table in tables])
    plan = schedules(p.take(index), tiles_from(np.concatenate(tables)), machine)
    for row, name in enumerate(names):
        if not plan.fits[index == row].any():
            least = {
                level: float(np.min(need[index == row])) / 8 for level, need in plan.footprint_bits.items()
            }
            sizes = {level.name: int(np.max(level.size_bits)) // 8 for level in machine.levels[1:]}
            raise AccelsimError(
                f"layer {name!r} does not fit on chip: its smallest tiles need {least} bytes "
                f"of buffers that hold {sizes}; enlarge the buffer"
            )
    return plan, index


def best_rows(index: Ints, fits: Ints, *keys: Ints) -> Ints:
    """For each layer, the position of its candidate that fits and is least by the keys, first key first."""
    order = np.lexsort((*reversed(keys), ~fits, index))
    first = np.ones(len(order), dtype=bool)
    first[1:] = index[order][1:] != index[order][:-1]
    return order[first]
