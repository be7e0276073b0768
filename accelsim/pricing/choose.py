"""Which tiles a layer runs with: the best of the candidates by modeled energy, latency or their product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from accelsim.dataflow.candidates import BUDGET, all_candidates, best_rows
from accelsim.dataflow.machine import Machine, machine_of
from accelsim.dataflow.problem import Problems, problems_of
from accelsim.dataflow.residency import Edges, Residency, residency
from accelsim.dataflow.tiles import ORDERS, Tiles
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.pricing import energy
from accelsim.pricing.activity import Activity
from accelsim.pricing.costs import CostReport
from accelsim.pricing.laws import check_widths
from accelsim.pricing.rates import rates_of
from accelsim.shapes import LoopNest, Nest

Layers = Sequence[tuple[str, str, Nest]]


def sized_spec(layers: Layers, spec: AcceleratorSpec | str | Path) -> AcceleratorSpec:
    """The spec with "sized" elements built for the widest operands of the layers; widths checked."""
    spec = load_spec(spec)
    macs = [(name, nest) for name, _, nest in layers if isinstance(nest, LoopNest)]
    if macs:
        spec = spec.sized_for(max(nest.weight_bits for _, nest in macs), max(nest.activation_bits for _, nest in macs))
    for name, nest in macs:
        check_widths(spec.array, name, nest.weight_bits, nest.activation_bits)
    return spec


def best_tiles(
    layers: Layers,
    spec: AcceleratorSpec,
    objective: str = "energy",
    budget: int = BUDGET,
    activity: Mapping[str, Activity] | None = None,
    edges: Edges | None = None,
) -> Tiles:
    """Tiles of each MAC layer that minimise "energy", "latency" or their product "edp", one row per MAC
    layer.

    Ties go to the less of energy and latency. Among the candidates of `accelsim.dataflow.candidates`.
    """
    machine = machine_of(spec)
    chosen = conditions(layers, machine, activity, edges)
    unique = list(dict.fromkeys(chosen))
    names = [next(name for name, _, nest in layers if nest == one[0]) for one in unique]
    plan, index = all_candidates(columns_of(unique), machine, names, budget)
    total, latency = (
        energy.total_of(energy.schedule_terms(plan, machine, rates_of(spec))),
        plan.latency_cycles,
    )
    keys = {"energy": (total, latency), "latency": (latency, total), "edp": (total * latency, total)}
    if objective not in keys:
        raise AccelsimError(f"unknown objective {objective!r}; known: {', '.join(keys)}")
    best = best_rows(index, plan.fits, *keys[objective])
    position = {one: i for i, one in enumerate(unique)}
    return plan.tiles.take(best[[position[one] for one in chosen]])


Condition = tuple[LoopNest, tuple[float, float, float], tuple[int, int, int]]


def conditions(
    layers: Layers,
    machine: Machine,
    activity: Mapping[str, Activity] | None,
    edges: Edges | None,
) -> list[Condition]:
    """Of each MAC layer: its nest, what its data do to the link and the MACs, and what of it stays on chip."""
    stays = residency(layers, edges, machine) if edges else {}
    rows = []
    for name, _, nest in layers:
        if isinstance(nest, LoopNest):
            known, stay = (activity or {}).get(name, Activity()), stays.get(name, Residency())
            rows.append(
                (
                    nest,
                    (*known.coded(machine.dram.compression), known.gated_share),
                    (int(stay.inputs), int(stay.output), stay.reserved_bits),
                )
            )
    return rows


def columns_of(rows: Sequence[Condition]) -> Problems:
    return problems_of(*(list(column) for column in zip(*rows, strict=True)))


def tiles_of(report: CostReport) -> Tiles | None:
    """The tiles that a report was priced at, one row per MAC layer; None where it has none."""
    tilings = [layer.tiling for layer in report.layers if layer.macs]
    names = ("tb", "ty", "tx", "tc", "tn")
    columns = {name: np.array([tiling[name] for tiling in tilings], dtype=np.int64) for name in names}
    order = np.array([ORDERS.index(str(tiling["order"])) for tiling in tilings], dtype=np.int64)
    return Tiles(**columns, order=order) if tilings else None
