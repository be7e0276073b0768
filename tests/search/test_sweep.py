"""Sweeps: the grid, the front, and what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_networks import everything

import accelsim as acs
from accelsim import AccelsimError
from accelsim.search import grid
from accelsim.store import ResultFile, digest

GRID = {"weight_bits": (3, 8), "activation_bits": (4, 8)}


@pytest.fixture(scope="module")
def task():
    model, x = everything()
    labels = model(x).argmax(1).numpy()
    return model, x, (x, labels)


def test_points_equal_single_evaluations(task) -> None:
    sweep = acs.sweep(*task, specs=["edge-16x16", "micro-8x8"], **GRID)
    assert len(sweep.frame) == 8
    model, x, data = task
    for row in sweep.frame.itertuples():
        graph = acs.from_torch(model, x, weight_bits=row.weight_bits, activation_bits=row.activation_bits)
        report = acs.evaluate(graph, data, row.spec, float_model=model)
        assert (row.accuracy, row.float_accuracy) == (report.accuracy, report.float_accuracy)
        assert (row.energy_pj, row.latency_s, row.area_mm2) == (report.energy_pj, report.latency_s, report.area_mm2)
        assert row.sqnr_db == report.sqnr_db and row.dram_bytes == report.dram_bytes


def test_accumulators_of_each_spec_are_simulated(task) -> None:
    narrow = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 12})
    frame = acs.sweep(*task, specs=["edge-16x16", narrow], weight_bits=8, activation_bits=8).frame
    assert frame.sqnr_db[0] > frame.sqnr_db[1] + 5


def test_pareto_front_is_what_nobody_beats() -> None:
    random = np.random.default_rng(0)
    accuracy, energy = random.integers(0, 8, 60) / 8, random.integers(1, 9, 60) * 1.0
    front = grid.pareto_front(accuracy, energy)
    for i in range(60):
        beaten = any(
            accuracy[j] >= accuracy[i]
            and energy[j] <= energy[i]
            and (accuracy[j], energy[j]) != (accuracy[i], energy[i])
            for j in range(60)
        )
        assert front[i] == (not beaten)


def test_finished_points_are_not_computed_again(task, tmp_path, monkeypatch) -> None:
    path = tmp_path / "points.jsonl"
    first = acs.sweep(*task, results=path, **GRID)
    monkeypatch.setattr(grid, "simulate", lambda *a, **k: pytest.fail("simulated again"))
    again = acs.sweep(*task, results=path, **GRID)
    assert first.frame.equals(again.frame)


def test_the_key_covers_what_was_asked(task, tmp_path) -> None:
    model, x, (_, labels) = task
    path = tmp_path / "points.jsonl"

    def points(**changes) -> int:
        asked = {"model": model, "calibration": x, "test_data": (x, labels), "weight_bits": 4, "activation_bits": 8}
        acs.sweep(**{**asked, **changes}, results=path)
        return len(path.read_text().splitlines())

    assert points() == 1
    assert points() == 1
    assert points(calibration=x[:12]) == 2
    assert points(test_data=(x[:12], labels[:12])) == 3
    assert points(ranges="min-max") == 4
    assert points(specs=acs.load_spec("edge-16x16").replace(**{"array.rows": 8})) == 5
    assert points(model=everything(5)[0]) == 6


def test_broken_lines_are_reported_and_redone(task, tmp_path) -> None:
    path = tmp_path / "points.jsonl"
    whole = acs.sweep(*task, results=path, **GRID)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["{broken", *lines[1:3], lines[3][:40]]))  # no newline: a killed writer
    with pytest.warns(UserWarning, match="line (1|4): not a finished result"):
        again = acs.sweep(*task, results=path, **GRID)
    assert whole.frame.equals(again.frame)
    good = [line for line in path.read_text().splitlines() if line.startswith('{"key"') and line.endswith("}")]
    assert len([json.loads(line) for line in good]) == 4


_DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from small_networks import everything
import accelsim as acs
model, x = everything()
labels = model(x).argmax(1).numpy()
acs.sweep(model, x, (x, labels), results=sys.argv[1], weight_bits=range(2, 9), activation_bits=range(4, 9))
"""


def test_a_killed_sweep_continues(task, tmp_path) -> None:
    path = tmp_path / "points.jsonl"
    code = _DRIVER.format(tests=str(Path(__file__).resolve().parents[1]))
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(path)])
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (path.exists() and path.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    survived = path.read_bytes().count(b"\n")
    assert survived >= 3
    bits = {"weight_bits": range(2, 9), "activation_bits": (4, 5)}
    resumed = acs.sweep(*task, results=path, **bits)
    assert resumed.frame.equals(acs.sweep(*task, **bits).frame)


def test_wrong_requests(task) -> None:
    model, x, _ = task
    with pytest.raises(AccelsimError, match="needs labels"):
        acs.sweep(model, x, (x, None))
    with pytest.raises(AccelsimError, match="weight_bits"):
        acs.sweep(*task, weight_bits=(1,))
    with pytest.raises(AccelsimError, match="nothing to sweep"):
        acs.sweep(*task, weight_bits=())


def test_digest_tells_values_and_types_apart() -> None:
    values = [1, 1.0, "1", True, None, [1], [[1]], {"a": 1}, np.int8([1]), np.int16([1]), np.int8([[1]])]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_unwritable_results_file(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AccelsimError, match="cannot write results file"):
        ResultFile(tmp_path / "file" / "points.jsonl").put("k", {})


def test_metrics_are_told_apart_by_their_code(task, tmp_path) -> None:
    path = tmp_path / "points.jsonl"
    values = [
        acs.sweep(*task, results=path, weight_bits=8, activation_bits=8, metric=metric).frame.accuracy[0]
        for metric in (lambda outputs, labels: 1.0, lambda outputs, labels: 0.0)
    ]
    assert values == [1.0, 0.0]
    with pytest.raises(AccelsimError, match="plain function"):
        acs.sweep(*task, results=path, weight_bits=8, activation_bits=8, metric=dict)
