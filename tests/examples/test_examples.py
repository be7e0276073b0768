"""Every example runs as it stands (on demo networks trained for two epochs only)."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest

from accelsim.frontend import digits

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))

#: what an example must print and leave behind
EXPECTED = {
    "onnx_roundtrip": (["equal in every element", "the same codes"], ["costs.onnx", "float.onnx", "model.onnx"]),
    "quickstart": (["accuracy", "µJ"], ["report.html"]),
    "own_network": (["integer outputs", "energy_pj"], ["detector.safetensors"]),
    "custom_spec": (["16-bit accumulators", "20-bit accumulators"], []),
    "requantizer": (["(smt, ", "mutation score 100%"], ["vectors"]),
    "explore_digits": (["accuracy simulations", "the cheapest"], ["explore.html", "explore.jsonl"]),
    "widths_sweep": (["weight_bits", "sqnr_db"], ["sweep.html", "sweep.jsonl"]),
    "qat_digits": (["float", "post-training", "trained integers", "on every output: True"], []),
    "qat_learning_rate": (["W4A4", "chosen: 0.01"], []),
    "encoder_digits": (["integer", "energy by operator", "decoder continues"], ["encoder.html"]),
    "paper_tables": (
        ["3 Cross-layer equalization", "CLE + bias absorption"],
        ["paper_tables.html", "paper_tables.jsonl"],
    ),
}
#: what an example is given on its command line
ARGUMENTS = {
    "encoder_digits": ["--epochs", "1"],
    "paper_tables": ["--tables", "3", "--networks", "mobilenet"],
    "qat_digits": ["--epochs", "1"],
    "qat_learning_rate": ["--networks", "resnet", "--weight-bits", "4", "--rates", "0.01", "--epochs", "1"],
}


def test_every_example_is_expected():
    assert {path.stem for path in EXAMPLES} == set(EXPECTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path, tmp_path_factory, monkeypatch, capsys):
    monkeypatch.setattr(digits, "PROTOCOL", dataclasses.replace(digits.PROTOCOL, epochs=2))
    monkeypatch.setenv("ACCELSIM_CACHE", str(tmp_path_factory.getbasetemp() / "examples-cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path), *ARGUMENTS.get(path.stem, [])])
    runpy.run_path(str(path), run_name="__main__")
    words, files = EXPECTED[path.stem]
    printed = capsys.readouterr().out
    assert all(word in printed for word in words), printed
    assert sorted(made.name for made in tmp_path.iterdir()) == files


def test_the_quickstart_is_ten_lines_of_python():
    code = (Path(__file__).parents[2] / "examples" / "quickstart.py").read_text("utf-8").split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
