"""What one action costs on a spec, or on many specs as columns: the numbers that counts are multiplied with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from accelsim.dataflow.machine import structure
from accelsim.dataflow.problem import Ints
from accelsim.hardware import AcceleratorSpec, Constant, MemorySpec, TechnologySpec
from accelsim.pricing.area import area_mm2, leakage_mw
from accelsim.pricing.sram import sram


@dataclass(frozen=True)
class Rates:
    """array, technology: of the spec, or look-alikes whose numbers are columns. access_pj: (read, write) of a
    word of each memory; constant_of: the constant that rules a memory's energy; wire_pj_per_bit: buffer to
    array; lut_pj: a look-up in a lane's own table, None where there is none; area_mm2: of the whole chip.
    """

    array: Any
    technology: Any
    clock_hz: Any
    lane_bits: Any
    access_pj: dict[str, tuple[Any, Any]]
    constant_of: dict[str, str]
    wire_pj_per_bit: Any
    leakage_mw: dict[str, Any]
    lut_pj: Any = None
    area_mm2: Any = 0.0

    def value(self, name: str) -> Any:
        """A constant of the technology."""
        return self.technology.constant(name).value


def dram_constant(memory: MemorySpec) -> str:
    """The constant with the pJ per bit of a DRAM kind."""
    return f"dram_{memory.device or 'lpddr4'}"


def own_energy(memory: MemorySpec, technology: TechnologySpec) -> bool:
    """Whether the technology gives a memory's energies itself."""
    return f"{memory.name}_read_energy" in technology.constants


def _ruling_constant(memory: MemorySpec, technology: TechnologySpec) -> str:
    """The constant that a memory's energy is proportional to."""
    if own_energy(memory, technology):
        return f"{memory.name}_read_energy"
    return {"dram": dram_constant(memory), "registers": "register_file_energy"}.get(memory.kind, "sram_energy")


def access_energy_pj(memory: MemorySpec, spec: AcceleratorSpec) -> tuple[float, float]:
    """(read, write) energy of one word of a memory: the technology's own `<memory>_read_energy` and
    `<memory>_write_energy`, else those of its kind.
    """
    technology = spec.technology
    if own_energy(memory, technology):
        return technology.constant(f"{memory.name}_read_energy").value, technology.constant(
            f"{memory.name}_write_energy"
        ).value
    if memory.kind == "dram":
        per_word = technology.constant(dram_constant(memory)).value * memory.word_bits
        return per_word, per_word
    if memory.kind == "registers":
        per_word = technology.constant("register_file_energy").value * memory.word_bits
        return per_word, per_word
    cell = memory.device or technology.sram_cell
    table = sram(memory.size_bytes, memory.word_bits, memory.banks, technology.sram_node, cell)
    scale = technology.constant("sram_energy").value
    return table.read_pj * scale, table.write_pj * scale


def used_constants(spec: AcceleratorSpec, with_data: bool = False) -> dict[str, Constant]:
    """The constants of the technology that enter energy or area on this spec; with_data: toggles do, too."""
    unused = ("evoapprox_", "dram_") if with_data else ("evoapprox_", "dram_", "toggle_")
    idle = {name for name in spec.technology.constants if name.startswith(unused)}
    if spec.array.pe != "fused":
        idle |= {name for name in spec.technology.constants if name.startswith("fused_brick")}
    if "clock_energy" in spec.technology.constants:
        idle.add("clock_tree_energy")
    if spec.array.clock_gating:
        idle.add("idle_register_energy")
    if not any(memory.kind == "registers" for memory in spec.memories):
        idle.add("register_file_energy")
    if not own_energy(spec.dram, spec.technology):
        idle.discard(dram_constant(spec.dram))
    return {name: constant for name, constant in spec.technology.constants.items() if name not in idle}


def lut_energy_pj(spec: AcceleratorSpec) -> float | None:
    """One look-up in a lane's own table."""
    if not spec.vector.lut_bytes:
        return None
    technology = spec.technology
    table = sram(spec.vector.lut_bytes, 8, 1, technology.sram_node, technology.sram_cell)
    return table.read_pj * technology.constant("sram_energy").value


def rates_of(spec: AcceleratorSpec) -> Rates:
    """Rates of one spec. Wires: a way of half the side of the chip's area."""
    area = sum(area_mm2(spec).values())
    way_mm = 0.5 * area**0.5
    return Rates(
        spec.array,
        spec.technology,
        spec.clock_hz,
        spec.vector.lane_bits,
        {m.name: access_energy_pj(m, spec) for m in spec.memories},
        {m.name: _ruling_constant(m, spec.technology) for m in spec.memories},
        spec.technology.constant("wire_energy").value * way_mm,
        leakage_mw(spec),
        lut_energy_pj(spec),
        area,
    )


def rate_structure(spec: AcceleratorSpec) -> tuple:
    """What must be equal for specs to share columns of rates."""
    array = spec.array
    return (
        structure(spec),
        array.accumulators.tree_inputs,
        array.zero_gating,
        array.clock_gating,
        tuple(dram_constant(m) for m in spec.memories if m.kind == "dram"),
        spec.vector.lut_bytes > 0,
        tuple(sorted(spec.technology.constants)),
    )


def stacked_rates(specs: Sequence[AcceleratorSpec], index: Ints, each: Sequence[Rates] | None = None) -> Rates:
    """Rates of spec `index[i]` for pair i, of specs with equal `rate_structure`; each: those of the specs, where they
    are known.
    """
    each = [rates_of(spec) for spec in specs] if each is None else each

    def column(values: Sequence[float]) -> np.ndarray:
        return np.asarray(values)[index] if len(set(values)) > 1 else np.asarray(values[0])

    first = each[0]
    names = first.technology.constants
    constants = {
        name: SimpleNamespace(
            value=column([r.technology.constants[name].value for r in each]),
            uncertainty=names[name].uncertainty,
        )
        for name in names
    }
    arrays = [r.array for r in each]
    accumulators = SimpleNamespace(
        inner_bits=column([a.accumulators.inner_bits for a in arrays]),
        bits=column([a.accumulators.bits for a in arrays]),
        tree_inputs=first.array.accumulators.tree_inputs,
    )
    array = SimpleNamespace(
        pe=first.array.pe,
        serial_operand=first.array.serial_operand,
        accumulators=accumulators,
        weight_bits=column([a.weight_bits for a in arrays]),
        activation_bits=column([a.activation_bits for a in arrays]),
        pes=column([a.pes for a in arrays]),
        zero_gating=first.array.zero_gating,
        clock_gating=first.array.clock_gating,
    )
    technology = SimpleNamespace(constants=constants, constant=constants.__getitem__)
    return Rates(
        array,
        technology,
        column([r.clock_hz for r in each]),
        column([r.lane_bits for r in each]),
        {
            name: (column([r.access_pj[name][0] for r in each]), column([r.access_pj[name][1] for r in each]))
            for name in first.access_pj
        },
        first.constant_of,
        column([r.wire_pj_per_bit for r in each]),
        {name: column([r.leakage_mw[name] for r in each]) for name in first.leakage_mw},
        None if first.lut_pj is None else column([r.lut_pj for r in each]),
    )
