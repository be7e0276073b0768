"""Energy of schedules: every term is an amount times a named constant, so that bands and sources follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints
from accelsim.dataflow.schedule import Schedules
from accelsim.hardware import AcceleratorSpec, ArraySpec, MemorySpec
from accelsim.pricing import laws
from accelsim.pricing.area import area_mm2, leakage_mw
from accelsim.pricing.sram import sram


@dataclass(frozen=True)
class Term:
    """energy_pj of one component that is proportional to one constant."""

    component: str
    constant: str
    energy_pj: np.ndarray


def dram_constant(memory: MemorySpec) -> str:
    return f"dram_{memory.device or 'lpddr4'}"


def access_energy_pj(memory: MemorySpec, spec: AcceleratorSpec) -> tuple[float, float]:
    """(read, write) energy of one word of a memory."""
    technology = spec.technology
    if memory.kind == "dram":
        per_word = technology.constant(dram_constant(memory)).value * memory.word_bits
        return per_word, per_word
    table = sram(
        memory.size_bytes,
        memory.word_bits,
        memory.banks,
        technology.sram_node,
        memory.device or technology.sram_cell,
    )
    scale = technology.constant("sram_energy").value
    return table.read_pj * scale, table.write_pj * scale


def adding_terms(
    component: str, additions: Ints, bits: Ints, spec: AcceleratorSpec, registers: int = 1
) -> list[Term]:
    """Additions of so many bits, each through `registers` registers as wide."""
    tech = spec.technology
    return [
        Term(component, "adder_energy", additions * bits * tech.constant("adder_energy").value),
        Term(
            component,
            "register_energy",
            additions * bits * registers * tech.constant("register_energy").value,
        ),
    ]


def mac_terms(
    macs: Ints,
    weight_bits: Ints,
    activation_bits: Ints,
    outer_additions: Ints,
    lanes: Ints,
    spec: AcceleratorSpec,
    input_zeros: Ints | float = 0.0,
) -> list[Term]:
    """What the processing elements spend, and the additions of partial sums at their edge."""
    tech, array = spec.technology, spec.array
    macs = gated(macs, input_zeros, array)
    part = laws.element(array, tech, weight_bits, activation_bits, "multiplier_energy_exponent", lanes)
    terms = [
        Term(component, constant, macs * amount * tech.constant(constant).value)
        for component, constant, amount in (
            ("mac", "multiplier_energy", part.multiplier),
            ("mac", "adder_energy", part.adder_bits),
            ("mac", "register_energy", part.register_bits),
            ("mac", "fused_brick_energy", part.bricks),
            ("accumulator", "adder_energy", part.accumulator_adder_bits),
            ("accumulator", "register_energy", part.accumulator_register_bits),
        )
    ]
    return terms + adding_terms("accumulator", outer_additions, array.accumulators.bits, spec)


def memory_terms(
    reads: dict[str, dict[str, Ints]],
    writes: dict[str, dict[str, Ints]],
    bits: dict[str, Ints],
    stored: dict[str, dict[str, Ints]],
    machine: Machine,
    spec: AcceleratorSpec,
) -> list[Term]:
    """Accesses of every memory, in words; the wires between buffers and array."""
    terms = []
    wired_bits = 0.0
    for level, memory in zip(machine.levels, spec.memories, strict=True):
        if level.kind == "registers":
            continue
        read_pj, write_pj = access_energy_pj(memory, spec)
        energy = sum(
            (
                side[level.name][operand] * stored[level.name][operand] / level.word_bits * pj
                for side, pj in ((reads, read_pj), (writes, write_pj))
                for operand in side[level.name]
            ),
            0.0,
        )
        constant = dram_constant(memory) if memory.kind == "dram" else "sram_energy"
        terms.append(Term(memory.name, constant, energy))
        if memory.kind == "sram":
            wired_bits = wired_bits + sum(
                (
                    side[level.name][operand] * bits[operand]
                    for side in (reads, writes)
                    for operand in side[level.name]
                ),
                0.0,
            )
    wire = spec.technology.constant("wire_energy").value * wire_length_mm(spec)
    return [*terms, Term("wires", "wire_energy", wired_bits * wire)]


def wire_length_mm(spec: AcceleratorSpec) -> float:
    """Mean way between a buffer and the array: half the side of the chip's area."""
    return 0.5 * sum(area_mm2(spec).values()) ** 0.5


