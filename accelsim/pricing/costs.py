"""What pricing returns: the cost of each layer and of the whole, by component, and the check that parts add
up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accelsim.dataflow.pipeline import LayerSteps
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec, Constant

#: components of energy and area that belong to the processing elements
MAC_COMPONENTS = ("mac", "accumulator")


def _added(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total.get(key, 0) + value
    return total


@dataclass(frozen=True)
class LayerCost:
    """One layer, once through the accelerator.

    energy_pj: by component: "mac" (multiplier, operand registers and an adder as wide as the product),
    "idle" (clocks of elements that do not multiply),
    "accumulator" (what wider accumulators and their registers add), each memory by its name, "wires",
    "vector" (elementwise work), "requantize", "row_sums", "leakage".
    bytes_read, bytes_written: {memory: {operand: bytes}}, as stored there (packed).
    compute_cycles: array or vector unit, fills and drains included; stall_cycles: waiting for a memory.
    utilization: macs / (peak MACs of the array × latency), 0 for layers without MACs.
    band_pj: (low, high) of the total energy from the constants' uncertainties.

    occupancy_bytes: room that its tiles, second buffers and resident tensors take in each buffer. steps: of the
    tile loops, where the layer has some.
    """

    name: str
    op_kind: str
    macs: int
    energy_pj: Mapping[str, float]
    compute_cycles: int
    stall_cycles: int
    vector_cycles: int
    bytes_read: Mapping[str, Mapping[str, int]]
    bytes_written: Mapping[str, Mapping[str, int]]
    utilization: float
    band_pj: tuple[float, float] = (0.0, 0.0)
    tiling: Mapping[str, int | str] = field(default_factory=dict)
    peak_macs_per_cycle: float = 0.0
    occupancy_bytes: Mapping[str, float] = field(default_factory=dict)
    steps: LayerSteps | None = None

    @property
    def total_energy_pj(self) -> float:
        return math.fsum(self.energy_pj.values())

    @property
    def mac_energy_pj(self) -> float:
        """Energy of the processing elements: "mac" + "accumulator"."""
        return math.fsum(self.energy_pj.get(part, 0.0) for part in MAC_COMPONENTS)

    @property
    def latency_cycles(self) -> int:
        return self.compute_cycles + self.stall_cycles

    def bytes_at(self, memory: str) -> int:
        """Bytes read from and written to a memory."""
        sides = (self.bytes_read, self.bytes_written)
        return sum(sum(side.get(memory, {}).values()) for side in sides)


@dataclass(frozen=True)
class CostReport:
    """Cost of one inference of the batch in the nests. Totals are properties: sums of the layers.

    spec: the accelerator that was priced ("sized" elements at the network's widths). area_mm2: by component,
    of the hardware, whatever the layers. constants: every constant that entered, with unit and source.
    area_doubt_mm2: half-width of the area's band. notes: what a reader must know (approximations, widths that
    do not help, …).
    """

    spec: AcceleratorSpec
    layers: tuple[LayerCost, ...]
    area_mm2: Mapping[str, float]
    constants: Mapping[str, Constant]
    notes: tuple[str, ...] = ()
    area_doubt_mm2: float = 0.0

    @property
    def energy_pj(self) -> dict[str, float]:
        """By component, over all layers."""
        return _added(layer.energy_pj for layer in self.layers)

    @property
    def total_energy_pj(self) -> float:
        return math.fsum(layer.total_energy_pj for layer in self.layers)

    @property
    def mac_energy_pj(self) -> float:
        return math.fsum(layer.mac_energy_pj for layer in self.layers)

    @property
    def band_pj(self) -> tuple[float, float]:
        """(low, high) of the total energy: the same constant errs the same way in every layer."""
        return (
            math.fsum(layer.band_pj[0] for layer in self.layers),
            math.fsum(layer.band_pj[1] for layer in self.layers),
        )

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def compute_cycles(self) -> int:
        return sum(layer.compute_cycles for layer in self.layers)

    @property
    def stall_cycles(self) -> int:
        return sum(layer.stall_cycles for layer in self.layers)

    @property
    def latency_cycles(self) -> int:
        return sum(layer.latency_cycles for layer in self.layers)

    @property
    def latency_s(self) -> float:
        return self.latency_cycles / self.spec.clock_hz

    @property
    def power_w(self) -> float:
        """Average power: energy over latency."""
        return self.total_energy_pj * 1e-12 / self.latency_s if self.latency_cycles else 0.0

    @property
    def peak_power_w(self) -> float:
        """Power of the layer that draws most."""
        return max(
            (
                layer.total_energy_pj * 1e-12 * self.spec.clock_hz / layer.latency_cycles
                for layer in self.layers
                if layer.latency_cycles
            ),
            default=0.0,
        )

    @property
    def energy_delay_js(self) -> float:
        """Energy-delay product, joule seconds."""
        return self.total_energy_pj * 1e-12 * self.latency_s

    @property
    def tops(self) -> float:
        """Achieved 10^12 operations per second; a MAC is two operations."""
        return 2e-12 * self.macs / self.latency_s if self.latency_cycles else 0.0

    @property
    def tops_per_watt(self) -> float:
        return 2.0 * self.macs / self.total_energy_pj if self.total_energy_pj else 0.0

    @property
    def utilization(self) -> float:
        """MACs done over MACs that fit in the total latency at the layers' peak rates."""
        peak = math.fsum(layer.peak_macs_per_cycle * layer.latency_cycles for layer in self.layers if layer.macs)
        return self.macs / peak if peak else 0.0

    @property
    def total_area_mm2(self) -> float:
        return math.fsum(self.area_mm2.values())

    @property
    def area_band_mm2(self) -> tuple[float, float]:
        """(low, high) of the area from the constants' uncertainties."""
        return max(0.0, self.total_area_mm2 - self.area_doubt_mm2), self.total_area_mm2 + self.area_doubt_mm2

    @property
    def bytes_read(self) -> dict[str, dict[str, int]]:
        return {m.name: _added(layer.bytes_read.get(m.name, {}) for layer in self.layers) for m in self.spec.memories}

    @property
    def bytes_written(self) -> dict[str, dict[str, int]]:
        return {
            m.name: _added(layer.bytes_written.get(m.name, {}) for layer in self.layers) for m in self.spec.memories
        }

    def bytes_at(self, memory: str) -> int:
        return sum(layer.bytes_at(memory) for layer in self.layers)

    @property
    def dram_bytes(self) -> int:
        return self.bytes_at(self.spec.dram.name)

    def roofline(self) -> list[dict[str, float | str]]:
        """Per MAC layer: operations per DRAM byte against achieved and attainable operations per second."""
        rows: list[dict[str, float | str]] = []
        slope = self.spec.link_bytes_per_cycle * self.spec.clock_hz
        for layer in self.layers:
            moved = layer.bytes_at(self.spec.dram.name)
            if not layer.macs or not moved or not layer.latency_cycles:
                continue
            intensity = 2 * layer.macs / moved
            peak = 2 * layer.peak_macs_per_cycle * self.spec.clock_hz
            rows.append(
                {
                    "name": layer.name,
                    "ops_per_byte": intensity,
                    "achieved_ops_per_s": 2 * layer.macs * self.spec.clock_hz / layer.latency_cycles,
                    "attainable_ops_per_s": min(peak, intensity * slope),
                    "peak_ops_per_s": peak,
                }
            )
        return rows

    def check(self) -> None:
        """Conservation: nothing negative or not finite, parts add up, utilization at most 1, bands hold
        totals.

        Raises AccelsimError that names the layer: such a report is a defect, never a property of the network.
        """
        for layer in self.layers:
            counts = [
                layer.macs,
                layer.compute_cycles,
                layer.stall_cycles,
                layer.vector_cycles,
                *(b for side in (layer.bytes_read, layer.bytes_written) for per in side.values() for b in per.values()),
            ]
            if any(count < 0 for count in counts):
                raise AccelsimError(f"layer {layer.name!r}: negative count in its cost")
            if any(not math.isfinite(e) or e < 0 for e in layer.energy_pj.values()):
                raise AccelsimError(f"layer {layer.name!r}: energy negative or not finite: {layer.energy_pj}")
            if layer.utilization > 1 + 1e-9:
                raise AccelsimError(f"layer {layer.name!r}: utilization {layer.utilization} is above 1")
            low, high = layer.band_pj
            if not low * (1 - 1e-9) <= layer.total_energy_pj <= high * (1 + 1e-9):
                raise AccelsimError(f"layer {layer.name!r}: energy lies outside its band {layer.band_pj}")
        by_component = math.fsum(self.energy_pj.values())
        if not math.isclose(by_component, self.total_energy_pj, rel_tol=1e-9, abs_tol=1e-9):
            raise AccelsimError(
                f"energy by component adds up to {by_component} pJ, by layer to {self.total_energy_pj} pJ"
            )
