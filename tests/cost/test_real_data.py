"""What data do to the cost: toggles against gate-level switching, zeros, compression."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
import pytest
from networks import conv

from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec, load_technology
from accelsim.pricing import Activity, price
from accelsim.pricing.switching import AVERAGE_TOGGLES, CHECKED_FIT, switching

LAYERS = [("conv", "conv2d", conv(16, 16, 32, 3))]


def test_toggle_law_is_the_fit_to_gate_level_switching():
    file = resources.files("accelsim") / "data" / "technology" / "mac_toggles.csv"
    rows = list(csv.DictReader(line for line in file.read_text("utf-8").splitlines() if line[0] != "#"))
    toggles = np.array([[float(r[f"{o}_toggles"]) for o in ("input", "weight", "psum")] for r in rows])
    gates = np.array([float(r["switching"]) for r in rows])
    fitted = np.linalg.lstsq(toggles / gates[:, None], np.ones(len(rows)), rcond=None)[0]
    technology = load_technology("45nm")
    constants = [technology.constant(f"toggle_{o}").value for o in ("input", "weight", "psum")]
    assert len(rows) == 60 and np.allclose(fitted, constants, atol=0.001)
    law = switching(*toggles.T, technology)
    correlation, slope, rms = CHECKED_FIT
    assert np.corrcoef(law, gates)[0, 1] == pytest.approx(correlation, abs=0.005)
    assert law @ gates / (law @ law) == pytest.approx(slope, abs=0.005)
    assert np.sqrt(np.mean((law / gates - 1) ** 2)) == pytest.approx(rms, abs=0.005)


def test_average_toggles_change_nothing_and_quiet_data_cost_less():
    plain = price(LAYERS, "micro-8x8")
    same = price(LAYERS, "micro-8x8", activity={"conv": Activity(0, 0, *AVERAGE_TOGGLES)})
    quiet = price(LAYERS, "micro-8x8", activity={"conv": Activity(0, 0, 0.2, 0.4, 0.1)})
    for part in ("mac", "accumulator"):
        assert same.energy_pj[part] == pytest.approx(plain.energy_pj[part])
    for part in ("mac", "accumulator", "wires"):
        assert quiet.energy_pj[part] < plain.energy_pj[part]
    assert quiet.energy_pj["buffer"] == plain.energy_pj["buffer"]
    assert any("Toggle term, calibrated" in note for note in quiet.notes) and not set(quiet.notes) <= set(plain.notes)
    assert "toggle_input" in quiet.constants and "toggle_input" not in plain.constants
    widths = [(high - low) / report.total_energy_pj for report in (same, plain) for low, high in (report.band_pj,)]
    assert widths[0] > widths[1], "the law's own doubt widens the band"


def test_a_stationary_operand_stands_still():
    """Each weight of a weight-stationary array meets 256 outputs: what its bits do between them is nothing."""
    activity = {"conv": Activity(0, 0, *AVERAGE_TOGGLES)}
    plain = price(LAYERS, "edge-16x16")
    report = price(LAYERS, "edge-16x16", activity=activity)
    constants = {o: report.constants[f"toggle_{o}"].value for o in ("input", "weight", "psum")}
    average = sum(constants[o] * t for o, t in zip(constants, AVERAGE_TOGGLES, strict=True))
    still = average - constants["weight"] * 0.5 * (1 - 1 / 256)
    moving = plain.energy_pj["mac"] - report.energy_pj["mac"]
    per_mac = plain.constants["multiplier_energy"].value + 16 * plain.constants["adder_energy"].value
    assert moving == pytest.approx(report.macs * per_mac * (1 - still / average), rel=1e-3)


def test_uncalibrated_where_no_gates_were_simulated():
    nest = conv(16, 16, 32, 3, weight_bits=16, activation_bits=16)
    notes = price([("c", "conv2d", nest)], "edge-16x16", activity={"c": Activity()}).notes
    assert any("uncalibrated for sized elements of 16×16 bits" in note for note in notes)


def test_zeros_gate_only_where_the_spec_says_so():
    half = {"conv": Activity(input_zeros=0.5, output_zeros=0.5)}
    plain = price(LAYERS, "edge-16x16")
    assert price(LAYERS, "edge-16x16", activity=half).energy_pj == plain.energy_pj
    gating = load_spec("edge-16x16").replace(**{"array.zero_gating": True})
    assert price(LAYERS, gating, activity=half).energy_pj["mac"] == pytest.approx(plain.energy_pj["mac"] / 2)


@pytest.mark.parametrize("compression", ["rlc", "zvc"])
def test_compression_moves_fewer_bytes_and_never_more(compression):
    spec = load_spec("edge-16x16").replace(**{"memories.dram.compression": compression})
    moved = [price(LAYERS, spec, activity={"conv": Activity(z, z)}).dram_bytes for z in (0, 0.3, 0.6, 0.9, 1)]
    assert moved == sorted(moved, reverse=True) and moved[-1] < moved[0]
    assert moved[0] == price(LAYERS, "edge-16x16").dram_bytes


def test_fractions_are_checked():
    coded = Activity(input_zeros=0.6, input_coded=0.45, output_zeros=0.5)
    assert coded.coded("rlc") == (0.45, 0.5) and coded.coded("zvc") == (0.4, 0.5)
    for wrong in ({"input_zeros": 1.2}, {"psum_toggles": -0.1}):
        with pytest.raises(AccelsimError, match=next(iter(wrong))):
            Activity(**wrong)
