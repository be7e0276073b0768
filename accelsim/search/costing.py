"""Costs of a network on thousands of accelerators at once: columns instead of one report after the other.

Tilings come from a short list: the full search over tilings (`accelsim.pricing.choose`) runs on a few designs spread
over the space, and each layer of each design takes the best of their choices that fits; where none fits, the full
search runs for that design. So every cost is that of a schedule that fits, and never below what `accelsim.cost`
finds with all tilings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from accelsim.dataflow.candidates import best_rows, tiles_from
from accelsim.dataflow.elementwise import elementwise_plan
from accelsim.dataflow.machine import Machine, machine_of
from accelsim.dataflow.problem import Problems
from accelsim.dataflow.residency import Edges, Residency, residency
from accelsim.dataflow.schedule import schedules
from accelsim.dataflow.tiles import Tiles
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec
from accelsim.pricing import energy
from accelsim.pricing.choose import best_tiles, columns_of
from accelsim.pricing.laws import check_widths
from accelsim.pricing.layers import operation_terms
from accelsim.pricing.rates import Rates, rate_structure, rates_of, stacked_rates
from accelsim.shapes import ElementwiseNest, LoopNest, Nest

#: (layer, design, tiling) triples that are computed at once: columns that stay in the cache
CHUNK = 16384

Layers = tuple[tuple[str, str, Nest], ...]


@dataclass(frozen=True)
class Workload:
    """What a network asks of hardware: (name, operator kind, nest) in order; edges between layers, as `price`."""

    layers: Layers
    edges: Edges

    @property
    def macs(self) -> list[tuple[str, LoopNest]]:
        return [(name, nest) for name, _, nest in self.layers if isinstance(nest, LoopNest)]

    @property
    def widths(self) -> tuple[int, int]:
        """Widest weights and activations that are multiplied."""
        nests = [nest for _, nest in self.macs]
        return max((n.weight_bits for n in nests), default=8), max((n.activation_bits for n in nests), default=8)


@dataclass(frozen=True)
class Costs:
    """Columns, one entry per design; NaN where `problem` (by design) says why it cannot be priced."""

    energy_pj: np.ndarray
    latency_cycles: np.ndarray
    dram_bytes: np.ndarray
    area_mm2: np.ndarray
    problem: dict[int, str]


@dataclass
class ShortList:
    """By dataflow and MAC layer: rows of tb, ty, tx, tc, tn, order that are tried."""

    tables: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def learn(self, designs: Sequence[tuple[Workload, AcceleratorSpec]]) -> ShortList:
        """The full search on each design; one that cannot be priced teaches nothing."""
        for workload, spec in designs:
            try:
                self._add(spec.array.dataflow, workload, full_search(workload, spec))
            except AccelsimError:
                continue
        return self

    def _add(self, dataflow: str, workload: Workload, tiles: Tiles | None) -> None:
        known = self.tables.setdefault(dataflow, {})
        for row, (name, _) in enumerate(workload.macs):
            columns = (tiles.tb, tiles.ty, tiles.tx, tiles.tc, tiles.tn, tiles.order)
            one = np.array([[int(column[row]) for column in columns]], dtype=np.int64)
            known[name] = np.unique(np.concatenate([known.get(name, one), one]), axis=0)


def full_search(workload: Workload, spec: AcceleratorSpec) -> Tiles | None:
    """Tiles of every MAC layer from all candidates, as `accelsim.cost` chooses them."""
    return best_tiles(workload.layers, spec, edges=workload.edges) if workload.macs else None


def price_designs(designs: Sequence[tuple[Workload, AcceleratorSpec]], short: ShortList) -> Costs:
    """Cost of one inference for each (workload, spec); "sized" elements must have their widths already."""
    count = len(designs)
    costs = Costs(*(np.full(count, np.nan) for _ in range(4)), {})
    groups: dict[tuple, list[int]] = {}
    structures: dict[tuple, tuple] = {}
    shapes: dict[int, tuple] = {}
    checked: dict[tuple, str] = {}
    for i, (workload, spec) in enumerate(designs):
        array = spec.array
        key = (array.pe, array.serial_operand, array.weight_bits, array.activation_bits, id(workload))
        if key not in checked:
            checked[key] = _too_wide(workload, spec)
        if checked[key]:
            costs.problem[i] = checked[key]
            continue
        # designs of a space share their memories and arrays: what those say is worked out once
        parts = (id(spec.memories), id(array.accumulators), array.dataflow, array.pe, id(spec.technology))
        parts += (array.serial_operand, array.zero_gating, array.clock_gating, spec.vector.lut_bytes > 0)
        if parts not in structures:
            structures[parts] = rate_structure(spec)
        if id(workload) not in shapes:
            shapes[id(workload)] = tuple((name, kind, _shape(nest)) for name, kind, nest in workload.layers)
        groups.setdefault((structures[parts], shapes[id(workload)]), []).append(i)
    for members in groups.values():
        _Group(designs, members, short).price(costs)
    return costs


def _shape(nest: Nest) -> Any:
    """What must be equal for layers to share columns."""
    return (nest.kind, len(nest.inputs)) if isinstance(nest, ElementwiseNest) else type(nest).__name__


def _too_wide(workload: Workload, spec: AcceleratorSpec) -> str:
    try:
        for name, nest in workload.macs:
            check_widths(spec.array, name, nest.weight_bits, nest.activation_bits)
    except AccelsimError as error:
        return str(error)
    return ""


class _Group:
    """Designs whose specs share columns and whose workloads have the same layers."""

    def __init__(self, designs: Sequence[tuple[Workload, AcceleratorSpec]], members: list[int], short: ShortList):
        self.members = members
        self.workloads = [designs[i][0] for i in members]
        self.specs = [designs[i][1] for i in members]
        self.layers = self.workloads[0].layers
        self.tables = short.tables.get(self.specs[0].array.dataflow, {})
        self._stays: dict[tuple, dict[str, Residency]] = {}
        self._rates: dict[int, Rates] = {}

    def _rates_of(self, specs: Sequence[AcceleratorSpec]) -> list[Rates]:
        for spec in specs:
            if id(spec) not in self._rates:
                self._rates[id(spec)] = rates_of(spec)
        return [self._rates[id(spec)] for spec in specs]

    def price(self, costs: Costs) -> None:
        tried = sum(len(self.tables.get(name, ())) for name, _ in self.workloads[0].macs)
        step = max(1, CHUNK // max(1, tried))
        for start in range(0, len(self.members), step):
            self._price(slice(start, start + step), costs)

    def _price(self, some: slice, costs: Costs) -> None:
        members, specs, workloads = self.members[some], self.specs[some], self.workloads[some]
        whole = np.array(members)
        stays = [self._residency(workload, spec) for workload, spec in zip(workloads, specs, strict=True)]
        total = np.zeros((3, len(members)))
        if self.workloads[0].macs:
            total, missing = self._mac_costs(specs, workloads, stays)
            for i in np.flatnonzero(missing):
                total[:, i] = self._alone(workloads[i], specs[i], stays[i], costs, members[i])
        each = np.arange(len(members))
        machine, rates = machine_of(specs, each), stacked_rates(specs, each, self._rates_of(specs))
        for place, (_, _, nest) in enumerate(self.layers):
            if isinstance(nest, ElementwiseNest):
                nests = [workload.layers[place][2] for workload in workloads]
                staying = [stay.get(self.layers[place][0], Residency()) for stay in stays]
                total += _elementwise(nests, staying, machine, rates)
        costs.energy_pj[whole], costs.latency_cycles[whole], costs.dram_bytes[whole] = total
        costs.area_mm2[whole] = [rates.area_mm2 for rates in self._rates_of(specs)]

    def _mac_costs(
        self, specs: list[AcceleratorSpec], workloads: list[Workload], stays: list[dict[str, Residency]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(energy, cycles, DRAM bytes of each design, which have a layer that no tiling of the short list fits)."""
        names = [name for name, _ in self.workloads[0].macs]
        rows: dict[tuple, int] = {}
        of_layer = [
            [rows.setdefault(_condition(nest, stay.get(name, Residency())), len(rows)) for name, nest in workload.macs]
            for workload, stay in zip(workloads, stays, strict=True)
        ]
        problems = columns_of(list(rows))
        tables = [self.tables.get(name, np.zeros((0, 6), dtype=np.int64)) for name in names]
        if not all(map(len, tables)):
            return np.zeros((3, len(specs))), np.ones(len(specs), dtype=bool)
        lengths = np.array([len(table) for table in tables])
        design = np.repeat(np.arange(len(specs)), lengths.sum())
        layer = np.tile(np.repeat(np.arange(len(names)), lengths), len(specs))
        tiles = tiles_from(np.tile(np.concatenate(tables), (len(specs), 1)))
        row = np.array(of_layer)[design, layer]
        energy_pj, cycles, moved, fits = self._scheduled(problems.take(row), tiles, specs, design)
        best = best_rows(design * len(names) + layer, fits, energy_pj, cycles)
        missing = ~fits[best].reshape(len(specs), -1).all(axis=1)
        totals = [column[best].reshape(len(specs), -1).sum(axis=1) for column in (energy_pj, cycles, moved)]
        return np.stack(totals).astype(np.float64), missing

    def _alone(
        self, workload: Workload, spec: AcceleratorSpec, stays: dict[str, Residency], costs: Costs, member: int
    ) -> np.ndarray:
        """MAC layers of one design at the tiles of the full search."""
        try:
            tiles = full_search(workload, spec)
        except AccelsimError as error:
            costs.problem[member] = str(error)
            return np.full(3, np.nan)
        problems = columns_of([_condition(nest, stays.get(name, Residency())) for name, nest in workload.macs])
        columns = self._scheduled(problems, tiles, [spec], np.zeros(len(problems), dtype=np.int64))
        return np.array([column.sum() for column in columns[:3]])

    def _residency(self, workload: Workload, spec: AcceleratorSpec) -> dict[str, Residency]:
        """What stays on chip; it depends on the workload and the buffers of inputs and outputs alone."""
        level, output = spec.buffer_of("input"), spec.buffer_of("output")
        key = (id(workload), level.size_bytes, level.word_bits, level.packing, level.name == output.name)
        if key not in self._stays:
            self._stays[key] = residency(workload.layers, workload.edges, machine_of(spec)) if workload.edges else {}
        return self._stays[key]

    def _scheduled(
        self, problems: Problems, tiles: Tiles, specs: list[AcceleratorSpec], index: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(energy pJ, cycles, DRAM bytes, whether it fits) of each row on spec `index` of it."""
        machine = machine_of(specs, index)
        plan = schedules(problems, tiles, machine)
        total = energy.total_of(
            energy.schedule_terms(plan, machine, stacked_rates(specs, index, self._rates_of(specs)))
        )
        stored, link = machine.stored(problems)[machine.dram.name], machine.dram
        moved = sum(
            link.bytes_for(elements, stored[operand])
            for side in (plan.reads, plan.writes)
            for operand, elements in side[link.name].items()
        )
        return total, plan.latency_cycles, moved, plan.fits


def _condition(nest: LoopNest, stay: Residency) -> tuple:
    """A MAC layer as `columns_of` takes it, at average activity."""
    return nest, (1.0, 1.0, 0.0), (int(stay.inputs), int(stay.output), stay.reserved_bits)


def _elementwise(nests: list[Any], stays: list[Residency], machine: Machine, rates: Any) -> np.ndarray:
    """(energy pJ, cycles, DRAM bytes) of a layer without MACs, one column per design."""

    def column(values: Any) -> np.ndarray:
        return np.array(list(values))

    first = nests[0]
    nest: Any = SimpleNamespace(
        kind=first.kind,
        inputs=[
            (column(n.inputs[i][0] for n in nests), column(n.inputs[i][1] for n in nests))
            for i in range(len(first.inputs))
        ],
        output_elements=column(n.output_elements for n in nests),
        output_bits=column(n.output_bits for n in nests),
        operations=column(n.operations for n in nests),
        operation_bits=column(n.operation_bits for n in nests),
    )
    stay: Any = SimpleNamespace(inputs=column(s.inputs for s in stays), output=column(s.output for s in stays))
    plan = elementwise_plan(nest, machine, stay)
    terms = [
        *energy.memory_terms(machine.levels, plan.reads, plan.writes, plan.bits, plan.stored, rates),
        *operation_terms(nest, plan.operations, machine, rates),
        *energy.standing_terms(plan.latency_cycles, rates),
    ]
    link = machine.dram
    moved = sum(
        link.bytes_for(elements, plan.stored[link.name][operand])
        for side in (plan.reads, plan.writes)
        for operand, elements in side[link.name].items()
    )
    return np.stack(np.broadcast_arrays(energy.total_of(terms), plan.latency_cycles, moved)).astype(np.float64)
