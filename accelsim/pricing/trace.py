"""A cost report as a timeline in the Chrome trace event format, which Perfetto and chrome://tracing open.

Tracks: layers, DMA (the DRAM link), array, vector unit; counters: power, and the bytes in use of each buffer.
Times are modeled. A layer is drawn tile by tile: while one tile is worked on, the next one's operands arrive.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelsim.pricing.costs import CostReport, LayerCost

TRACKS = ("layers", "DMA", "array", "vector unit")
POWER = "power"
#: steps of a layer that are drawn one by one; more are drawn in blocks of neighbours
MOST_STEPS = 256


@dataclass(frozen=True)
class _Slot:
    """Some consecutive steps of a layer: cycles from the layer's start, transfers, and work."""

    start: float
    length: float
    transfer_at: float
    transfer: float
    transfer_bytes: float
    work_at: float
    steps: int
    first: int


def trace_events(report: CostReport) -> dict[str, Any]:
    """The trace as plain data: times in microseconds, energies in pJ, sizes in bytes, cycles as they are.

    The args of the "layers" track carry each layer's cycles, energy and DRAM bytes: their sums are the report's. So
    are the sums of bytes on the DMA track, of cycles on the array and vector tracks, and power over time.
    """
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": f"accelsim: {report.spec.name}"}}
    ]
    for track, name in enumerate(TRACKS):
        about: dict[str, Any] = {"ph": "M", "pid": 1, "tid": track + 1}
        events.append({**about, "name": "thread_name", "args": {"name": name}})
        events.append({**about, "name": "thread_sort_index", "args": {"sort_index": track}})
    start = 0
    for layer in report.layers:
        if layer.latency_cycles:
            events += _Layer(report, layer, start).events()
            start += layer.latency_cycles
    end = _nanoseconds(start, report)
    events.append(_counter(POWER, end, "mW", 0.0))
    events += [_counter(f"{m.name} in use", end, "bytes", 0.0) for m in report.spec.memories[1:] if m.kind == "sram"]
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"clock_hz": report.spec.clock_hz}}


def save_trace(report: Any, path: str | Path) -> Path:
    """Write `trace_events` of a CostReport, or of the report around one, as JSON: whole or not at all."""
    report = getattr(report, "cost", report)
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(trace_events(report), file, allow_nan=False)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target


def _nanoseconds(cycles: float, report: CostReport) -> int:
    """Whole ones: readers know nothing finer, and slices rounded apart from each other would overlap."""
    return round(cycles / report.spec.clock_hz * 1e9)


def _counter(name: str, at_ns: int, unit: str, value: float) -> dict[str, Any]:
    return {"ph": "C", "pid": 1, "name": name, "ts": at_ns / 1e3, "args": {unit: value}}


