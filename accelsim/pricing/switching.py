"""Toggles of real data as a factor on dynamic energy: multipliers, adders and wires against random operands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from accelsim.dataflow.machine import Machine
from accelsim.dataflow.problem import Ints
from accelsim.dataflow.schedule import Schedules
from accelsim.hardware import ArraySpec, TechnologySpec
from accelsim.pricing.activity import Activity
from accelsim.pricing.energy import Term
from accelsim.pricing.rates import Rates

#: fractions of bits that change from cycle to cycle in inputs, weights and sums of random operands: what the
#: energy constants stand for
AVERAGE_TOGGLES = (0.5, 0.5, 0.24)
#: of the values on a bus between buffer and array
AVERAGE_WIRE_TOGGLES = 0.5
#: what the law was held against (data/technology/mac_toggles.csv): weight × activation bits
CHECKED_WIDTHS = ((8, 8), (4, 8), (4, 4))
#: how the law fits those rows: correlation, slope of gate level over law, rms of the relative error
CHECKED_FIT = (0.93, 1.07, 0.15)

_LOGIC = ("multiplier_energy", "fused_brick_energy", "adder_energy")
_COMPONENTS = ("mac", "accumulator", "wires")


def switching(inputs: Any, weights: Any, sums: Any, technology: TechnologySpec) -> Any:
    """Switching of a multiplier and its adder relative to random operands, from fractions of toggling bits:
    Σ toggle constant · fraction.
    """
    names = ("toggle_input", "toggle_weight", "toggle_psum")
    parts = zip(names, (inputs, weights, sums), strict=True)
    return sum(technology.constant(name).value * toggles for name, toggles in parts)


def calibration_note(array: ArraySpec) -> str:
    """What a reader must know of the toggle term on an array."""
    correlation, slope, rms = CHECKED_FIT
    fit = (
        "a law fitted to gate-level switching of MACs synthesised with yosys "
        f"(8×8, 4×8 and 4×4 bits: correlation {correlation}, slope {slope}, rms error {100 * rms:.0f} %, no glitches)"
    )
    widths = (array.weight_bits, array.activation_bits)
    if array.pe in ("sized", "fixed") and (widths in CHECKED_WIDTHS or widths[::-1] in CHECKED_WIDTHS):
        return f"Toggle term, calibrated: {fit}."
    return f"Toggle term, uncalibrated for {array.pe} elements of {widths[0]}×{widths[1]} bits: {fit}."


def toggled(
    terms: Iterable[Term], plan: Schedules, machine: Machine, rates: Rates, activity: Sequence[Activity]
) -> tuple[list[Term], Ints]:
    """(the terms with the data's toggles, energy_pj of each layer that the law scaled).

    activity: one per row of the plan. Multipliers and adders are in proportion to `switching`, wires to the
    toggles of what they carry; a stationary operand changes only when it is loaded. A gated zero holds the
    element's operands, so that at most the same toggles fall on fewer MACs. Registers keep their energy: it is
    mostly clock.
    """
    known = np.array([[np.nan if t is None else t for t in one.toggles] for one in activity]).T
    seen = known * _changes_per_mac(plan, machine)
    if rates.array.zero_gating:
        seen[[0, 2]] = np.minimum(1.0, seen[[0, 2]] / np.maximum(1 - plan.problems.mac_zeros, 1e-9))
    effective = np.where(np.isnan(known), np.array(AVERAGE_TOGGLES)[:, None], seen)
    inputs, weights, sums = effective
    factor = switching(inputs, weights, sums, rates.technology) / switching(*AVERAGE_TOGGLES, rates.technology)
    wires = np.where(np.isnan(known), 1.0, known / AVERAGE_WIRE_TOGGLES)
    scales = dict(zip(("input", "weight", "psum"), wires, strict=True))
    result, scaled = [], np.zeros(len(plan.problems))
    for term in terms:
        if term.component in _COMPONENTS and (term.stream or term.constant in _LOGIC):
            scale = scales[term.stream] if term.stream else factor
            term = replace(term, energy_pj=term.energy_pj * scale)
            scaled = scaled + (0.0 if term.stream else term.energy_pj)
        result.append(term)
    return result, np.where(np.isnan(known).all(axis=0), 0.0, scaled)


def _changes_per_mac(plan: Schedules, machine: Machine) -> np.ndarray:
    """Of inputs, weights and sums: new values that an element meets, per MAC."""
    held = np.ones((3, len(plan.problems)))
    row = {"input_stationary": 0, "weight_stationary": 1}.get(machine.dataflow)
    if row is not None:
        loaded = plan.counts.array_reads[("input", "weight")[row]]
        held[row] = np.minimum(1.0, loaded / plan.problems.macs)
    return held
