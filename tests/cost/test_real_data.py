"""What data do to the cost: toggles against gate-level switching, zeros, compression."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
import pytest
from networks import conv

from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.pricing import Activity, energy, price

LAYERS = [("conv", "conv2d", conv(16, 16, 32, 3))]


def test_toggle_law_is_the_fit_to_gate_level_switching():
    file = resources.files("accelsim") / "data" / "technology" / "mac_toggles.csv"
    rows = list(csv.DictReader(line for line in file.read_text("utf-8").splitlines() if line[0] != "#"))
    toggles = np.array([[float(r[f"{o}_toggles"]) for o in ("input", "weight", "psum")] for r in rows])
    switching = np.array([float(r["switching"]) for r in rows])
    fitted = np.linalg.lstsq(toggles / switching[:, None], np.ones(len(rows)), rcond=None)[0]
    assert np.allclose(fitted, energy.TOGGLE_LAW, atol=0.002)
    law = energy.switching(*toggles.T)
    assert len(rows) == 36 and np.corrcoef(law, switching)[0, 1] > 0.9
    assert np.sqrt(np.mean((law / switching - 1) ** 2)) < 0.24
    slope = law @ switching / (law @ law)
    assert 0.85 < slope < 1.15


def test_average_toggles_change_nothing_and_quiet_data_cost_less():
    plain = price(LAYERS, "edge-16x16")
    average = Activity(0, 0, *energy.AVERAGE_TOGGLES)
    same = price(LAYERS, "edge-16x16", activity={"conv": average})
    quiet = price(LAYERS, "edge-16x16", activity={"conv": Activity(0, 0, 0.2, 0.5, 0.1)})
    assert same.energy_pj == pytest.approx(plain.energy_pj)
    for part in ("mac", "accumulator", "wires"):
        assert quiet.energy_pj[part] < plain.energy_pj[part]
    assert quiet.energy_pj["buffer"] == plain.energy_pj["buffer"]
    assert plain.notes != quiet.notes and any("gate-level" in note for note in quiet.notes)


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
    for wrong in ({"input_zeros": 1.2}, {"psum_toggles": -0.1}):
        with pytest.raises(AccelsimError, match=next(iter(wrong))):
            Activity(**wrong)
