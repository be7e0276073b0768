"""accelsim explore and the engines of search on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_networks import everything

import accelsim as acs
from accelsim.cli import main

TOY = "from small_networks import everything\ndef build(): return everything()[0]\n"


@pytest.fixture
def cli(capsys):
    """Runs the command line in this process; gives (status, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run


@pytest.fixture
def toy(tmp_path, monkeypatch):
    model, x = everything()
    (tmp_path / "toy_to_explore.py").write_text(TOY)
    np.savez(tmp_path / "data.npz", inputs=x.numpy(), labels=model(x).argmax(1).numpy())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_explore(cli, toy) -> None:
    asked = [
        "explore",
        "toy_to_explore:build",
        "--data",
        "data.npz",
        "--knob",
        "weight_bits=3..4",
        "--knob",
        "array=8x8,16",
    ]
    asked += [
        "--knob",
        "array=8x8,16",
        "--knob",
        "accumulator_bits=20,32",
        "--workers",
        "1",
        "--results",
        "kept.jsonl",
        "--max",
        "area=5",
    ]
    status, out, err = cli(*asked, "--out", "explored.html", "--json")
    held = json.loads(out)
    assert status == 0 and len(held["designs"]) == 8 and held["constraints"] == {"area": 5.0}
    assert "accuracies kept in kept.jsonl" in err and "Parallel coordinates" in (toy / "explored.html").read_text()
    status, out, err = cli(*asked, "--min-accuracy", "10", "--objective", "latency", "--objective", "energy")
    assert status == 0 and "16×16" in out and "Constraint: accuracy at least 10.00 %" in err
    status, out, _ = cli("explore", "toy_to_explore:build", "--data", "data.npz", "--cost-only", "--json")
    assert status == 0 and len(json.loads(out)["designs"]) == 90


def test_a_saved_graph_is_explored_by_its_costs(cli, toy) -> None:
    model, x = everything()
    acs.from_torch(model, x).save("graph.acsim")
    status, out, _ = cli("explore", "graph.acsim", "--cost-only", "--knob", "rows=8,16", "--json")
    assert status == 0 and [d["rows"] for d in json.loads(out)["designs"]] == [8, 16]


def test_wrong_use(cli, toy) -> None:
    for asked, message in (
        (["--knob", "array"], "should be NAME=VALUE"),
        (["--knob", "rows=zero"], "knob 'rows', value 'zero'"),
        (["--max", "accuracy=1"], "--min-accuracy"),
        (["--max", "area=little"], "is not a number"),
        (["--method", "random"], "needs designs=N"),
        (["--out", "front.txt"], "must end in .html"),
    ):
        status, _, err = cli("explore", "toy_to_explore:build", "--data", "data.npz", *asked)
        assert status == 2 and message in err
