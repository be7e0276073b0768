"""Columns of schedules and their terms as the LayerCost of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from accelsim.dataflow.elementwise import elementwise_plan
from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints
from accelsim.dataflow.residency import Residency
from accelsim.dataflow.schedule import Schedules
from accelsim.dataflow.tiles import ORDERS
from accelsim.pricing import energy
from accelsim.pricing.activity import Activity
from accelsim.pricing.costs import LayerCost
from accelsim.pricing.rates import Rates
from accelsim.pricing.switching import toggled
from accelsim.shapes import ElementwiseNest


def mac_costs(
    labels: Sequence[tuple[str, str]],
    plan: Schedules,
    machine: Machine,
    rates: Rates,
    activity: Mapping[str, Activity],
) -> list[LayerCost]:
    """LayerCost of each row of a plan; labels: (name, operator kind)."""
    terms = energy.schedule_terms(plan, machine, rates)
    band_of_law: Ints = 0.0
    if activity:
        known = [activity.get(name, Activity()) for name, _ in labels]
        terms, scaled = toggled(terms, plan, machine, rates, known)
        band_of_law = scaled * rates.technology.constant("toggle_input").uncertainty
    parts, band = energy.by_component(terms), np.hypot(energy.band_pj(terms, rates), band_of_law)
    p, stored = plan.problems, machine.stored(plan.problems)
    sides = [
        {
            level.name: {
                operand: level.bytes_for(elements, stored[level.name][operand])
                for operand, elements in side[level.name].items()
            }
            for level in machine.levels
        }
        for side in (plan.reads, plan.writes)
    ]
    lanes, steps = machine.lanes_and_steps(p)
    peak = rates.array.pes * lanes / steps
    tile_columns = {name: getattr(plan.tiles, name) for name in ("tb", "ty", "tx", "tc", "tn")}
    result = []
    for row, (name, kind) in enumerate(labels):
        latency = int(plan.latency_cycles[row])
        energies = {part: float(value[row]) for part, value in parts.items() if value[row] > 0}
        total = sum(energies.values())
        read, written = (
            {
                level: {operand: int(column[row]) for operand, column in per.items() if column[row]}
                for level, per in side.items()
            }
            for side in sides
        )
        result.append(
            LayerCost(
                name,
                kind,
                int(p.macs[row]),
                energies,
                int(plan.compute_cycles[row]),
                int(plan.stall_cycles[row]),
                int(plan.vector_cycles[row]),
                read,
                written,
                float(p.macs[row] / (peak[row] * latency)),
                (max(0.0, total - float(band[row])), total + float(band[row])),
                {
                    **{k: int(column[row]) for k, column in tile_columns.items()},
                    "order": ORDERS[plan.tiles.order[row]],
                    "folds": int(plan.counts.folds[row]),
                    "reduction_span": int(plan.counts.reduction_span[row]),
                },
                float(peak[row]),
                {level: float(bits_[row]) / 8 for level, bits_ in plan.footprint_bits.items()},
                plan.steps.row(row),
            )
        )
    return result


def operation_terms(nest: ElementwiseNest, operations: Ints, machine: Machine, rates: Rates) -> list[energy.Term]:
    """A look-up reads a table, any other operation adds."""
    if nest.kind != "lut":
        return energy.adding_terms("vector", operations, nest.operation_bits, rates, registers=2)
    if rates.lut_pj is not None:
        return [energy.Term("lut", "sram_energy", operations * rates.lut_pj)]
    buffer = machine.level_of("output").name
    return [energy.Term("lut", rates.constant_of[buffer], operations * rates.access_pj[buffer][0])]


def elementwise_cost(
    name: str,
    kind: str,
    nest: ElementwiseNest,
    machine: Machine,
    rates: Rates,
    stays: Residency | None,
    activity: Activity,
) -> LayerCost:
    plan = elementwise_plan(nest, machine, stays, activity.coded(machine.dram.compression))
    terms = [
        *energy.memory_terms(machine.levels, plan.reads, plan.writes, plan.bits, plan.stored, rates),
        *operation_terms(nest, plan.operations, machine, rates),
        *energy.standing_terms(plan.latency_cycles, rates),
    ]
    parts = {part: float(value) for part, value in energy.by_component(terms).items() if value > 0}
    total, band = sum(parts.values()), float(energy.band_pj(terms, rates))
    read, written = (
        {
            level.name: {
                operand: int(level.bytes_for(elements, plan.stored[level.name][operand]))
                for operand, elements in side[level.name].items()
            }
            for level in machine.levels
        }
        for side in (plan.reads, plan.writes)
    )
    return LayerCost(
        name,
        kind,
        0,
        parts,
        int(plan.vector_cycles),
        int(plan.latency_cycles - plan.vector_cycles),
        int(plan.vector_cycles),
        read,
        written,
        0.0,
        (max(0.0, total - band), total + band),
    )
