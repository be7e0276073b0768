"""How transfers and work follow each other: the steps of the tile loops, under double buffering or one after
the other, through the DMA engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints, Problems
from accelsim.dataflow.tiles import POSITION, Tiles, Trips

#: which loops (0 m, 1 n, 2 k) index an operand
_INDEXED_BY = {"input": (0, 2), "weight": (1, 2), "output": (0, 1), "psum": (0, 1)}
#: kinds of steps, by the outermost loop that advances
KINDS = ("group", "outer", "middle", "inner")


@dataclass(frozen=True)
class Pipeline:
    """Columns of the steps of each schedule, one kind of step after the other (`KINDS`).

    count: steps of a kind; load_cycles, load_bytes: what a step of it moves over the DRAM link; trips: groups and
    the trips of the outer, middle and inner loop. work_cycles: of each step, the longest of array, buffer ports
    and vector unit. lead_in, drain (cycles, bytes): before the first step's work and after the last one's.
    overlapped: transfers run behind work; else the two add up. latency_cycles: of the whole.
    """

    count: tuple[Ints, ...]
    load_cycles: tuple[Ints, ...]
    load_bytes: tuple[Ints, ...]
    trips: tuple[Ints, ...]
    work_cycles: Ints
    lead_in: tuple[Ints, Ints]
    drain: tuple[Ints, Ints]
    overlapped: Ints
    latency_cycles: Ints

    def row(self, index: int) -> LayerSteps:
        """One schedule's steps as plain numbers."""

        def each(columns: tuple[Ints, ...], kind: Any = float) -> tuple[Any, ...]:
            return tuple(kind(column[index]) for column in columns)

        return LayerSteps(
            each(self.load_cycles),
            each(self.load_bytes),
            each(self.trips, int),
            float(self.work_cycles[index]),
            each(self.lead_in),
            each(self.drain),
            bool(self.overlapped[index]),
        )


@dataclass(frozen=True)
class LayerSteps:
    """The steps of one layer; fields as in `Pipeline`."""

    load_cycles: tuple[float, ...]
    load_bytes: tuple[float, ...]
    trips: tuple[int, ...]
    work_cycles: float
    lead_in: tuple[float, float]
    drain: tuple[float, float]
    overlapped: bool

    @property
    def count(self) -> int:
        groups, outer, middle, inner = self.trips
        return groups * outer * middle * inner

    def kinds_between(self, first: int, last: int) -> tuple[int, int, int, int]:
        """How many steps of each of `KINDS` are in first … last - 1; beyond the end a new group begins."""
        _, outer, middle, inner = self.trips
        periods = (outer * middle * inner, middle * inner, inner, 1)
        restarts = [-(-last // period) - -(-first // period) for period in periods]
        group, *rest = restarts
        return (group, rest[0] - group, rest[1] - rest[0], rest[2] - rest[1])


def transfer_cycles(size_bits: Ints, machine: Machine) -> Ints:
    """Cycles that one transfer keeps the link: its bits, or its share of the set-up that outstanding transfers
    do not hide; nothing where nothing moves.
    """
    moving = size_bits / machine.dram.bits_per_cycle
    kept = np.maximum(moving, (machine.dma_setup_cycles + moving) / machine.dma_outstanding)
    return np.where(size_bits > 0, kept, 0.0)


def pipeline(
    p: Problems, t: Tiles, machine: Machine, trips: Trips, moved_bits: dict[str, Ints], busy: Ints
) -> Pipeline:
    """Steps and latency of schedules: every step takes the longer of its work and its transfers.

    An operand moves when a loop that indexes it advances or restarts. The first tiles arrive before work starts
    and the last leaves after it ends. Without double buffering, and where it is quicker, work and transfers
    follow each other. moved_bits: over the DRAM link, by operand; busy: cycles of array, ports or vector unit.
    """
    count = np.stack([trips.m, trips.n, trips.k])
    position = POSITION[t.order].T  # position[loop] in 0 (outermost) … 2
    places = np.argsort(position, axis=0)
    outer, middle, inner = (np.take_along_axis(count, places[i : i + 1], axis=0)[0] for i in range(3))
    steps = (
        p.groups,
        p.groups * (outer - 1),
        p.groups * outer * (middle - 1),
        p.groups * outer * middle * (inner - 1),
    )
    zero = np.zeros(len(p))
    load, bits = [zero for _ in KINDS], [zero for _ in KINDS]
    ends = {"input": (zero, zero), "output": (zero, zero)}
    serial = zero
    for operand, loops in _INDEXED_BY.items():
        changes = []
        for kind in range(len(KINDS)):
            advancing = kind - 1  # position of the loop that advances; -1: the group
            changed = np.full(len(p), kind == 0)
            for loop in loops:
                changed |= (position[loop] == advancing) | ((position[loop] > advancing) & (count[loop] > 1))
            changes.append(changed)
        times = np.maximum(sum(n * c for n, c in zip(steps, changes, strict=True)), 1)
        tile = moved_bits[operand] / times
        cycles = transfer_cycles(tile, machine)
        for kind, changed in enumerate(changes):
            load[kind] = load[kind] + np.where(changed, cycles, 0)
            bits[kind] = bits[kind] + np.where(changed, tile, 0)
        serial = serial + times * cycles
        if operand != "psum":
            end = "output" if operand == "output" else "input"
            ends[end] = (ends[end][0] + cycles, ends[end][1] + tile / 8)
    work = busy / sum(steps)
    hidden = sum(n * np.maximum(work, cycles) for n, cycles in zip(steps, load, strict=True))
    hidden = hidden + ends["input"][0] + ends["output"][0]
    apart = busy + serial
    buffered = np.all([level.double_buffered for level in machine.levels[1:] if level.kind == "sram"], axis=0)
    overlapped = buffered & (hidden <= apart)
    latency = np.ceil(np.where(overlapped, hidden, apart)).astype(np.int64)
    return Pipeline(
        steps,
        tuple(load),
        tuple(b / 8 for b in bits),
        (p.groups, outer, middle, inner),
        work,
        ends["input"],
        ends["output"],
        overlapped,
        np.maximum(busy, latency),
    )
