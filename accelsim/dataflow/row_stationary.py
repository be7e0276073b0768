"""Row stationary (Eyeriss): an element keeps a filter row and slides an input row past it.

A set of fy × e elements computes e output rows; sets stack into the array, r of them on different channels
(their sums add up inside the array) and t on different filters. An element interleaves q channels and p
filters, as many as its register files hold. Partial sums of a tile wait in the buffer and pass once per r·q
channels. Source of the mapping: Chen et al., ISCA 2016 and JSSC 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelsim.dataflow.counts import Counts, dram_traffic
from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints, Problems, ceil_div
from accelsim.dataflow.tiles import Tiles, halo_rows, split_sum, trips_of


@dataclass(frozen=True)
class Sets:
    """The field's names: e output rows of a set, r sets on channels, t on filters, q channels and p filters
    of an element, folds of filters with more rows than the array.
    """

    e: Ints
    r: Ints
    t: Ints
    q: Ints
    p: Ints
    folds: Ints


def sets_of(p: Problems, t: Tiles, machine: Machine) -> Sets:
    """How a tile is laid on the array. The input registers hold a window of fx per channel and one value in
    transit: Eyeriss's published buffer traffic shows 3 channels of 3-wide windows in 12 words, not 4."""
    inputs, weights, sums = (machine.registers_of(operand) for operand in ("input", "weight", "psum"))
    folds = ceil_div(p.fy, machine.rows)
    stacks = np.maximum(machine.rows // p.fy, 1)
    e = _even_strip(t.ty, stacks * machine.cols)
    count = np.where(e > machine.cols, stacks // ceil_div(e, machine.cols), stacks * (machine.cols // e))
    count = np.maximum(count, 1)
    q_most = np.maximum((inputs - 1) // p.fx, 1)
    r = np.minimum(count, ceil_div(t.tc, q_most))
    q = np.minimum(ceil_div(t.tc, r), q_most)
    filters_at = np.maximum(count // r, 1)
    p_most = np.maximum(np.minimum(sums, weights // (q * p.fx)), 1)
    passes = ceil_div(t.tn, p_most * filters_at)
    return Sets(e, r, filters_at, q, ceil_div(t.tn, filters_at * passes), folds)


def _even_strip(rows: Ints, most: Ints) -> Ints:
    """The largest divisor of `rows` that is at most `most`: strips of a tile are equal."""
    strip, parts = np.where(rows <= most, rows, 0), 2
    while np.any(strip == 0):
        fits = (strip == 0) & (rows % parts == 0) & (rows // parts <= most)
        strip, parts = np.where(fits, rows // parts, strip), parts + 1
    return strip


def row_stationary_counts(p: Problems, t: Tiles, machine: Machine) -> Counts:
    """Counts of a row-stationary array. Loading the weights of a pass is not hidden unless folds overlap."""
    lanes, steps = machine.lanes_and_steps(p)
    s, trips = sets_of(p, t, machine), trips_of(p, t)
    channel_passes = split_sum(p.c, t.tc, lambda tc: ceil_div(tc, s.r * s.q))
    filter_passes = split_sum(p.n, t.tn, lambda tn: ceil_div(tn, s.p * s.t))
    strips = split_sum(p.oy, t.ty, lambda ty: ceil_div(ty, s.e))
    passes = p.groups * channel_passes * filter_passes
    per_row = ceil_div(s.q * p.fx, lanes) * s.p * steps
    work = passes * strips * p.b * p.ox * per_row * s.folds
    outputs, weights = p.m * p.n * p.groups, p.k * p.n * p.groups
    weight_reads = weights * strips * ceil_div(p.b, t.tb) * ceil_div(p.ox, t.tx)
    load = np.where(machine.overlap_folds, 0, ceil_div(weight_reads * p.weight_bits, machine.load_bits_per_cycle))
    rows = halo_rows(p.oy, s.e, p.fy, p.stride_y, p.dilation_y, p.pad_top, p.iy)
    columns = halo_rows(p.ox, t.tx, p.fx, p.stride_x, p.dilation_x, p.pad_left, p.ix)
    inputs = p.b * p.c * p.groups * rows * columns
    returned = outputs * (channel_passes - 1)
    dram_reads, dram_writes = dram_traffic(p, t, trips)
    return Counts(
        cycles=np.ceil((work + load) / machine.efficiency).astype(np.int64),
        folds=passes * strips * s.folds,
        dram_reads=dram_reads,
        dram_writes=dram_writes,
        array_reads={
            "input": inputs * filter_passes,
            "weight": weight_reads,
            "psum": returned,
            "bias": np.where(p.bias_bits > 0, p.n * p.groups * trips.m, 0),
        },
        array_writes={"psum": returned, "output": outputs},
        trips=trips,
        reduction_span=np.minimum(s.r * s.q, t.tc) * p.fy * p.fx,
        outer_additions=returned,
        weights_at_once=s.p * s.t * s.r * s.q * p.fx * np.minimum(p.fy, machine.rows),
        register_accesses={"input": p.macs, "weight": p.macs, "psum": 2 * p.macs},
    )
