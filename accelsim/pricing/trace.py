"""A cost report as a timeline in the Chrome trace event format, which Perfetto and chrome://tracing open.

Tracks: layers, DMA (the DRAM link), array, vector unit; counters: power, and the bytes in use of each buffer.
Times are modeled: layers follow each other, and inside a layer transfers and work overlap as its latency
says.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from accelsim.pricing.costs import CostReport, LayerCost

_TRACKS = ("layers", "DMA", "array", "vector unit")


def trace_events(report: CostReport) -> dict[str, Any]:
    """The trace as plain data: times in microseconds, energies in pJ, sizes in bytes, cycles as they are.

    The args of the "layers" track carry each layer's cycles, energy and DRAM bytes: their sums are the
    report's.
    """
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": f"accelsim: {report.spec.name}"}}
    ]
    for track, name in enumerate(_TRACKS):
        events.append({"ph": "M", "pid": 1, "tid": track, "name": "thread_name", "args": {"name": name}})
    start = 0
    for layer in report.layers:
        events += _layer_events(layer, report, start)
        start += layer.latency_cycles
    events += _counters(report, start, 0.0, {m.name: 0.0 for m in report.spec.memories[1:] if m.kind == "sram"})
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"clock_hz": report.spec.clock_hz}}


def save_trace(report: CostReport, path: str | Path) -> Path:
    """Write `trace_events` as JSON; the file appears whole or not at all."""
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(trace_events(report), file)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target


def _microseconds(cycles: float, report: CostReport) -> float:
    return cycles / report.spec.clock_hz * 1e6


def _layer_events(layer: LayerCost, report: CostReport, start: int) -> list[dict[str, Any]]:
    if not layer.latency_cycles:
        return []
    dram, events = report.spec.dram, []
    moved = layer.bytes_at(dram.name)
    transfer = min(float(layer.latency_cycles), moved / report.spec.link_bytes_per_cycle)

    def slice_(track: str, length: float, offset: float, **args: Any) -> None:
        if length > 0:
            events.append(
                {
                    "ph": "X",
                    "pid": 1,
                    "tid": _TRACKS.index(track),
                    "name": layer.name,
                    "cat": layer.op_kind,
                    "ts": _microseconds(start + offset, report),
                    "dur": _microseconds(length, report),
                    "args": args,
                }
            )

    slice_(
        "layers",
        layer.latency_cycles,
        0,
        cycles=layer.latency_cycles,
        stall_cycles=layer.stall_cycles,
        energy_pj=layer.total_energy_pj,
        dram_bytes=moved,
        macs=layer.macs,
        utilization=layer.utilization,
        tiling=dict(layer.tiling),
    )
    slice_(
        "DMA",
        transfer,
        0,
        bytes_read=sum(layer.bytes_read.get(dram.name, {}).values()),
        bytes_written=sum(layer.bytes_written.get(dram.name, {}).values()),
    )
    wait = layer.latency_cycles - max(layer.compute_cycles, layer.vector_cycles)
    if layer.macs:
        slice_("array", layer.compute_cycles, max(0, wait), macs=layer.macs)
    slice_("vector unit", layer.vector_cycles, max(0, layer.latency_cycles - layer.vector_cycles))
    milliwatts = layer.total_energy_pj / _microseconds(layer.latency_cycles, report) * 1e-3
    return events + _counters(report, start, milliwatts, layer.occupancy_bytes)


def _counters(report: CostReport, start: int, milliwatts: float, occupancy: Any) -> list[dict[str, Any]]:
    at = _microseconds(start, report)
    counters = [{"ph": "C", "pid": 1, "name": "power (mW)", "ts": at, "args": {"mW": milliwatts}}]
    for memory, size in occupancy.items():
        counters.append({"ph": "C", "pid": 1, "name": f"{memory} (bytes)", "ts": at, "args": {"bytes": size}})
    return counters
