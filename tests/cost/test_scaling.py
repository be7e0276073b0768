"""Technology scaling: the tables' own points, and the range between them."""

from __future__ import annotations

import pytest
from networks import resnet18

from accelsim.errors import AccelsimError
from accelsim.hardware import load_technology
from accelsim.pricing import price
from accelsim.pricing.scaled import price_both_scalings
from accelsim.scaling import scaling_factor, stillmaker_energy


def test_stillmaker_points():
    # 45 nm at 0.9 V: 1.103·0.81 - 0.362·0.9 + 0.2767
    assert stillmaker_energy(45, 0.9) == pytest.approx(0.84433)
    saved = scaling_factor("stillmaker", "adder_energy", "pJ/bit", (45, 0.9), (7, 0.7), 32)
    assert 16 < 1 / saved < 18
    assert scaling_factor("stillmaker", "adder_area", "um2/bit", (45, 0.9), (16, 0.8), 32) == pytest.approx(0.19)
    assert scaling_factor("tpuv4i", "multiplier_energy", "pJ", (45, 0.9), (7, 0.7), 32) == pytest.approx(0.35)
    for unscaled, unit in (("dram_hbm2", "pJ/bit"), ("multiplier_energy_exponent", "1"), ("multiplier_offset", "bit")):
        assert scaling_factor("stillmaker", unscaled, unit, (45, 0.9), (7, 0.7), 32) == 1
    with pytest.raises(AccelsimError, match="unknown scaling table"):
        scaling_factor("moore", "adder_energy", "pJ/bit", (45, 0.9), (7, 0.7), 32)


def test_smaller_nodes_cost_less():
    names = ("45nm", "28nm", "22nm", "16nm", "7nm")
    for constant in ("multiplier_energy", "adder_area", "register_leakage", "sram_energy"):
        values = [load_technology(name).constant(constant).value for name in names]
        assert values == sorted(values, reverse=True), constant
    assert "stillmaker" in load_technology("7nm").constant("adder_energy").source


def test_both_tables_make_a_range():
    layers = resnet18(64)
    both = price_both_scalings(layers, "nvdla-small")
    assert both["stillmaker"].total_energy_pj == pytest.approx(price(layers, "nvdla-small").total_energy_pj)
    assert both["tpuv4i"].mac_energy_pj > 2 * both["stillmaker"].mac_energy_pj
    assert both["tpuv4i"].total_area_mm2 == both["stillmaker"].total_area_mm2
    with pytest.raises(AccelsimError, match="not scaled"):
        price_both_scalings(layers, "edge-16x16")
