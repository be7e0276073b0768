"""Energy of schedules: every term is an amount times a named constant, so that bands and sources follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from accelsim.dataflow.machine import Level, Machine
from accelsim.dataflow.problem import Ints
from accelsim.dataflow.schedule import Schedules
from accelsim.pricing import laws
from accelsim.pricing.rates import Rates

Counts = dict[str, dict[str, Ints]]
_STREAM_OF = {"weight": "weight", "bias": "weight", "psum": "psum", "output": "psum"}


@dataclass(frozen=True)
class Term:
    """energy_pj of one component that is proportional to one constant; stream: "input", "weight" or "psum"
    where it moves values of that stream.
    """

    component: str
    constant: str
    energy_pj: Ints
    stream: str = ""


def adding_terms(component: str, additions: Ints, bits: Ints, rates: Rates, registers: int = 1) -> list[Term]:
    """Additions of so many bits, each through `registers` registers as wide."""
    work = additions * bits
    return [
        Term(component, "adder_energy", work * rates.value("adder_energy")),
        Term(component, "register_energy", work * registers * rates.value("register_energy")),
    ]


def gated(amount: Ints, mac_zeros: Ints | float, rates: Rates) -> Ints:
    """What is left of work that a zero input stops, where the elements gate it."""
    return amount * (1 - mac_zeros) if rates.array.zero_gating else amount


def mac_terms(plan: Schedules, lanes: Ints, rates: Rates) -> list[Term]:
    """What the processing elements spend, and the additions of partial sums at their edge."""
    p = plan.problems
    macs = gated(p.macs, p.mac_zeros, rates)
    part = laws.element(
        rates.array, rates.technology, p.weight_bits, p.activation_bits, "multiplier_energy_exponent", lanes
    )
    amounts = (
        ("mac", "multiplier_energy", part.multiplier),
        ("mac", "adder_energy", part.adder_bits),
        ("mac", "register_energy", part.register_bits),
        ("mac", "fused_brick_energy", part.bricks),
        ("accumulator", "adder_energy", part.accumulator_adder_bits),
        ("accumulator", "register_energy", part.accumulator_register_bits),
    )
    terms = [Term(name, constant, macs * amount * rates.value(constant)) for name, constant, amount in amounts]
    return terms + adding_terms("accumulator", plan.counts.outer_additions, rates.array.accumulators.bits, rates)


def memory_terms(
    levels: Iterable[Level],
    reads: Counts,
    writes: Counts,
    bits: dict[str, Ints],
    stored: Counts,
    rates: Rates,
) -> list[Term]:
    """Accesses of DRAM and buffers, in words as they are packed; the wires between buffers and array."""
    terms, wired_bits = [], dict.fromkeys(("input", "weight", "psum"), 0.0)
    for level in levels:
        if level.kind == "registers":
            continue
        energy = 0.0
        for side, pj in zip((reads, writes), rates.access_pj[level.name], strict=True):
            for operand, elements in side[level.name].items():
                moved = elements * stored[level.name][operand]
                if level.kind == "dram":  # whole bursts
                    moved = 8 * level.bytes_for(elements, stored[level.name][operand])
                energy = energy + moved / level.word_bits * pj
                if level.kind == "sram":
                    stream = _STREAM_OF.get(operand, "input")
                    wired_bits[stream] = wired_bits[stream] + elements * bits[operand]
        terms.append(Term(level.name, rates.constant_of[level.name], energy))
    wires = (Term("wires", "wire_energy", moved * rates.wire_pj_per_bit, s) for s, moved in wired_bits.items())
    return [*terms, *wires]


def register_file_terms(plan: Schedules, machine: Machine, rates: Rates) -> list[Term]:
    """Register files of the elements: a zero input is read, but stops the weight and the partial sum."""
    terms, bits = [], machine.operand_bits(plan.problems)
    for level in machine.levels:
        if level.kind != "registers":
            continue
        moved = 0.0
        for operand, accesses in plan.counts.register_accesses.items():
            if operand in level.operands:
                zeros = 0.0 if operand == "input" else plan.problems.mac_zeros
                moved = moved + gated(accesses, zeros, rates) * bits[operand]
        per_bit = sum(rates.access_pj[level.name]) / 2 / level.word_bits
        terms.append(Term(level.name, rates.constant_of[level.name], moved * per_bit))
    return terms


def vector_terms(work: dict[str, Ints], rates: Rates) -> list[Term]:
    """Requantization (a wide multiplication, a rounding addition, a shift and a clamp) and row sums."""
    lane = rates.lane_bits
    multiply = rates.value("requantize_multiply_energy") * (lane / 32) ** 2
    return [
        Term("requantize", "requantize_multiply_energy", work["requantize"] * multiply),
        *adding_terms("requantize", work["requantize"], 2 * lane, rates, registers=2),
        *adding_terms("row_sums", work["row_sums"], rates.array.accumulators.bits, rates, registers=2),
    ]


def standing_terms(latency_cycles: Ints, rates: Rates) -> list[Term]:
    """What passes with time: leakage of the whole chip, and the clock network of the array: per element where the
    technology knows a chip's own, else per clocked bit.
    """
    pj_per_cycle_per_mw = 1e9 / rates.clock_hz
    terms = [
        Term("leakage", constant, latency_cycles * mw * pj_per_cycle_per_mw)
        for constant, mw in rates.leakage_mw.items()
    ]
    if "clock_energy" in rates.technology.constants:
        pj, constant = rates.value("clock_energy"), "clock_energy"
    else:
        pj, constant = rates.value("clock_tree_energy") * laws.register_bits(rates.array), "clock_tree_energy"
    return [*terms, Term("clock", constant, latency_cycles * rates.array.pes * pj)]


def idle_terms(plan: Schedules, lanes: Ints, steps: Ints, rates: Rates) -> list[Term]:
    """Clocks of elements that do not multiply: fills, drains, stalls, unused rows and columns."""
    if rates.array.clock_gating:
        return []
    idle = plan.latency_cycles * rates.array.pes - plan.problems.macs * steps / lanes
    energy = np.maximum(idle, 0) * laws.register_bits(rates.array) * rates.value("idle_register_energy")
    return [Term("idle", "idle_register_energy", energy)]


def schedule_terms(plan: Schedules, machine: Machine, rates: Rates) -> list[Term]:
    """Every term of MAC layers."""
    p = plan.problems
    lanes, steps = machine.lanes_and_steps(p)
    bits, stored = machine.operand_bits(p), machine.stored(p)
    return [
        *mac_terms(plan, lanes, rates),
        *idle_terms(plan, lanes, steps, rates),
        *memory_terms(machine.levels, plan.reads, plan.writes, bits, stored, rates),
        *register_file_terms(plan, machine, rates),
        *vector_terms(plan.vector_operations, rates),
        *standing_terms(plan.latency_cycles, rates),
    ]


def total_of(terms: Iterable[Term]) -> Ints:
    return sum((term.energy_pj for term in terms), 0.0)


def by_component(terms: Iterable[Term]) -> dict[str, Ints]:
    parts: dict[str, Ints] = {}
    for term in terms:
        parts[term.component] = parts.get(term.component, 0.0) + term.energy_pj
    return parts


def band_pj(terms: Iterable[Term], rates: Rates) -> Ints:
    """Half-width of the total's band: constants err apart from each other, so their shares add in squares."""
    shares: dict[str, Ints] = {}
    for term in terms:
        shares[term.constant] = shares.get(term.constant, 0.0) + term.energy_pj
    squares = (share * rates.technology.constant(name).uncertainty for name, share in shares.items())
    return np.sqrt(sum(square**2 for square in squares))
