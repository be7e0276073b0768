"""Energy, area and leakage of a processing element from the widths of its operands and accumulator.

Widths are numbers or columns. Multiplier (L1): s·((a·(b - β)) / (8·(8 - β)))^e with a >= b, the widths, s the
value at 8×8 bits, β = multiplier_offset. Adder and registers (L2): in proportion to their bits. Constants,
with their fits and sources, are in data/technology.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.dataflow.machine import fused_width
from accelsim.errors import AccelsimError
from accelsim.hardware import ArraySpec, TechnologySpec

Number = Any  # a number or a column of them


def multiplier_factor(
    weight_bits: Number, activation_bits: Number, technology: TechnologySpec, exponent: str
) -> Number:
    """(L1) without its scale: 1 for 8×8 bits."""
    offset = technology.constant("multiplier_offset").value
    wide, narrow = np.maximum(weight_bits, activation_bits), np.minimum(weight_bits, activation_bits)
    return (wide * (narrow - offset) / (8 * (8 - offset))) ** technology.constant(exponent).value


def multiplier_energy_pj(weight_bits: Number, activation_bits: Number, technology: TechnologySpec) -> Number:
    """Dynamic energy of one multiplication (L1)."""
    return technology.constant("multiplier_energy").value * multiplier_factor(
        weight_bits, activation_bits, technology, "multiplier_energy_exponent"
    )


def multiplier_area_um2(weight_bits: Number, activation_bits: Number, technology: TechnologySpec) -> Number:
    """Area of one multiplier (L1)."""
    return technology.constant("multiplier_area").value * multiplier_factor(
        weight_bits, activation_bits, technology, "multiplier_area_exponent"
    )


@dataclass(frozen=True)
class Element:
    """How much of each law one product uses: amounts per MAC, in units of the constants' denominators.

    multiplier: multiplications at the widths (factor of L1); adder_bits, register_bits: bits clocked per MAC
    of the synthesised element, as wide as the product; accumulator_adder_bits, accumulator_register_bits:
    what the accumulator adds; bricks: fused 2-bit bricks.
    """

    multiplier: Number
    adder_bits: Number
    register_bits: Number
    accumulator_adder_bits: Number
    accumulator_register_bits: Number
    bricks: Number


def element(
    array: ArraySpec,
    technology: TechnologySpec,
    weight_bits: Number,
    activation_bits: Number,
    exponent: str,
    lanes: Number = 1,
) -> Element:
    """The element's work per MAC for operands of these widths (or its hardware, at the array's widths).

    exponent: the constant with the exponent of L1. A product w + a bits wide is registered and added; the
    rest of the accumulator counts apart. A tree of n products accumulates once per n. "fixed": the array's
    own widths, whatever the operands; "serial": one bit of the serial operand per cycle, an accumulation each
    cycle; "fused": bricks, an accumulation per `lanes` products.
    """
    w, a = weight_bits, activation_bits
    if array.pe in ("fixed", "sized"):
        w, a = array.weight_bits + 0 * w, array.activation_bits + 0 * a
    steps: Number = 1
    if array.pe == "serial":
        steps = {"weight": w, "activation": a, "both": w * a}[array.serial_operand]
        w = np.ones_like(w) if array.serial_operand != "activation" else w
        a = np.ones_like(a) if array.serial_operand != "weight" else a
    inner, tree = array.accumulators.inner_bits, array.accumulators.tree_inputs
    product = np.minimum(w + a, inner)
    bricks: Number = 0.0
    if array.pe == "fused":
        bricks = fused_width(w) * fused_width(a) / 4
        beyond = inner - np.minimum(fused_width(w) + fused_width(a), inner)
        return Element(0.0, 0.0, 0.0, beyond / lanes, beyond / lanes, bricks)
    if tree == 1:
        extra_adder = extra_register = inner - product
        registers = w + a + product
    else:
        # n - 1 tree adders that grow to the product and log2(n) bits, then one accumulation
        extra_adder = (tree - 1) / tree * np.log2(tree) / 2 + (inner - product) / tree
        extra_register, registers = inner / tree, w + a
    return Element(
        steps * multiplier_factor(w, a, technology, exponent),
        steps * product,
        steps * registers,
        steps * extra_adder,
        steps * extra_register,
        bricks,
    )


def register_bits(array: ArraySpec) -> int:
    """Clocked bits of one element: operands and accumulator."""
    return array.weight_bits + array.activation_bits + array.accumulators.inner_bits


def element_area_um2(array: ArraySpec, technology: TechnologySpec) -> Mapping[str, float]:
    """Area of one element, "mac" and "accumulator" apart; a serial element has the hardware of one bit."""
    return _hardware(array, technology, "area")


def element_leakage_uw(array: ArraySpec, technology: TechnologySpec) -> Mapping[str, float]:
    """Leakage of one element, "mac" and "accumulator" apart."""
    return _hardware(array, technology, "leakage")


def _hardware(array: ArraySpec, technology: TechnologySpec, quantity: str) -> Mapping[str, float]:
    def value(name: str) -> float:
        return technology.constant(f"{name}_{quantity}").value

    w, a = np.int64(array.weight_bits), np.int64(array.activation_bits)
    part = element(array, technology, w, a, "multiplier_area_exponent")
    once: Number = 1.0
    if array.pe == "serial":  # `element` counts all the steps of a product; the hardware is that of one
        once = {"weight": w, "activation": a, "both": w * a}[array.serial_operand]
    bricks = 0.0
    if array.pe == "fused":
        growth = technology.constant("fused_brick_area_exponent").value
        bricks = value("fused_brick") * part.bricks ** (1 + growth)
    mac = (
        bricks
        + part.multiplier / once * value("multiplier")
        + part.adder_bits / once * value("adder")
        + part.register_bits / once * value("register")
    )
    accumulator = part.accumulator_adder_bits / once * value("adder") + part.accumulator_register_bits / once * value(
        "register"
    )
    return {"mac": float(mac), "accumulator": float(accumulator)}


def check_widths(array: ArraySpec, name: str, weight_bits: int, activation_bits: int) -> None:
    """AccelsimError where a layer's operands do not fit the elements of an array."""
    serial = {
        "serial": {"weight": ("weight",), "activation": ("activation",), "both": ("weight", "activation")}[
            array.serial_operand
        ]
    }.get(array.pe, ())
    for operand, bits, limit in (
        ("weight", weight_bits, array.weight_bits),
        ("activation", activation_bits, array.activation_bits),
    ):
        if bits > limit and operand not in serial:
            raise AccelsimError(
                f"layer {name!r}: {bits}-bit {operand}s do not fit the {limit}-bit {array.pe!r} "
                f"elements; raise array.{operand}_bits or use pe: sized"
            )
