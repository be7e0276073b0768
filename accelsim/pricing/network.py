"""price: loop nests × accelerator → CostReport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from accelsim.dataflow.machine import machine_of
from accelsim.dataflow.residency import Edges, residency
from accelsim.dataflow.schedule import schedules
from accelsim.dataflow.tiles import Tiles
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec
from accelsim.pricing.activity import Activity
from accelsim.pricing.area import area_doubt_mm2, area_mm2
from accelsim.pricing.choose import Layers, best_tiles, columns_of, conditions, sized_spec
from accelsim.pricing.costs import CostReport, LayerCost
from accelsim.pricing.layers import elementwise_cost, mac_costs
from accelsim.pricing.rates import rates_of, used_constants
from accelsim.pricing.switching import calibration_note
from accelsim.shapes import ElementwiseNest, LoopNest


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
    for the objective. activity: by layer name, what its data do; edges: (producer, consumer) names of tensors
    that may stay on chip between layers. Raises AccelsimError that names the layer whose operands do not fit
    the elements or whose tiles do not fit the buffers.
    """
    spec = sized_spec(layers, spec)
    machine, rates = machine_of(spec), rates_of(spec)
    nests = [nest for _, _, nest in layers if isinstance(nest, LoopNest)]
    costs: dict[int, LayerCost] = {}
    stays = residency(layers, edges, machine) if edges else {}
    if nests:
        if tiles is None:
            tiles = best_tiles(layers, spec, objective, activity=activity, edges=edges)
        plan = schedules(columns_of(conditions(layers, machine, activity, edges)), tiles, machine)
        rows = [i for i, (_, _, nest) in enumerate(layers) if isinstance(nest, LoopNest)]
        for row, place in enumerate(rows):
            if not plan.fits[row]:
                need = {level: float(bits[row]) / 8 for level, bits in plan.footprint_bits.items()}
                raise AccelsimError(f"layer {layers[place][0]!r}: its tiles need {need} bytes of the buffers")
        costs.update(
            zip(
                rows,
                mac_costs([layers[i][:2] for i in rows], plan, machine, rates, activity or {}),
                strict=True,
            )
        )
    for i, (name, kind, nest) in enumerate(layers):
        if nest is None:
            costs[i] = LayerCost(name, kind, 0, {}, 0, 0, 0, {}, {}, 0.0)
        elif isinstance(nest, ElementwiseNest):
            known = (activity or {}).get(name, Activity())
            costs[i] = elementwise_cost(name, kind, nest, machine, rates, stays.get(name), known)
    report = CostReport(
        spec,
        tuple(costs[i] for i in range(len(layers))),
        area_mm2(spec),
        used_constants(spec, with_data=bool(activity)),
        _notes(nests, spec, activity),
        area_doubt_mm2(spec),
    )
    report.check()
    return report


def _notes(
    nests: Sequence[LoopNest], spec: AcceleratorSpec, activity: Mapping[str, Activity] | None
) -> tuple[str, ...]:
    """What a reader of the numbers must know about this pricing."""
    array, notes = spec.array, []
    narrow = any(n.weight_bits < array.weight_bits or n.activation_bits < array.activation_bits for n in nests)
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
    for memory in spec.memories:
        if memory.kind == "sram" and memory.bandwidth_bytes_per_cycle > memory.port_bytes_per_cycle:
            notes.append(
                f"Memory {memory.name!r} states {memory.bandwidth_bytes_per_cycle:g} bytes per cycle; its banks, ports "
                f"and words make {memory.port_bytes_per_cycle:g}."
            )
    if activity:
        notes.append(
            "Energy of real data: zeros gate and compress where the spec says so; toggles scale multipliers, adders "
            "and wires; stationary operands stand still."
        )
        notes.append(calibration_note(array))
    else:
        notes.append("Energy at average activity: data do not enter it.")
    if "clock_energy" not in spec.technology.constants:
        notes.append("Control and input/output pads are not modeled.")
    return tuple(notes)
