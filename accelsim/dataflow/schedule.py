"""Schedules: counts of a layer at given tiles, placed on the memories of a machine, with stalls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelsim.dataflow.counts import Counts, stationary_counts
from accelsim.dataflow.machine import Level, Machine
from accelsim.dataflow.problem import Ints, Problems
from accelsim.dataflow.row_stationary import row_stationary_counts
from accelsim.dataflow.tiles import POSITION, Tiles, input_tile

#: which loops (0 m, 1 n, 2 k) index an operand
_INDEXED_BY = {"input": (0, 2), "weight": (1, 2), "output": (0, 1), "psum": (0, 1)}


@dataclass(frozen=True)
class Schedules:
    """Columns of schedules.

    reads, writes: {memory: {operand: elements}}, every crossing of the memory's port; compute_cycles: of the
    array, fills and drains included; stall_cycles: what waiting for DRAM, buffer ports or the vector unit
    adds; vector_operations: requantizations and row-sum additions; fits: the tiles fit into the buffers.
    """

    problems: Problems
    tiles: Tiles
    counts: Counts
    reads: dict[str, dict[str, Ints]]
    writes: dict[str, dict[str, Ints]]
    compute_cycles: Ints
    stall_cycles: Ints
    vector_operations: dict[str, Ints]
    vector_cycles: Ints
    footprint_bits: dict[str, Ints]
    fits: Ints

    @property
    def latency_cycles(self) -> Ints:
        return self.compute_cycles + self.stall_cycles


def footprints(p: Problems, t: Tiles, machine: Machine, counts: Counts) -> dict[str, Ints]:
    """Bits that the tiles take in each buffer: twice for an operand whose tiles follow each other there."""
    trips, stored = counts.trips, machine.stored(p)
    moving = {
        "input": trips.m * trips.k * p.groups > 1,
        "weight": trips.n * trips.k * p.groups > 1,
        "output": trips.m * trips.n * p.groups > 1,
        "bias": trips.n * p.groups > 1,
    }
    elements = {
        "input": input_tile(p, t) * (1 - p.input_resident),
        "weight": counts.weights_at_once,
        "output": t.tm * t.tn * (1 - p.output_resident),
        "bias": np.where(p.bias_bits > 0, t.tn, 0),
        "psum": _live_sums(t, machine, counts),
    }
    taken: dict[str, Ints] = {level.name: np.zeros(len(p)) for level in machine.levels[1:]}
    taken[machine.level_of("input").name] = taken[machine.level_of("input").name] + p.reserved_bits
    for operand, count in elements.items():
        level = machine.level_of(operand)
        if operand == "output" and level.name == machine.level_of("psum").name:
            # without double buffering a final output takes the place of its partial sum
            count = np.where(level.double_buffered, count, np.maximum(count - elements["psum"], 0))
        copies = np.where(level.double_buffered & moving.get(operand, False), 2, 1)
        taken[level.name] = taken[level.name] + copies * count * stored[level.name][operand]
    return taken


def _live_sums(t: Tiles, machine: Machine, counts: Counts) -> Ints:
    """Partial sums that wait in their buffer at once: a column of folds, or a whole tile between k tiles."""
    per_fold = {
        "weight_stationary": t.tm * np.minimum(t.tn, machine.cols),
        "input_stationary": np.minimum(t.tm, machine.cols) * t.tn,
    }.get(machine.dataflow, t.tm * t.tn)
    waiting = np.where(counts.trips.k > 1, t.tm * t.tn, per_fold)
    return np.where(counts.array_writes["psum"] > 0, waiting, 0)


def vector_work(p: Problems) -> dict[str, Ints]:
    """Operations of the vector unit beside the array, by purpose.

    Requantization: one per output. Row sums of asymmetric weights: every input of a group is added once over
    its channels, each output pixel adds its window of those sums, and each output subtracts z_w times the
    sum.
    """
    outputs = p.m * p.n * p.groups
    inputs = p.b * p.iy * p.ix * p.c * p.groups
    sums = inputs + p.b * p.taps_y * p.taps_x * p.groups + outputs
    return {
        "requantize": np.where(p.requantized > 0, outputs, 0),
        "row_sums": np.where(p.asymmetric > 0, sums, 0),
    }


def schedules(p: Problems, t: Tiles, machine: Machine) -> Schedules:
    """Counts and cycles of each row of p with the tiles of the same row of t."""
    count = row_stationary_counts if machine.dataflow == "row_stationary" else stationary_counts
    counts = count(p, t, machine)
    stored = machine.stored(p)
    reads: dict[str, dict[str, Ints]] = {level.name: {} for level in machine.levels}
    writes: dict[str, dict[str, Ints]] = {level.name: {} for level in machine.levels}

    def add(side: dict[str, dict[str, Ints]], level: Level, operand: str, elements: Ints) -> None:
        side[level.name][operand] = side[level.name].get(operand, 0) + elements

    for operand, elements in counts.dram_reads.items():
        add(reads, machine.dram, operand, elements)
        add(writes, machine.level_of(operand), operand, elements)
    for operand, elements in counts.dram_writes.items():
        add(writes, machine.dram, operand, elements)
        add(reads, machine.level_of(operand), operand, elements)
    for operand, elements in counts.array_reads.items():
        add(reads, machine.level_of(operand), operand, elements)
    for operand, elements in counts.array_writes.items():
        add(writes, machine.level_of(operand), operand, elements)

    work = vector_work(p)
    vector_cycles = -(-(work["requantize"] + work["row_sums"]) // machine.vector_lanes)
    busy = np.maximum(counts.cycles, vector_cycles)
    for level in machine.levels[1:]:
        moved = sum(
            side[level.name].get(operand, 0) * stored[level.name][operand]
            for side in (reads, writes)
            for operand in side[level.name]
        )
        busy = np.maximum(busy, np.ceil(moved / level.bits_per_cycle).astype(np.int64))
    latency = np.maximum(busy, _latency(p, t, machine, counts, busy))
    footprint = footprints(p, t, machine, counts)
    fits = np.all(
        [footprint[level.name] <= level.size_bits for level in machine.levels[1:] if level.kind == "sram"],
        axis=0,
    )
    return Schedules(
        p,
        t,
        counts,
        reads,
        writes,
        counts.cycles,
        latency - counts.cycles,
        work,
        vector_cycles,
        footprint,
        fits,
    )


def _latency(p: Problems, t: Tiles, machine: Machine, counts: Counts, busy: Ints) -> Ints:
    """Cycles with the DRAM link: every step of the tile loops takes the longer of its work and its transfers.

    Steps are of four kinds by the outermost loop that advances (group, outer, middle, inner); an operand
    moves when a loop that indexes it advances or restarts. Without double buffering work and transfers add
    up. The first tiles arrive before work starts and the last leaves after it ends.
    """
    dram, trips = machine.dram, counts.trips
    stored = machine.stored(p)[dram.name]
    count = np.stack([trips.m, trips.n, trips.k])
    position = POSITION[t.order].T  # position[loop] in 0 (outermost) … 2
    ordered = np.stack(
        [np.take_along_axis(count, np.argsort(position, axis=0)[i : i + 1], axis=0)[0] for i in range(3)]
    )
    outer, middle, inner = ordered
    steps = [
        p.groups,
        p.groups * (outer - 1),
        p.groups * outer * (middle - 1),
        p.groups * outer * middle * (inner - 1),
    ]
    moved = {
        o: dram.bytes_for(counts.dram_reads.get(o, 0) + counts.dram_writes.get(o, 0), stored[o]) * 8.0
        for o in ("input", "weight", "output", "psum", "bias")
    }
    moved["weight"] = moved["weight"] + moved["bias"]
    load = [np.zeros(len(p)) for _ in steps]
    first = np.zeros(len(p))
    for operand, loops in _INDEXED_BY.items():
        changes = []
        for kind in range(4):
            advancing = kind - 1  # position of the loop that advances; -1: the group
            changed = np.full(len(p), kind == 0)
            for loop in loops:
                changed |= (position[loop] == advancing) | ((position[loop] > advancing) & (count[loop] > 1))
            changes.append(changed)
        times = sum(n * c for n, c in zip(steps, changes, strict=True))
        tile = moved[operand] / np.maximum(times, 1)
        for kind in range(4):
            load[kind] = load[kind] + np.where(changes[kind], tile, 0)
        first = first + np.where(operand == "psum", 0, tile)
    total = sum(steps)
    work = busy / total
    overlapped = (
        sum(n * np.maximum(work, bits_ / dram.bits_per_cycle) for n, bits_ in zip(steps, load, strict=True))
        + first / dram.bits_per_cycle
    )
    buffered = np.all([level.double_buffered for level in machine.levels[1:] if level.kind == "sram"], axis=0)
    apart = busy + sum(moved[o] for o in _INDEXED_BY) / dram.bits_per_cycle
    return np.ceil(np.where(buffered, np.minimum(overlapped, apart), apart)).astype(np.int64)
