"""--recipe and the verb debug, on a network that is captured in moments."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import accelsim as acs
from accelsim.cli import main


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Runs the command line beside toy.py and data.npz; gives (status, stdout, stderr)."""
    (tmp_path / "toy.py").write_text(
        "import torch\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()\n"
    )
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    labels = model(torch.from_numpy(x)).argmax(1).numpy()
    np.savez("data.npz", inputs=x, labels=labels)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_info:
            main([*arguments, "--data", "data.npz"])
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run


def test_run_takes_a_recipe_by_name_or_by_steps(cli) -> None:
    for recipe in ("min-max", "equalize, weight-ranges(method=mse), adaround(iterations=20), activation-ranges"):
        status, out, _ = cli("run", "toy:build", "--recipe", recipe, "--json")
        assert status == 0
        assert any(note.startswith("recipe: ") for note in json.loads(out)["notes"])


def test_an_unknown_recipe_is_named_before_anything_is_done(cli) -> None:
    for verb in ("run", "sweep", "debug"):
        status, _, err = cli(verb, "toy:build", "--recipe", "black-paper")
        assert status == 2 and "unknown recipe 'black-paper'" in err and "white-paper" in err


def test_sweep_keeps_points_of_recipes_apart(cli) -> None:
    found = []
    for recipe in ("min-max", "white-paper"):
        status, out, _ = cli(
            "sweep", "toy:build", "--recipe", recipe, "--weight-bits", "3", "--activation-bits", "8",
            "--results", "points.jsonl", "--json",
        )  # fmt: skip
        assert status == 0
        found.append(json.loads(out)["points"][0]["sqnr_db"])
    assert found[0] != found[1]


def test_debug_names_the_layer(cli, tmp_path) -> None:
    status, out, _ = cli("debug", "toy:build", "--weight-bits", "0=2,*=8", "--out", "d.html")
    assert status == 0 and "layer '0' has 2-bit weights" in " ".join(out.split())
    assert (tmp_path / "d.html").exists()
    status, out, _ = cli("debug", "toy:build", "--samples", "10", "--json")
    held = json.loads(out)
    assert status == 0 and held["network"] == "build" and held["samples"] == 10


def test_search_saves_what_it_reports(cli, tmp_path) -> None:
    status, _, err = cli("search", "toy:build")
    assert status == 2 and "pe: sized" in err
    status, out, _ = cli("search", "toy:build", "--pe", "fused", "--max-drop", "20", "--save", "best.acsim", "--json")
    held = json.loads(out)
    assert status == 0 and held["network"] == "build" and held["objective"] == "energy"
    graph = acs.load(tmp_path / "best.acsim")
    assert {op.name: op.weight_params.bits for op in graph.mac_ops} == held["winner"]["weight_bits"]
    assert (
        acs.cost(graph, acs.load_spec("edge-16x16").replace(**{"array.pe": "fused"})).energy_pj
        == held["winner"]["cost"]
    )
