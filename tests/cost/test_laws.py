"""Laws of energy and area against the data they come from."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from shared_material import SHARED, needs_shared

from accelsim.hardware import ArraySpec, load_technology
from accelsim.pricing import laws, sram

TECH = load_technology("45nm")
#: BitFusion's synthesised elements, 45 nm (Sharma et al., ISCA 2018): bits, pJ, um2, leakage uW
SYNTHESIS = [(2, 0.0407, 81.1, 1.74), (8, 0.2034, 510.7, 16.1), (16, 0.6027, 1679.4, 57.0)]


def element_energy_pj(array, weight_bits, activation_bits):
    part = laws.element(array, TECH, np.int64(weight_bits), np.int64(activation_bits), "multiplier_energy_exponent")
    amounts = {
        "multiplier": part.multiplier,
        "adder": part.adder_bits + part.accumulator_adder_bits,
        "register": part.register_bits + part.accumulator_register_bits,
    }
    amounts["fused_brick"] = part.bricks
    return sum(amount * TECH.constant(f"{name}_energy").value for name, amount in amounts.items())


@pytest.mark.parametrize(("bits", "pj", "um2", "uw"), SYNTHESIS)
def test_synthesised_elements_within_12_percent(bits, pj, um2, uw):
    array = ArraySpec(rows=1, cols=1, weight_bits=bits, activation_bits=bits, accumulators={"bits": max(8, 2 * bits)})
    part = laws.element(array, TECH, np.int64(bits), np.int64(bits), "multiplier_energy_exponent")
    mac = sum(
        getattr(part, a) * TECH.constant(c).value
        for a, c in (
            ("multiplier", "multiplier_energy"),
            ("adder_bits", "adder_energy"),
            ("register_bits", "register_energy"),
        )
    )
    assert mac == pytest.approx(pj, rel=0.12)
    assert laws.element_area_um2(array, TECH)["mac"] == pytest.approx(um2, rel=0.12)
    assert laws.element_leakage_uw(array, TECH)["mac"] == pytest.approx(uw, rel=0.12)


@needs_shared
def test_evoapprox_circuits_within_12_percent():
    with open(SHARED / "cost" / "evoapprox_45nm.csv") as file:
        for row in csv.DictReader(file):
            power, area = float(row["power_mW(rel)"]), float(row["area_um2"])
            if row["kind"] == "adders":
                bits = int(row["width"].split("_")[0])
                assert bits * TECH.constant("evoapprox_adder_power").value == pytest.approx(power, rel=0.12)
                assert bits * TECH.constant("adder_area").value == pytest.approx(area, rel=0.12)
                continue
            a, b = (int(n) for n in row["width"].split("_")[0].split("x"))
            for value, scale, exponent in (
                (power, "evoapprox_multiplier_power", "multiplier_energy_exponent"),
                (area, "evoapprox_multiplier_area", "multiplier_area_exponent"),
            ):
                law = TECH.constant(scale).value * laws.multiplier_factor(a, b, TECH, exponent)
                assert law == pytest.approx(value, rel=0.12), row["circuit"]


@pytest.mark.parametrize("quantity", sram.LEAVE_ONE_OUT)
def test_sram_leave_one_out(quantity):
    errors = sram.leave_one_out(quantity)
    assert errors.max() <= sram.LEAVE_ONE_OUT[quantity] <= 0.25
    # the closed form of the leave-one-out residual equals refitting without the run
    points, values = sram.runs()
    keep = np.arange(len(points)) != 7
    surface, weights, _ = sram._weights(quantity, points[keep], values[quantity][keep])
    one = points[7:8]
    value = sram._features(one) @ surface + sram._kernel(quantity, one, points[keep]) @ weights
    assert abs(value[0] - np.log(values[quantity][7])) == pytest.approx(np.log1p(errors[7]))


def test_sram_equals_its_runs_and_grows_with_size():
    table = sram.sram(32768, 64)
    assert table.read_pj == pytest.approx(17.04, rel=0.08) and table.area_mm2 == pytest.approx(0.0949, rel=0.05)
    for word in (8, 32, 64, 128, 512):
        sizes = [sram.sram(2**e, word, 1) for e in range(12, 26)]
        for quantity in sram.LEAVE_ONE_OUT:
            values = [getattr(size, quantity) for size in sizes]
            assert all(b > a * 0.99 for a, b in itertools.pairwise(values)), (word, quantity)


@pytest.mark.parametrize("pe", ["sized", "fixed", "fused", "serial"])
def test_more_bits_never_cost_less(pe):
    def array(w, a, acc, order):
        return ArraySpec(
            rows=1,
            cols=1,
            pe=pe,
            weight_bits=w,
            activation_bits=a,
            accumulators={"bits": acc, "order": order},
        )

    for order in ("serial", "tree:4"):
        for w in range(1, 17):
            for a in range(1, 17):
                for acc in (8, 20, 32):
                    here = array(w, a, acc, order)
                    for wider in (
                        array(min(w + 1, 16), a, acc, order),
                        array(w, min(a + 1, 16), acc, order),
                        array(w, a, acc + 1, order),
                    ):
                        less = element_energy_pj(here, w, a)
                        assert element_energy_pj(wider, wider.weight_bits, wider.activation_bits) >= less - 1e-12
                        for law in (laws.element_area_um2, laws.element_leakage_uw):
                            assert sum(law(wider, TECH).values()) >= sum(law(here, TECH).values()) - 1e-9
