"""Bulk pricing: a million (layer, spec) pairs as columns, at given tilings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accelsim.dataflow.machine import machine_of
from accelsim.dataflow.problem import problems_of
from accelsim.dataflow.schedule import schedules
from accelsim.dataflow.tiles import Tiles, whole
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.pricing import energy
from accelsim.pricing.area import area_mm2
from accelsim.pricing.laws import check_widths
from accelsim.pricing.rates import rate_structure, stacked_rates
from accelsim.shapes import LoopNest

#: pairs that are computed at once: columns that stay in the cache
CHUNK = 16384


@dataclass(frozen=True)
class Costs:
    """Columns, one entry per pair: energy_pj (total), mac_energy_pj (elements), latency_cycles, dram_bytes,
    fits (whether the tiles fit the buffers); area_mm2: one entry per spec.
    """

    layer: np.ndarray
    spec: np.ndarray
    energy_pj: np.ndarray
    mac_energy_pj: np.ndarray
    latency_cycles: np.ndarray
    dram_bytes: np.ndarray
    fits: np.ndarray
    area_mm2: np.ndarray


def cost_many(
    nests: Sequence[LoopNest],
    specs: Sequence[AcceleratorSpec | str | Path],
    *,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
    tiles: Tiles | None = None,
) -> Costs:
    """Price every nest on every spec, or only `pairs` (indices of nests, indices of specs).

    "sized" specs are priced as they are written: set their widths (`AcceleratorSpec.sized_for`). tiles: one
    row per nest; None: one tile, with `fits` telling where it does not fit (such a pair's numbers are those
    of a larger buffer). Raises AccelsimError where operands do not fit the elements of a spec.
    """
    loaded = [load_spec(spec) for spec in specs]
    if pairs is None:
        layer, chosen = (a.ravel() for a in np.meshgrid(np.arange(len(nests)), np.arange(len(loaded)), indexing="ij"))
    else:
        layer, chosen = (np.asarray(index, dtype=np.int64) for index in pairs)
        if layer.shape != chosen.shape or (
            layer.size
            and (min(layer.min(), chosen.min()) < 0 or layer.max() >= len(nests) or chosen.max() >= len(loaded))
        ):
            raise AccelsimError("cost_many: pairs must be two equally long arrays of indices of nests and specs")
    _check(nests, loaded)
    problems = problems_of(nests)
    tiles = whole(problems) if tiles is None else tiles
    columns = {
        name: np.zeros(len(layer)) for name in ("energy_pj", "mac_energy_pj", "latency_cycles", "dram_bytes", "fits")
    }
    groups: dict[tuple, list[int]] = {}
    for i, spec in enumerate(loaded):
        groups.setdefault(rate_structure(spec), []).append(i)
    for members in groups.values():
        local = np.full(len(loaded), -1)
        local[members] = np.arange(len(members))
        inside = np.flatnonzero(local[chosen] >= 0)
        # spec by spec: a chunk then needs few specs' rates
        inside = inside[np.argsort(chosen[inside], kind="stable")]
        group = [loaded[i] for i in members]
        for start in range(0, len(inside), CHUNK):
            rows = inside[start : start + CHUNK]
            of_spec = local[chosen[rows]]
            used, index = np.unique(of_spec, return_inverse=True)
            some = [group[i] for i in used]
            plan_of = machine_of(some, index)
            plan = schedules(problems.take(layer[rows]), tiles.take(layer[rows]), plan_of)
            parts = energy.by_component(energy.schedule_terms(plan, plan_of, stacked_rates(some, index)))
            columns["energy_pj"][rows] = sum(parts.values())
            columns["mac_energy_pj"][rows] = parts["mac"] + parts["accumulator"]
            columns["latency_cycles"][rows] = plan.latency_cycles
            stored, dram = plan_of.stored(plan.problems), plan_of.dram.name
            columns["dram_bytes"][rows] = sum(
                plan_of.dram.bytes_for(elements, stored[dram][operand])
                for side in (plan.reads, plan.writes)
                for operand, elements in side[dram].items()
            )
            columns["fits"][rows] = plan.fits
    return Costs(
        layer,
        chosen,
        columns["energy_pj"],
        columns["mac_energy_pj"],
        columns["latency_cycles"].astype(np.int64),
        columns["dram_bytes"].astype(np.int64),
        columns["fits"].astype(bool),
        np.array([sum(area_mm2(spec).values()) for spec in loaded]),
    )


def _check(nests: Sequence[LoopNest], specs: Sequence[AcceleratorSpec]) -> None:
    """Widths of all layers against every kind of array, once per distinct widths."""
    widths = {(nest.weight_bits, nest.activation_bits): i for i, nest in enumerate(nests)}
    for array in {
        (s.array.pe, s.array.serial_operand, s.array.weight_bits, s.array.activation_bits): s.array for s in specs
    }.values():
        for (weight_bits, activation_bits), i in widths.items():
            check_widths(array, f"nests[{i}]", weight_bits, activation_bits)
