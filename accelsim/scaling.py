"""Technology scaling by two published tables, which disagree: 45 to 7 nm saves 17 times energy in one, 2.6 in
the other. A technology names the table it uses; `accelsim.pricing.price_both_scalings` shows the range.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accelsim.errors import AccelsimError

#: Stillmaker & Baas, Integration 2017: energy ~ a·V² + b·V + c
STILLMAKER_ENERGY = {
    65: (3.755, -4.398, 1.975), 45: (1.103, -0.362, 0.2767), 32: (0.9559, -0.7823, 0.471),
    20: (0.373, -0.1582, 0.04104), 16: (0.2958, -0.1241, 0.03024), 14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375), 7: (0.1776, -0.09097, 0.02447),
}  # fmt: skip
#: the same: area against 45 nm
STILLMAKER_AREA = {65: 1.5, 45: 1.0, 32: 0.46, 20: 0.21, 16: 0.19, 14: 0.17, 10: 0.10, 7: 0.059}
#: Jouppi et al., ISCA 2021 (TPUv4i), 45 to 7 nm, unverified: energy at 7 nm over energy at 45 nm
TPUV4I_ENERGY = {"multiplier": 0.07 / 0.2, "requantize_multiply": 1.48 / 3.1, "adder": 0.03 / 0.1,
                 "register": 0.03 / 0.1, "sram": 8.5 / 20, "other": 0.07 / 0.2}  # fmt: skip


def _between(table: Mapping[int, float], node_nm: float) -> float:
    """Log-log interpolation over nodes, clamped at the table's ends."""
    nodes = sorted(table)
    return float(np.exp(np.interp(np.log(node_nm), np.log(nodes), np.log([table[n] for n in nodes]))))


def stillmaker_energy(node_nm: float, voltage_v: float) -> float:
    """Relative energy of a node at a supply voltage."""
    return _between({n: a * voltage_v**2 + b * voltage_v + c for n, (a, b, c) in STILLMAKER_ENERGY.items()}, node_nm)


def scaling_factor(
    table: str, name: str, unit: str, start: tuple[float, float], end: tuple[float, float], sram_node_nm: float
) -> float:
    """What a constant of a base technology is multiplied by.

    start, end: (node in nm, supply in V). Energies (pJ…) and areas (um2…) scale; leakage is kept per area;
    off-chip links and pure numbers do not scale; SRAM tables start at their own node. The TPUv4i table knows
    two nodes and no voltage: in between it is interpolated over the logarithm of the node; at one node, V².
    """
    if name.startswith("dram_") or unit in ("1", "bit"):
        return 1.0
    if name in ("sram_energy", "sram_area", "sram_leakage"):
        start = (sram_node_nm, start[1])
    area = _between(STILLMAKER_AREA, end[0]) / _between(STILLMAKER_AREA, start[0])
    if "area" in name or "leakage" in name:
        return area
    if table == "stillmaker":
        return stillmaker_energy(*end) / stillmaker_energy(*start)
    if table != "tpuv4i":
        raise AccelsimError(f"unknown scaling table {table!r}; known: stillmaker, tpuv4i")
    part = next((key for key in TPUV4I_ENERGY if name.startswith(key)), "other")
    octaves = np.log(end[0] / start[0]) / np.log(7 / 45)
    return float(TPUV4I_ENERGY[part] ** octaves * ((end[1] / start[1]) ** 2 if start[0] == end[0] else 1.0))