@dataclass(frozen=True)
class _Layer:
    """Draws one layer that starts at a cycle."""

    report: CostReport
    layer: LayerCost
    start: int

    def slice_(self, track: str, at: float, length: float, name: str = "", **args: Any) -> Iterator[dict[str, Any]]:
        if length > 0:
            begin, end = (_nanoseconds(self.start + place, self.report) for place in (at, at + length))
            yield {
                "ph": "X",
                "pid": 1,
                "tid": TRACKS.index(track) + 1,
                "name": name or self.layer.name,
                "cat": self.layer.op_kind,
                "ts": begin / 1e3,
                "dur": (end - begin) / 1e3,
                "args": args,
            }

    def events(self) -> Iterator[dict[str, Any]]:
        layer, dram = self.layer, self.report.spec.dram.name
        yield from self.slice_(
            "layers",
            0,
            layer.latency_cycles,
            cycles=layer.latency_cycles,
            stall_cycles=layer.stall_cycles,
            energy_pj=layer.total_energy_pj,
            dram_bytes=layer.bytes_at(dram),
            macs=layer.macs,
            utilization=layer.utilization,
            tiling=dict(layer.tiling),
        )
        slots = list(self.slots())
        steps, moved = sum(s.steps for s in slots), sum(s.transfer_bytes for s in slots)
        waiting_pj = 0.0  # energy of slots too short to show
        for slot in slots:
            share = slot.steps / steps
            name = f"{layer.name} tile {slot.first}" if slot.steps and layer.steps else ""
            name += f" to {slot.first + slot.steps - 1}" if slot.steps > 1 else ""
            yield from self.slice_("DMA", slot.transfer_at, slot.transfer, bytes=slot.transfer_bytes)
            array = layer.compute_cycles * share if layer.macs else 0.0
            yield from self.slice_("array", slot.work_at, array, name, cycles=array, macs=layer.macs * share)
            vector = layer.vector_cycles * share
            busy = max(array, vector)
            yield from self.slice_("vector unit", slot.work_at + busy - vector, vector, name, cycles=vector)
            waiting_pj += self.energy_pj(slot, share, slot.transfer_bytes / moved if moved else share)
            begin, end = (_nanoseconds(self.start + at, self.report) for at in (slot.start, slot.start + slot.length))
            if end > begin:
                yield _counter(POWER, begin, "mW", waiting_pj / (end - begin))
                waiting_pj = 0.0
        for memory, size in layer.occupancy_bytes.items():
            yield _counter(f"{memory} in use", _nanoseconds(self.start, self.report), "bytes", size)

    def energy_pj(self, slot: _Slot, work_share: float, transfer_share: float) -> float:
        """Of a slot: DRAM's share follows its bytes, leakage and clock the time, the rest the work."""
        parts = dict(self.layer.energy_pj)
        dram = parts.pop(self.report.spec.dram.name, 0.0)
        steady = parts.pop("leakage", 0.0) + parts.pop("clock", 0.0)
        energy = dram * transfer_share + math.fsum(parts.values()) * work_share
        return energy + steady * slot.length / self.layer.latency_cycles

    def slots(self) -> Iterator[_Slot]:
        """The layer's time without gaps: what is before the first tile's work, the tiles, what is after the last."""
        layer, steps = self.layer, self.layer.steps
        moved, whole = float(layer.bytes_at(self.report.spec.dram.name)), float(layer.latency_cycles)
        if steps is None:
            transfer = min(whole, moved / self.report.spec.link_bytes_per_cycle)
            work_at = max(0.0, whole - max(layer.compute_cycles, layer.vector_cycles))
            yield _Slot(0, whole, 0, transfer, moved, work_at, 1, 0)
            return
        at, last = 0.0, steps.count - 1
        if steps.overlapped:
            at = steps.lead_in[0]
            if at:
                yield _Slot(0, at, 0, at, steps.lead_in[1], 0, 0, 0)
        left = moved - (steps.lead_in[1] + steps.drain[1]) * steps.overlapped
        blocks = _blocks(steps.count)
        ending = whole - steps.drain[0] * steps.overlapped
        for first, count in blocks:
            length, transfer, carried = 0.0, 0.0, 0.0
            ahead = first + steps.overlapped  # a step's transfers are those of the next one
            for kind, many in enumerate(steps.kinds_between(ahead, ahead + count)):
                load = steps.load_cycles[kind]
                length += many * (max(steps.work_cycles, load) if steps.overlapped else steps.work_cycles + load)
                transfer += many * load
                carried += many * steps.load_bytes[kind]
            final = first + count - 1 == last
            if final:
                length = max(ending - at, 1e-9)
                if steps.overlapped:  # nothing follows: what is left are this step's own sums
                    transfer -= steps.load_cycles[0]
                    carried = left
                    transfer = max(0.0, transfer) if carried > 1e-6 else 0.0
            left -= carried
            work_at = at if steps.overlapped else at + transfer
            yield _Slot(at, length, at, min(transfer, length), carried, work_at, count, first)
            at += length
        if steps.overlapped and steps.drain[0]:
            yield _Slot(at, whole - at, at, whole - at, steps.drain[1], at, 0, last)


def _blocks(steps: int) -> Iterator[tuple[int, int]]:
    """(first, count) of the steps that are drawn together."""
    size = -(-steps // MOST_STEPS)
    for first in range(0, steps, size):
        yield first, min(size, steps - first)