def vector_terms(work: dict[str, Ints], spec: AcceleratorSpec) -> list[Term]:
    """Requantization (a wide multiplication, a rounding addition, a shift and a clamp) and row sums."""
    lane = spec.vector.lane_bits
    multiply = spec.technology.constant("requantize_multiply_energy").value * (lane / 32) ** 2
    return [
        Term("requantize", "requantize_multiply_energy", work["requantize"] * multiply),
        *adding_terms("requantize", work["requantize"], 2 * lane, spec, registers=2),
        *adding_terms("row_sums", work["row_sums"], spec.array.accumulators.bits, spec, registers=2),
    ]


def gated(amount: Ints, input_zeros: Ints | float, array: ArraySpec) -> Ints:
    """What is left of work that a zero input stops, where the elements gate it."""
    return amount * (1 - input_zeros) if array.zero_gating else amount


def register_file_terms(plan: Schedules, machine: Machine, spec: AcceleratorSpec) -> list[Term]:
    """Register files of the elements: a zero input is read, but stops the weight and the partial sum."""
    terms = []
    bits = machine.operand_bits(plan.problems)
    for memory in spec.memories:
        if memory.kind != "registers":
            continue
        moved = 0.0
        for operand, accesses in plan.counts.register_accesses.items():
            if operand in memory.operands:
                zeros = 0.0 if operand == "input" else plan.problems.input_zeros
                moved = moved + gated(accesses, zeros, spec.array) * bits[operand]
        terms.append(
            Term(
                memory.name,
                "register_file_energy",
                moved * spec.technology.constant("register_file_energy").value,
            )
        )
    return terms


def clock_terms(latency_cycles: Ints, spec: AcceleratorSpec) -> list[Term]:
    """Clock network and control, where the technology knows them: every element, every cycle."""
    constant = spec.technology.constants.get("clock_energy")
    if constant is None:
        return []
    return [Term("clock", "clock_energy", latency_cycles * spec.array.pes * constant.value)]


def idle_terms(macs: Ints, peak: Ints, latency_cycles: Ints, spec: AcceleratorSpec) -> list[Term]:
    """Clocks of elements that do not multiply: fills, drains, stalls, unused rows and columns."""
    tech = spec.technology
    if spec.array.clock_gating:
        return []
    busy = macs / peak
    idle_bits = (latency_cycles - busy) * spec.array.pes * laws.register_bits(spec.array)
    return [Term("idle", "idle_register_energy", idle_bits * tech.constant("idle_register_energy").value)]


def leakage_terms(latency_cycles: Ints, spec: AcceleratorSpec) -> list[Term]:
    """Leakage of the whole chip while the layer runs."""
    pj_per_cycle_per_mw = 1e9 / spec.clock_hz
    return [
        Term("leakage", constant, latency_cycles * mw * pj_per_cycle_per_mw)
        for constant, mw in leakage_mw(spec).items()
    ]


def schedule_terms(plan: Schedules, machine: Machine, spec: AcceleratorSpec) -> list[Term]:
    """Every term of MAC layers."""
    p = plan.problems
    lanes, steps = machine.lanes_and_steps(p)
    return [
        *idle_terms(p.macs, spec.array.pes * lanes / steps, plan.latency_cycles, spec),
        *mac_terms(
            p.macs, p.weight_bits, p.activation_bits, plan.counts.outer_additions, lanes, spec, p.input_zeros
        ),
        *memory_terms(plan.reads, plan.writes, machine.operand_bits(p), machine.stored(p), machine, spec),
        *register_file_terms(plan, machine, spec),
        *vector_terms(plan.vector_operations, spec),
        *clock_terms(plan.latency_cycles, spec),
        *leakage_terms(plan.latency_cycles, spec),
    ]


def total_of(terms: Iterable[Term]) -> np.ndarray:
    return sum((term.energy_pj for term in terms), 0.0)


def by_component(terms: Iterable[Term]) -> dict[str, np.ndarray]:
    parts: dict[str, np.ndarray] = {}
    for term in terms:
        parts[term.component] = parts.get(term.component, 0.0) + term.energy_pj
    return parts


def band_pj(terms: Iterable[Term], spec: AcceleratorSpec) -> np.ndarray:
    """Half-width of the total's band: constants err apart from each other, so their shares add in squares."""
    shares: dict[str, np.ndarray] = {}
    for term in terms:
        shares[term.constant] = shares.get(term.constant, 0.0) + term.energy_pj
    return np.sqrt(
        sum((share * spec.technology.constant(name).uncertainty) ** 2 for name, share in shares.items())
    )
