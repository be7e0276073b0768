"""The report's tables as plain rows: the source of the data frame, the CSV and JSON files and the pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelsim.pricing.activity import Activity
    from accelsim.pricing.costs import CostReport, LayerCost
    from accelsim.report.report import Report

Row = dict[str, Any]


def energy_components(cost: CostReport) -> list[str]:
    """Components that cost energy in any layer, processing elements first, then memories outermost first."""
    memories = [memory.name for memory in cost.spec.memories]
    order = {name: place for place, name in enumerate(["mac", "accumulator", *memories])}
    used = [name for name, pj in cost.energy_pj.items() if pj > 0]
    return sorted(used, key=lambda name: order.get(name, len(order)))  # the rest keeps its own order


def layer_rows(report: Report) -> list[Row]:
    """One row per layer; every number's unit is in its key. Sums over rows are the report's totals."""
    cost = report.cost
    components = energy_components(cost)
    traffic = _traffic_columns(cost)
    with_data = {layer.name: layer for layer in report.data_cost.layers} if report.data_cost else {}
    events = {e.name: e for e in report.events}
    rescales = {r.name: r for r in report.rescale_differences}
    rows = []
    for layer in cost.layers:
        weight_bits, activation_bits = report.layer_bits.get(layer.name, (None, None))
        row: Row = {
            "layer": layer.name,
            "operator": layer.op_kind,
            "weight_bits": weight_bits,
            "activation_bits": activation_bits,
            "macs": layer.macs,
            "latency_s": layer.latency_cycles / cost.spec.clock_hz,
            "latency_cycles": layer.latency_cycles,
            "compute_cycles": layer.compute_cycles,
            "stall_cycles": layer.stall_cycles,
            "vector_cycles": layer.vector_cycles,
            "utilization": layer.utilization,
            "energy_pj": layer.total_energy_pj,
            "energy_pj_low": layer.band_pj[0],
            "energy_pj_high": layer.band_pj[1],
        }
        row |= {f"energy_{name}_pj": layer.energy_pj.get(name, 0.0) for name in components}
        row |= {f"{memory.name}_bytes": layer.bytes_at(memory.name) for memory in cost.spec.memories}
        for memory, operand, way in traffic:
            moved = layer.bytes_read if way == "read" else layer.bytes_written
            row[f"{memory}_{operand}_{way}_bytes"] = moved.get(memory, {}).get(operand, 0)
        if with_data:
            row |= _data_columns(with_data[layer.name], report.activity.get(layer.name), cost.spec.dram.name)
        if events:
            event = events.get(layer.name)
            row["accumulator_bits"] = event.accumulator_bits if event else None
            row["overflow"] = event.overflow if event else None
            row["outputs"] = event.outputs if event else 0
            row["outputs_with_events"] = event.outputs_with_events if event else 0
        if rescales:
            rescale = rescales.get(layer.name)
            row["scheme"] = rescale.scheme if rescale else None
            row["rescales_differing"] = rescale.differing if rescale else 0
        rows.append(row)
    return rows


def _data_columns(layer: LayerCost, activity: Activity | None, dram: str) -> Row:
    """What the real data cost in one layer, and what they do there; None where it does not apply."""
    row: Row = {
        "data_energy_pj": layer.total_energy_pj,
        "data_energy_pj_low": layer.band_pj[0],
        "data_energy_pj_high": layer.band_pj[1],
        f"data_{dram}_bytes": layer.bytes_at(dram),
        "data_latency_cycles": layer.latency_cycles,
    }
    names = ("input_zeros", "output_zeros", "mac_zeros",
             "input_toggles", "weight_toggles", "psum_toggles", "psum_toggles_error")  # fmt: skip
    return row | {name: getattr(activity, name) if activity else None for name in names}


def traffic_rows(cost: CostReport) -> list[Row]:
    """One row per memory and operand that moves: bytes read and written over all layers."""
    return [
        {"memory": memory, "operand": operand,
         "read_bytes": cost.bytes_read.get(memory, {}).get(operand, 0),
         "written_bytes": cost.bytes_written.get(memory, {}).get(operand, 0)}
        for memory, operand in dict.fromkeys((m, o) for m, o, _ in _traffic_columns(cost))
    ]  # fmt: skip


def _traffic_columns(cost: CostReport) -> list[tuple[str, str, str]]:
    """(memory, operand, "read" | "write") that move bytes in any layer."""
    read, written = cost.bytes_read, cost.bytes_written
    return [
        (memory.name, operand, way)
        for memory in cost.spec.memories
        for operand in ("weight", "input", "output", "psum")
        for way, moved in (("read", read), ("write", written))
        if moved.get(memory.name, {}).get(operand, 0)
    ]


def plain(value: Any) -> Any:
    """JSON values of nested mappings, sequences and numbers; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
