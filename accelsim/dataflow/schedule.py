"""Schedules: counts of a layer at given tiles, placed on the memories of a machine, with stalls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelsim.dataflow.counts import Counts, stationary_counts
from accelsim.dataflow.machine import Level, Machine, way_of
from accelsim.dataflow.pipeline import Pipeline, pipeline
from accelsim.dataflow.problem import Ints, Problems
from accelsim.dataflow.row_stationary import row_stationary_counts
from accelsim.dataflow.tiles import Tiles, input_tile


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
    steps: Pipeline

    @property
    def latency_cycles(self) -> Ints:
        return self.compute_cycles + self.stall_cycles


def _rooms(level: Level, whole: Ints, parts: dict[str, Ints]) -> list[tuple[Ints, Ints]]:
    """(bits needed, bits there) of a buffer: as a whole, and of each operand that has ways of its own."""
    shares = level.way_shares
    kept: dict[str, Ints] = {}
    for operand, bits in parts.items():
        home = way_of(operand, shares)
        kept[home] = kept.get(home, 0) + bits
    return [(whole, level.size_bits), *((kept[o], share * level.size_bits) for o, share in shares.items() if o in kept)]


def footprints(p: Problems, t: Tiles, machine: Machine, counts: Counts) -> dict[str, dict[str, Ints]]:
    """Bits that the tiles take in each buffer, by operand: twice where tiles follow each other there; resident
    tensors with the inputs.
    """
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
    taken: dict[str, dict[str, Ints]] = {level.name: {} for level in machine.levels[1:]}
    for operand, count in elements.items():
        level = machine.level_of(operand)
        if operand == "output" and level.name == machine.level_of("psum").name:
            # without double buffering a final output takes the place of its partial sum
            count = np.where(level.double_buffered, count, np.maximum(count - elements["psum"], 0))
        copies = np.where(level.double_buffered & moving.get(operand, False), 2, 1)
        reserved = p.reserved_bits if operand == "input" else 0.0
        taken[level.name][operand] = copies * count * stored[level.name][operand] + reserved
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
        "requantize": outputs * p.requantized,
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
    link, dram = machine.dram, stored[machine.dram.name]
    moved = {
        operand: 8.0
        * sum(
            link.bytes_for(side[operand], dram[operand])
            for side in (counts.dram_reads, counts.dram_writes)
            if operand in side
        )
        for operand in ("input", "weight", "output", "psum", "bias")
    }
    moved["weight"] = moved["weight"] + moved.pop("bias")
    steps = pipeline(p, t, machine, counts.trips, moved, busy)
    by_operand = footprints(p, t, machine, counts)
    footprint = {level: sum(parts.values(), np.zeros(len(p))) for level, parts in by_operand.items()}
    fits = np.all(
        [
            needed <= room
            for level in machine.levels[1:]
            if level.kind == "sram"
            for needed, room in _rooms(level, footprint[level.name], by_operand[level.name])
        ],
        axis=0,
    )
    return Schedules(
        p,
        t,
        counts,
        reads,
        writes,
        counts.cycles,
        steps.latency_cycles - counts.cycles,
        work,
        vector_cycles,
        footprint,
        fits,
        steps,
    )
