"""What an array and its buffers do for one layer, in closed form: cycles, folds and elements that move.

The three stationary dataflows are one: two loops of the matrix product lie on rows and columns, the third
streams.

| dataflow | rows | columns | streams | cycles of a fold besides the stream |
|---|---|---|---|---|
| weight stationary | K | N | M | R to load, R + C - 2 to fill and drain |
| input stationary  | K | M | N | R to load, R + C - 2 to fill and drain |
| output stationary | M | N | K | R + C - 2 to fill and drain |

Source of the closed forms: SCALE-Sim (Samajdar et al., ISPASS 2020), with its defects removed (see
scalesim.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints, Problems, ceil_div
from accelsim.dataflow.tiles import (
    Tiles,
    Trips,
    innermost_running,
    input_elements,
    m_tile_sum,
    split_sum,
    trips_of,
)


@dataclass(frozen=True)
class Counts:
    """Columns of counts. Each dict maps an operand to elements (not bytes).

    dram_reads/dram_writes cross the DRAM link (and so write/read the operand's buffer);
    array_reads/array_writes go between buffer and array. reduction_span: products summed inside the array
    before the sum meets a buffer.
    """

    cycles: Ints
    folds: Ints
    dram_reads: dict[str, Ints]
    dram_writes: dict[str, Ints]
    array_reads: dict[str, Ints]
    array_writes: dict[str, Ints]
    trips: Trips
    reduction_span: Ints
    outer_additions: Ints  # partial sums added outside the elements
    weights_at_once: Ints  # weight elements that the buffer holds for the array at once
    register_accesses: dict[str, Ints] = field(default_factory=dict)  # of register files, by operand


def dram_traffic(p: Problems, t: Tiles, trips: Trips) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """(reads, writes) of DRAM in elements, whatever the dataflow."""
    outputs = p.m * p.n * p.groups
    reads = {
        "input": input_elements(p, t) * p.groups * trips.input_passes * (1 - p.input_resident),
        "weight": p.k * p.n * p.groups * trips.weight_passes,
        "bias": np.where(p.bias_bits > 0, p.n * p.groups, 0),
        "psum": outputs * trips.psum_spills,
    }
    return reads, {"output": outputs * (1 - p.output_resident), "psum": outputs * trips.psum_spills}


def stationary_counts(p: Problems, t: Tiles, machine: Machine) -> Counts:
    """Counts of a weight-, input- or output-stationary array."""
    trips = trips_of(p, t)
    running = innermost_running(trips, t)
    dataflow, rows, cols = machine.dataflow, machine.rows, machine.cols
    lanes, steps = machine.lanes_and_steps(p)
    window = p.fy * p.fx
    k_row_folds = split_sum(p.c, t.tc, lambda tc: ceil_div(tc * window, rows * lanes))
    n_folds = split_sum(p.n, t.tn, lambda tn: ceil_div(tn, cols))
    zero = np.zeros_like(p.b)
    if dataflow == "weight_stationary":
        row_folds, col_folds, stationary_loop, trip, load = k_row_folds, n_folds, 0, trips.m, rows

        def stream_sum(at_least: Ints) -> Ints:
            return m_tile_sum(p, t, lambda m: np.maximum(m * steps, at_least))

        one_stream, packed = p.m * steps, _packed_groups(p, t, rows * lanes, cols)
    elif dataflow == "input_stationary":
        row_folds, stationary_loop, trip, load = k_row_folds, 1, trips.n, rows
        col_folds = m_tile_sum(p, t, lambda m: ceil_div(m, cols))

        def stream_sum(at_least: Ints) -> Ints:
            return split_sum(p.n, t.tn, lambda n: np.maximum(n * steps, at_least))

        one_stream, packed = p.n * steps, np.ones_like(p.b)
    else:
        row_folds = m_tile_sum(p, t, lambda m: ceil_div(m, rows))
        col_folds, stationary_loop, trip, load = n_folds, 2, trips.k, 0

        def stream_sum(at_least: Ints) -> Ints:
            return split_sum(p.c, t.tc, lambda c: np.maximum(ceil_div(c * window, lanes) * steps, at_least))

        one_stream = split_sum(p.c, t.tc, lambda c: ceil_div(c * window, lanes)) * steps
        packed = np.ones_like(p.b)
    # what lies in the array stays there while only the streaming loop runs and its tile is a single fold
    single = _single_fold(dataflow, p, t, rows, cols, lanes)
    stays = single & ((running == stationary_loop) | (trip == 1))
    visits = np.where(stays, 1, trip)
    packs = ceil_div(p.groups, packed)
    folds = packs * row_folds * col_folds * visits
    skew = load + rows + cols - 2
    streamed = np.where(stays, one_stream, stream_sum(zero))
    apart = packs * row_folds * col_folds * (streamed + visits * skew)
    paced = np.where(stays, np.maximum(one_stream, rows), stream_sum(zero + rows))
    last = _last_stream(dataflow, p, t, lanes, steps, stays, one_stream)
    overlapped = packs * row_folds * col_folds * paced - (np.maximum(last, rows) - last) + skew
    cycles = np.where(machine.overlap_folds, overlapped, apart)
    cycles = np.ceil(cycles / machine.efficiency).astype(np.int64)

    taps = p.b * p.c * p.taps_y * p.taps_x * p.groups
    weights, outputs = p.k * p.n * p.groups, p.m * p.n * p.groups
    if dataflow == "weight_stationary":
        input_reads, weight_reads, sums = taps * col_folds, weights * visits, k_row_folds
    elif dataflow == "input_stationary":
        input_reads, weight_reads, sums = taps * visits, weights * col_folds, k_row_folds
    else:
        input_reads, weight_reads, sums = taps * col_folds, weights * row_folds, visits
    returned = outputs * (sums - 1)
    dram_reads, dram_writes = dram_traffic(p, t, trips)
    inside = np.minimum(t.tc * window, rows * lanes)
    if dataflow == "output_stationary":
        inside = np.where(visits == 1, p.k, t.tc * window)
    return Counts(
        cycles=cycles,
        folds=folds,
        dram_reads=dram_reads,
        dram_writes=dram_writes,
        array_reads={
            "input": input_reads,
            "weight": weight_reads,
            "psum": returned,
            "bias": np.where(p.bias_bits > 0, p.n * p.groups * trips.m, 0),
        },
        array_writes={"psum": returned, "output": outputs},
        trips=trips,
        reduction_span=inside,
        outer_additions=returned,
        weights_at_once=t.tc * window * t.tn,
    )


def _packed_groups(p: Problems, t: Tiles, depth: Ints, cols: Ints) -> Ints:
    """Groups that share a weight-stationary fold as blocks on the diagonal (zero weights elsewhere)."""
    untiled = (t.tc == p.c) & (t.tn == p.n)
    fitting = np.minimum(depth // p.k, cols // p.n)
    return np.where(untiled, np.clip(fitting, 1, p.groups), 1)


def _single_fold(dataflow: str, p: Problems, t: Tiles, rows: Ints, cols: Ints, lanes: Ints) -> Ints:
    """Where a tile's stationary operand fits into the array at once."""
    k_fits = t.tc * p.fy * p.fx <= rows * lanes
    if dataflow == "weight_stationary":
        return k_fits & (t.tn <= cols)
    if dataflow == "input_stationary":
        return k_fits & (t.tm <= cols)
    return (t.tm <= rows) & (t.tn <= cols)


def _last(size: Ints, tile: Ints) -> Ints:
    return np.where(size % tile > 0, size % tile, tile)


def _last_stream(dataflow: str, p: Problems, t: Tiles, lanes: Ints, steps: Ints, stays: Ints, one_stream: Ints) -> Ints:
    """Cycles of the very last fold's stream: nothing has to be loaded behind it."""
    if dataflow == "weight_stationary":
        last = _last(p.b, t.tb) * _last(p.oy, t.ty) * _last(p.ox, t.tx) * steps
    elif dataflow == "input_stationary":
        last = _last(p.n, t.tn) * steps
    else:
        last = ceil_div(_last(p.c, t.tc) * p.fy * p.fx, lanes) * steps
    return np.where(stays, one_stream, last)
