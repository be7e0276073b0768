"""Area and leakage of the hardware: they follow the spec, never the layer."""

from __future__ import annotations

from accelsim.hardware import AcceleratorSpec, MemorySpec
from accelsim.pricing import laws
from accelsim.pricing.sram import Sram, sram


def _vector_lane(spec: AcceleratorSpec) -> dict[str, float]:
    """Amounts in one lane of the vector unit: a multiplier, adders and registers of its width."""
    lane = spec.vector.lane_bits
    return {
        "multiplier": float(laws.multiplier_factor(lane, lane, spec.technology, "multiplier_area_exponent")),
        "adder": 3.0 * lane,
        "register": 4.0 * lane,
    }


def _lut(spec: AcceleratorSpec) -> Sram:
    """The look-up table of one lane."""
    tech = spec.technology
    return sram(spec.vector.lut_bytes, 8, 1, tech.sram_node, tech.sram_cell)


def memory_area_mm2(memory: MemorySpec, spec: AcceleratorSpec) -> float:
    """Of a memory on chip, all its instances: the technology's own `<memory>_area`, else the SRAM table."""
    tech = spec.technology
    if f"{memory.name}_area" in tech.constants:
        return tech.constant(f"{memory.name}_area").value
    table = sram(memory.size_bytes, memory.word_bits, memory.banks, tech.sram_node, memory.device or tech.sram_cell)
    copies = spec.array.pes if memory.per_pe else 1
    return table.area_mm2 * copies * tech.constant("sram_area").value


def area_mm2(spec: AcceleratorSpec) -> dict[str, float]:
    """By component: "mac", "accumulator", every on-chip memory by name, "vector", its tables "lut". Wires and
    control are not in it.
    """
    tech, pes = spec.technology, spec.array.pes
    parts = {
        name: um2 * spec.array.area_overhead * pes * 1e-6
        for name, um2 in laws.element_area_um2(spec.array, tech).items()
    }
    for memory in spec.memories:
        if memory.kind != "dram":
            parts[memory.name] = memory_area_mm2(memory, spec)
    lane = sum(amount * tech.constant(f"{name}_area").value for name, amount in _vector_lane(spec).items())
    parts["vector"] = lane * spec.vector.lanes * 1e-6
    if spec.vector.lut_bytes:
        parts["lut"] = _lut(spec).area_mm2 * spec.vector.lanes * tech.constant("sram_area").value
    if spec.uncore_area_mm2:
        parts["uncore"] = spec.uncore_area_mm2
    return parts


def area_doubt_mm2(spec: AcceleratorSpec) -> float:
    """Half-width of the area's band: constants err apart from each other, so their shares add in squares."""
    tech, whole, squares = spec.technology, sum(area_mm2(spec).values()), 0.0
    laws_ = ("multiplier_area", "adder_area", "register_area", "fused_brick_area", "sram_area")
    own = tuple(f"{memory.name}_area" for memory in spec.memories if f"{memory.name}_area" in tech.constants)
    for name in (*laws_, *own):
        constant = tech.constant(name)
        larger = constant.model_copy(update={"value": constant.value * (1 + constant.uncertainty)})
        changed = tech.model_copy(update={"constants": {**tech.constants, name: larger}})
        squares += (sum(area_mm2(spec.model_copy(update={"technology": changed})).values()) - whole) ** 2
    return squares**0.5


def leakage_mw(spec: AcceleratorSpec) -> dict[str, float]:
    """By the constant that rules it: "multiplier_leakage" (all logic) and "sram_leakage"."""
    tech, pes = spec.technology, spec.array.pes
    elements = sum(laws.element_leakage_uw(spec.array, tech).values()) * pes * 1e-3
    lane = sum(amount * tech.constant(f"{name}_leakage").value for name, amount in _vector_lane(spec).items())
    memories = sum(
        sram(m.size_bytes, m.word_bits, m.banks, tech.sram_node, m.device or tech.sram_cell).leakage_mw
        * (pes if m.per_pe else 1)
        for m in spec.memories
        if m.kind != "dram"
    )
    if spec.vector.lut_bytes:
        memories += _lut(spec).leakage_mw * spec.vector.lanes
    return {
        "multiplier_leakage": elements + lane * spec.vector.lanes * 1e-3,
        "sram_leakage": memories * tech.constant("sram_leakage").value,
    }
