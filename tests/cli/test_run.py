"""run, cost, sweep and demo from end to end, on a network small enough to take no time."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pandas
import pytest
import torch

import accelsim as acs
from accelsim.cli import main
from accelsim.frontend import digits

SOURCE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    return nn.Sequential(*layers).eval()

def broken():
    raise KeyError("missing weights")
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with tiny_net.py, test.npz and calibration.npz, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELSIM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny_net.py").write_text(SOURCE)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, 1, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "test.npz", inputs=inputs, labels=rng.integers(0, 3, 40))
    np.savez(tmp_path / "calibration.npz", x=rng.normal(size=(32, 1, 4, 4)).astype(np.float32))
    yield tmp_path
    sys.modules.pop("tiny_net", None)


@pytest.fixture
def cli(capsys, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["accelsim", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run


@pytest.fixture
def net(place):
    namespace: dict = {}
    exec(SOURCE, namespace)
    return namespace["build"]()


RUN = ("run", "tiny_net:build", "--data", "test.npz", "--calibration", "calibration.npz")


def test_run_prints_what_the_library_computes(cli, place, net):
    status, out, err = cli(*RUN, "--weight-bits", "4", "--json")
    assert status == 0 and "simulating 40 inputs" in err
    shown = json.loads(out)
    data = np.load(place / "test.npz")
    graph = acs.from_torch(net, np.load(place / "calibration.npz")["x"], weight_bits=4)
    report = acs.evaluate(graph, (data["inputs"], data["labels"]), "edge-16x16", float_model=net)
    assert shown["accuracy"] == report.accuracy and shown["float_accuracy"] == report.float_accuracy
    assert shown["sqnr_db"] == report.sqnr_db and shown["samples"] == 40
    assert shown["totals"]["energy_pj"] == report.energy_pj and shown["weight_bits"] == "4"
    assert shown["network"] == "build" and shown["command"].startswith("accelsim ")


@pytest.mark.parametrize("suffix", [".html", ".json", ".csv"])
def test_run_prints_a_table_and_writes_the_file(cli, place, suffix):
    status, out, err = cli(*RUN, "--out", place / "new" / f"report{suffix}")
    assert status == 0 and "accuracy" in out and "DRAM" in out
    text = (place / "new" / f"report{suffix}").read_text("utf-8")
    assert f"wrote {place}" in err
    if suffix == ".json":
        assert json.loads(text)["accelerator"]["name"] == "edge-16x16"
    else:
        assert ("<svg" in text) == (suffix == ".html") and "conv2d" in text


def test_widths_by_layer_profile_ranges_and_granularity_reach_the_network(cli, place):
    options = (
        "--weight-bits",
        "4=5,*=3",
        "--activation-bits",
        "6",
        "--profile",
        "tosa-single",
        "--ranges",
        "min-max",
    )
    shown = json.loads(cli(*RUN, *options, "--per-tensor", "--json")[1])
    assert {row["operator"]: row["weight_bits"] for row in shown["layers"] if row["weight_bits"]} == {
        "conv2d": 3,
        "linear": 5,
    }
    assert (shown["profile"], shown["activation_bits"]) == ("tosa-single", "6")
    per_channel = json.loads(cli(*RUN, *options, "--json")[1])
    assert per_channel["sqnr_db"] != shown["sqnr_db"]


def test_a_saved_graph_and_an_exported_file_give_the_same_numbers(cli, place, net):
    first = json.loads(cli(*RUN, "--save", "net.graph", "--json")[1])
    saved = json.loads(cli("run", "net.graph", "--data", "test.npz", "--json")[1])
    program = torch.export.export(net, (torch.zeros(2, 1, 4, 4),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, "net.pt2")
    exported = json.loads(cli("run", "net.pt2", *RUN[2:], "--json")[1])
    for other in (saved, exported):
        assert other["accuracy"] == first["accuracy"] and other["totals"] == first["totals"]
    assert exported["sqnr_db"] == pytest.approx(first["sqnr_db"], abs=0.01)
    assert saved["float_accuracy"] is None
    priced = json.loads(cli("cost", "net.graph", "--json")[1])
    assert priced["totals"] == first["totals"] and priced["accuracy"] is None
    assert json.loads(cli("cost", "net.pt2", "--json")[1])["totals"] == first["totals"]


def test_an_exported_file_of_fixed_batch_runs_on_any_number_of_inputs(cli, place, net):
    dynamic = json.loads(cli(*RUN, "--json")[1])
    for batch in (1, 7):
        torch.export.save(torch.export.export(net, (torch.zeros(batch, 1, 4, 4),)), "fixed.pt2")
        fixed = json.loads(cli("run", "fixed.pt2", *RUN[2:], "--json")[1])
        assert fixed["accuracy"] == dynamic["accuracy"] and fixed["float_accuracy"] == dynamic["float_accuracy"]
        assert fixed["sqnr_db"] == pytest.approx(dynamic["sqnr_db"], abs=0.01)


def test_cost_of_code_needs_a_shape_and_no_data(cli, place):
    status, out, err = cli("cost", "tiny_net:build")
    assert status == 2 and out == "" and "--input-shape" in err
    status, out, _ = cli("cost", "tiny_net:build", "--input-shape", "1x4x4", "--batch", "2", "--json")
    assert status == 0 and json.loads(out)["totals"]["macs"] == 2 * (16 * 9 * 4 + 64 * 3)


def test_ranges_from_the_test_data_are_admitted(cli, place):
    shown = json.loads(cli("run", "tiny_net:build", "--data", "test.npz", "--json")[1])
    assert any("ranges were set from the data itself" in note for note in shown["notes"])
    shown = json.loads(cli(*RUN, "--json")[1])
    assert not any("ranges were set from the data itself" in note for note in shown["notes"])


def test_a_spec_file_is_taken(cli, place):
    (place / "own.yaml").write_text("extends: edge-16x16\nname: own\narray: {rows: 4, cols: 4}\n")
    shown = json.loads(cli(*RUN, "--spec", "own.yaml", "--json")[1])
    assert shown["accelerator"]["name"] == "own" and shown["accelerator"]["array"]["rows"] == 4
    (place / "own.yaml").write_text("extends: edge-16x16\narray: {rows: zero}\n")
    status, out, err = cli(*RUN, "--spec", "own.yaml", "--json")
    assert status == 2 and out == "" and "own.yaml" in err and "rows" in err


def test_bad_input_is_one_clear_message(cli, place):
    inputs = np.zeros((4, 1, 4, 4), np.float32)
    files = {
        "objects.npz": {"inputs": np.array([object()], dtype=object), "labels": np.zeros(1)},
        "unnamed.npz": {"images": inputs},
        "count.npz": {"inputs": inputs, "labels": np.zeros(3, np.int64)},
        "shape.npz": {"inputs": np.zeros((4, 3, 9, 9), np.float32), "labels": np.zeros(4, np.int64)},
        "nan.npz": {"inputs": np.full_like(inputs, np.nan), "labels": np.zeros(4, np.int64)},
        "empty.npz": {"inputs": inputs[:0], "labels": np.zeros(0, np.int64)},
    }
    for name, arrays in files.items():
        np.savez(place / name, **arrays)
    (place / "text.npz").write_text("not a zip")
    (place / "half.npz").write_bytes((place / "test.npz").read_bytes()[:300])
    (place / "text.graph").write_text("not a graph")
    before = sorted(place.iterdir())
    wrong = [
        (("run", "tiny_net:build", "--data", name, "--calibration", "calibration.npz"), ())
        for name in (*files, "text.npz", "half.npz")
    ]
    wrong += [
        (("run", "tiny_net:build"), ("--data",)),
        (("run", "tiny_net:broken", "--data", "test.npz"), ("KeyError", "missing weights")),
        (("run", "text.graph", "--data", "test.npz"), ("text.graph",)),
        (("run", "text.npz", "--data", "test.npz"), ("text.npz",)),
        ((*RUN, "--weight-bits", "nothing.*=4"), ("nothing.*",)),
    ]
    for arguments, words in wrong:
        status, out, err = cli(*arguments, "--out", "report.html", "--json")
        assert status == 2 and out == "" and "error: " in err and "Traceback" not in err, (arguments, err)
        assert all(word in err for word in words), (arguments, err)
    after = [path for path in place.iterdir() if path.name != "__pycache__"]
    assert sorted(after) == before, "no half-written file"


def test_a_saved_graph_takes_no_quantization_options(cli, place):
    cli(*RUN, "--save", "net.graph")
    status, out, err = cli("run", "net.graph", "--data", "test.npz", "--weight-bits", "4")
    assert status == 2 and out == "" and "weight_bits" in err and "already quantized" in err


def test_sweep_prints_marks_writes_and_continues(cli, place):
    grid = (
        "--weight-bits",
        "2,4..5",
        "--activation-bits",
        "4,8",
        "--spec",
        "edge-16x16",
        "--spec",
        "micro-8x8",
    )
    sweep = ("sweep", "tiny_net:build", *RUN[2:], *grid, "--results", "kept/points.jsonl")
    status, out, err = cli(*sweep, "--out", "sweep.html", "--json")
    assert status == 0 and "12 points" in err
    points = json.loads(out)["points"]
    assert [(p["weight_bits"], p["activation_bits"]) for p in points[::2]] == [
        (2, 4), (2, 8), (4, 4), (4, 8), (5, 4), (5, 8)]  # fmt: skip
    assert {p["spec"] for p in points} == {"edge-16x16", "micro-8x8"}
    assert 1 <= sum(p["pareto"] for p in points) < 12
    assert (place / "sweep.html").read_text("utf-8").count("Pareto</td>") == sum(p["pareto"] for p in points)
    kept = (place / "kept" / "points.jsonl").read_text().splitlines()
    assert len(kept) >= 12
    status, out, _ = cli(*sweep, "--out", "sweep.csv")
    assert status == 0 and "Pareto" in out and "micro-8x8" in out
    assert (place / "kept" / "points.jsonl").read_text().splitlines() == kept, "nothing was computed again"
    assert len(pandas.read_csv("sweep.csv")) == 12


def test_sweep_refuses_a_quantized_network(cli, place):
    cli(*RUN, "--save", "net.graph")
    status, _, err = cli("sweep", "net.graph", "--data", "test.npz")
    assert status == 2 and "float network" in err


@pytest.mark.parametrize("model", ["resnet", "mobilenet"])
def test_demo_trains_once_and_writes_the_report(cli, place, monkeypatch, model):
    monkeypatch.setattr(digits, "PROTOCOL", dataclasses.replace(digits.PROTOCOL, epochs=1))
    demo = ("demo", "--model", model, "--seed", "3", "--weight-bits", "6")
    status, out, err = cli(*demo)
    assert status == 0 and f"training {model}, seed 3" in err and "719 samples" in out and "W6A8" in out
    page = (place / "accelsim-demo.html").read_text("utf-8")
    assert "719 samples" in page and model in page and len(page) < 2_000_000
    status, again, err = cli(*demo, "--out", "r.json")
    assert status == 0 and "training" not in err and again == out
    assert json.loads((place / "r.json").read_text("utf-8"))["samples"] == 719
