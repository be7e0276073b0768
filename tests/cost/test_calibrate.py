"""Calibration finds the constants that made a table, and reports what it cannot fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec, load_technology
from accelsim.pricing import price
from accelsim.pricing.calibration import _amounts, calibrate
from accelsim.shapes import LoopNest

TECH = load_technology("45nm")
WIDTHS = list(itertools.product((2, 4, 8, 16), (4, 8), (20, 32)))


def table(path, multiplier=2.0, rest=0.5, noise=0.0):
    rng = np.random.default_rng(0)
    rows = ["# synthesised elements", "weight_bits, activation_bits, accumulator_bits, energy_pj, area_um2"]
    for point in WIDTHS:
        values = []
        for quantity in ("energy", "area"):
            a, b = _amounts(point, quantity, TECH)
            values.append((multiplier * a + rest * b) * (1 + noise * rng.standard_normal()))
        rows.append(",".join(map(str, (*point, *values))))
    path.write_text("\n".join(rows))
    return path


def test_finds_the_constants_that_made_the_table(tmp_path):
    result = calibrate(table(tmp_path / "mine.csv"), name="mine")
    for quantity in ("energy", "area"):
        for law, scale in (("multiplier", 2.0), ("adder", 0.5), ("register", 0.5)):
            key = f"{law}_{quantity}"
            assert result.technology.constant(key).value == pytest.approx(TECH.constant(key).value * scale)
    assert all(abs(error) < 1e-9 for fit in result.fits for error in (*fit.residuals, *fit.leave_one_out))
    assert "16 points" in result.summary() and result.technology.name == "mine"
    spec = load_spec("edge-16x16").replace(technology=result.technology)
    layers = [("fc", "linear", LoopNest(1, 64, 64))]
    assert price(layers, spec).area_mm2["mac"] > price(layers, "edge-16x16").area_mm2["mac"]


def test_residuals_and_leave_one_out_are_refits(tmp_path):
    result = calibrate(table(tmp_path / "noisy.csv", noise=0.05))
    fit = result.fits[0]
    assert 0 < max(map(abs, fit.residuals)) < max(map(abs, fit.leave_one_out)) < 0.2
    lines = (tmp_path / "noisy.csv").read_text().splitlines()
    (tmp_path / "less.csv").write_text("\n".join(lines[:2] + lines[3:]))
    without = calibrate(tmp_path / "less.csv").technology
    predicted = sum(
        a * without.constant(f"{n}_energy").value / TECH.constant(f"{n}_energy").value
        for a, n in zip(_amounts(WIDTHS[0], "energy", TECH), ("multiplier", "adder"), strict=True)
    )
    assert predicted / fit.measured[0] - 1 == pytest.approx(fit.leave_one_out[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("weight_bits,energy_pj\n8,0.2\n", "activation_bits"),
        ("weight_bits,activation_bits,energy_pj\n8,8,abc\n", "row 2"),
        ("weight_bits,activation_bits,energy_pj\n8,8,-1\n", "row 2"),
        ("weight_bits,activation_bits,energy_pj\n8,8,0.2\n4,4,0.1\n", "at least 3 points"),
        ("", "needs columns"),
    ],
)
def test_wrong_tables_are_named(tmp_path, text, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(AccelsimError, match=words):
        calibrate(path)
