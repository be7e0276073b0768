"""Tile sizes worth trying for each layer, and the best of candidates under any keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints, Problems
from accelsim.dataflow.schedule import Schedules, schedules
from accelsim.dataflow.tiles import ORDERS, Tiles
from accelsim.errors import AccelsimError

#: tile shapes per layer; a layer with up to ten times as many tilings is searched exhaustively
BUDGET = 2000


def every_size(size: int, grain: int) -> list[int]:
    """All tile sizes of a loop."""
    return list(range(1, size + 1))


def even_sizes(size: int, grain: int, limit: int | None = None) -> list[int]:
    """For each number of tiles the evenest split (the least room for that number), and that rounded up to
    whole folds of `grain`; at most about `limit` numbers of tiles, spread geometrically.
    """
    if limit is None:
        trips = {-(-size // tile) for tile in range(1, size + 1)}
    else:
        trips = {max(1, round(size ** (i / max(1, limit - 1)))) for i in range(limit)}
    even = {-(-size // n) for n in trips}
    return sorted(even | {min(size, -(-e // grain) * grain) for e in even})


def _pixels(b: int, oy: int, ox: int, sizes: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Tiles of whole images, of whole rows of one image, or of pixels of one row."""
    of_b, of_y, of_x = sizes
    shapes = [(tb, oy, ox) for tb in of_b] + [(1, ty, ox) for ty in of_y] + [(1, 1, tx) for tx in of_x]
    return list(dict.fromkeys(shapes))


def candidates_of(p: Problems, row: int, machine: Machine, budget: int = BUDGET) -> np.ndarray:
    """Candidate tiles of one layer: columns tb, ty, tx, tc, tn, order.

    Every tile there is where those are up to ten times the budget; else every size of whole images, rows or
    pixels; else the even splits; else the even splits of fewer and fewer numbers of tiles. All loop orders
    where sizes are exhausted; else the three that differ in what stays.
    """
    b, oy, ox, _c, _n = bounds = tuple(int(getattr(p, name)[row]) for name in ("b", "oy", "ox", "c", "n"))
    if machine.dataflow == "row_stationary":
        return _row_stationary(p, row, machine)
    if len(ORDERS) * math.prod(bounds) <= 10 * budget:
        return exhaustive_of(p, row)
    rows, cols = int(np.max(machine.rows)), int(np.max(machine.cols))
    depth = cols if machine.dataflow == "output_stationary" else rows
    grains = (1, 1, 1, max(1, depth // int(p.fy[row] * p.fx[row])), cols)
    sizes = [every_size(size, grain) for size, grain in zip(bounds, grains, strict=True)]
    orders, limit = list(range(len(ORDERS))), 16
    while len(pixels := _pixels(b, oy, ox, sizes[:3])) * len(sizes[3]) * len(sizes[4]) > budget:
        chosen = None if len(orders) == len(ORDERS) else limit
        sizes = [even_sizes(size, grain, chosen) for size, grain in zip(bounds, grains, strict=True)]
        limit, orders = limit - (chosen is not None), [ORDERS.index(order) for order in ("mnk", "mkn", "nkm")]
        if limit < 3:
            break
    shape = np.array([(*pixel, tc, tn) for pixel in pixels for tc in sizes[3] for tn in sizes[4]], dtype=np.int64)
    return np.column_stack([np.repeat(shape, len(orders), axis=0), np.tile(np.array(orders), len(shape))])


def _row_stationary(p: Problems, row: int, machine: Machine) -> np.ndarray:
    """Tiles of a row-stationary array: the channels of one pass after the other while the sums wait in the
    buffer, as its control does it; so channel tiles are what the elements hold, and the channel loop is
    innermost.
    """
    b, oy, ox, c, n, fy, fx = (int(getattr(p, name)[row]) for name in ("b", "oy", "ox", "c", "n", "fy", "fx"))
    rows, cols = int(np.max(machine.rows)), int(np.max(machine.cols))
    q_most = max(1, (int(np.max(machine.registers_of("input"))) - 1) // fx)
    stacks = max(1, rows // fy) * cols
    channels = sorted({min(c, q * r) for q in (q_most, min(q_most, c)) for r in range(1, stacks + 1)})
    heights = sorted({ty for ty in even_sizes(oy, 1) if ty <= max(1, rows // fy) * cols} | {oy})
    pixels = [(tb, ty, ox) for tb in even_sizes(b, 1) for ty in heights]
    pixels += [(1, 1, tx) for tx in even_sizes(ox, 1, 6) if tx < ox]
    order = ORDERS.index("mnk")
    return np.array(
        [(*pixel, tc, tn, order) for pixel in pixels for tc in channels for tn in even_sizes(n, 16, 16)],
        dtype=np.int64,
    )


def exhaustive_of(p: Problems, row: int) -> np.ndarray:
    """Every tile size in every loop order, tiles of several images, rows and columns in all combinations."""
    bounds = [int(getattr(p, name)[row]) for name in ("b", "oy", "ox", "c", "n")]
    axes = [np.arange(1, bound + 1) for bound in bounds] + [np.arange(len(ORDERS))]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 6).astype(np.int64)


def tiles_from(table: np.ndarray) -> Tiles:
    """Columns from rows of tb, ty, tx, tc, tn, order."""
    return Tiles(*(np.ascontiguousarray(table[:, i]) for i in range(6)))


def all_candidates(p: Problems, machine: Machine, names: Iterable[str], budget: int = BUDGET) -> tuple[Schedules, Ints]:
    """(schedules of every candidate, the row of p each belongs to).

    Raises AccelsimError that names the layer whose smallest tile does not fit into the buffers.
    """
    tables = [candidates_of(p, row, machine, budget) for row in range(len(p))]
    index = np.repeat(np.arange(len(p)), [len(table) for table in tables])
    plan = schedules(p.take(index), tiles_from(np.concatenate(tables)), machine)
    for row, name in enumerate(names):
        if not plan.fits[index == row].any():
            least = {level: float(np.min(need[index == row])) / 8 for level, need in plan.footprint_bits.items()}
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
