"""price: loop nests × accelerator → CostReport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from accelsim.dataflow.candidates import BUDGET, all_candidates, best_rows
from accelsim.dataflow.elementwise import elementwise_plan
from accelsim.dataflow.machine import Machine, machine_of
from accelsim.dataflow.problem import Problems, problems_of
from accelsim.dataflow.residency import Edges, Residency, residency
from accelsim.dataflow.schedule import Schedules, schedules
from accelsim.dataflow.tiles import ORDERS, Tiles
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.pricing import energy
from accelsim.pricing.activity import Activity
from accelsim.pricing.area import area_mm2
from accelsim.pricing.costs import CostReport, LayerCost
from accelsim.pricing.laws import check_widths
from accelsim.shapes import ElementwiseNest, LoopNest, Nest

Layers = Sequence[tuple[str, str, Nest]]


def sized_spec(layers: Layers, spec: AcceleratorSpec | str | Path) -> AcceleratorSpec:
    """The spec with "sized" elements built for the widest operands of the layers; widths checked."""
    spec = load_spec(spec)
    macs = [(name, nest) for name, _, nest in layers if isinstance(nest, LoopNest)]
    if macs:
        spec = spec.sized_for(
            max(nest.weight_bits for _, nest in macs), max(nest.activation_bits for _, nest in macs)
        )
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
    plan, index = all_candidates(_columns(unique), machine, names, budget)
    total, latency = energy.total_of(energy.schedule_terms(plan, machine, spec)), plan.latency_cycles
    keys = {"energy": (total, latency), "latency": (latency, total), "edp": (total * latency, total)}
    if objective not in keys:
        raise AccelsimError(f"unknown objective {objective!r}; known: {', '.join(keys)}")
    best = best_rows(index, plan.fits, *keys[objective])
    position = {one: i for i, one in enumerate(unique)}
    return plan.tiles.take(best[[position[one] for one in chosen]])


Condition = tuple[LoopNest, tuple[float, float], tuple[int, int, int]]


def conditions(
    layers: Layers,
    machine: Machine,
    activity: Mapping[str, Activity] | None,
    edges: Edges | None,
) -> list[Condition]:
    """Of each MAC layer: its nest, its zeros, and what of it stays on chip."""
    stays = residency(layers, edges, machine) if edges else {}
    rows = []
    for name, _, nest in layers:
        if isinstance(nest, LoopNest):
            known, stay = (activity or {}).get(name, Activity()), stays.get(name, Residency())
            rows.append(
                (
                    nest,
                    (known.input_zeros, known.output_zeros),
                    (int(stay.inputs), int(stay.output), stay.reserved_bits),
                )
            )
    return rows


def _columns(rows: Sequence[Condition]) -> Problems:
    return problems_of(*(list(column) for column in zip(*rows, strict=True)))


def price(
    layers: Layers,
    spec: AcceleratorSpec | str | Path,
    *,
    tiles: Tiles | None = None,
    objective: str = "energy",
    activity: Mapping[str, Activity] | None = None,
    edges: Edges | None = None,
) -> CostReport:
    """Cost of one inference of the batch in the nests.

    layers: (name, operator kind, nest) in the order of execution; nest None: neither computes nor moves.
    spec: a spec, a preset's name or a YAML path. tiles: one row per MAC layer, in order; None: `best_tiles`
    for the objective. Raises AccelsimError that names the layer whose operands do not fit the elements or
    whose tiles do not fit the buffers.
    """
    spec = sized_spec(layers, spec)
    machine = machine_of(spec)
    nests = [nest for _, _, nest in layers if isinstance(nest, LoopNest)]
    costs: dict[int, LayerCost] = {}
    stays = residency(layers, edges, machine) if edges else {}
    if nests:
        if tiles is None:
            tiles = best_tiles(layers, spec, objective, activity=activity, edges=edges)
        plan = schedules(_columns(conditions(layers, machine, activity, edges)), tiles, machine)
        rows = [i for i, (_, _, nest) in enumerate(layers) if isinstance(nest, LoopNest)]
        for row, place in enumerate(rows):
            if not plan.fits[row]:
                need = {level: float(bits[row]) / 8 for level, bits in plan.footprint_bits.items()}
                raise AccelsimError(f"layer {layers[place][0]!r}: its tiles need {need} bytes of the buffers")
        costs.update(zip(rows, _mac_costs([layers[i][:2] for i in rows], plan, machine, spec), strict=True))
    for i, (name, kind, nest) in enumerate(layers):
        if nest is None:
            costs[i] = LayerCost(name, kind, 0, {}, 0, 0, 0, {}, {}, 0.0)
        elif isinstance(nest, ElementwiseNest):
            costs[i] = _elementwise_cost(name, kind, nest, machine, spec, stays.get(name))
    used = {
        name: constant
        for name, constant in spec.technology.constants.items()
        if not name.startswith(("evoapprox_", "dram_")) or name == energy.dram_constant(spec.dram)
    }
    report = CostReport(
        spec, tuple(costs[i] for i in range(len(layers))), area_mm2(spec), used, _notes(nests, spec)
    )
    report.check()
    return report


def _mac_costs(
    labels: Sequence[tuple[str, str]], plan: Schedules, machine: Machine, spec: AcceleratorSpec
) -> list[LayerCost]:
    terms = energy.schedule_terms(plan, machine, spec)
    parts, band = energy.by_component(terms), energy.band_pj(terms, spec)
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
    peak = spec.array.pes * lanes / steps
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
            )
        )
    return result


def _elementwise_cost(
    name: str,
    kind: str,
    nest: ElementwiseNest,
    machine: Machine,
    spec: AcceleratorSpec,
    stays: Residency | None,
) -> LayerCost:
    plan = elementwise_plan(nest, machine, stays)
    terms = [
        *energy.memory_terms(plan.reads, plan.writes, plan.bits, plan.stored, machine, spec),
        *energy.adding_terms("vector", plan.operations, nest.operation_bits, spec, registers=2),
        *energy.clock_terms(plan.latency_cycles, spec),
        *energy.leakage_terms(plan.latency_cycles, spec),
    ]
    parts = {part: float(value) for part, value in energy.by_component(terms).items() if value > 0}
    total, band = sum(parts.values()), float(energy.band_pj(terms, spec))
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
        plan.vector_cycles,
        plan.latency_cycles - plan.vector_cycles,
        plan.vector_cycles,
        read,
        written,
        0.0,
        (max(0.0, total - band), total + band),
    )


def _notes(nests: Sequence[LoopNest], spec: AcceleratorSpec) -> tuple[str, ...]:
    """What a reader of the numbers must know about this pricing."""
    array, notes = spec.array, []
    narrow = any(
        n.weight_bits < array.weight_bits or n.activation_bits < array.activation_bits for n in nests
    )
    if array.pe == "fixed" and narrow:
        notes.append(
            f"Elements are fixed at {array.weight_bits}×{array.activation_bits} bits: narrower operands are "
            "sign-extended, so MAC energy and area do not fall with the bits; only traffic does."
        )
    if array.pe == "sized" and narrow:
        notes.append(
            f"One chip serves all layers: elements are {array.weight_bits}×{array.activation_bits} bits, "
            "the network's widest operands."
        )
    notes.append(
        "Energy is at average activity: data do not enter. Clock tree, control and input/output pads "
        "are not modeled."
    )
    return tuple(notes)
