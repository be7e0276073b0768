"""Tasks on processes and clusters: the same outcomes, whatever fails or dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from loopback_cluster import cluster
from small_networks import everything

import accelsim as acs
from accelsim import AccelsimError
from accelsim.search.engine import crew, run_tasks

TESTS = Path(__file__).resolve().parents[1]


def scaled(shared, task):
    return float(shared["x"].sum() * task), os.getpid()


def fragile(shared, task):
    if task == "raise":
        raise ZeroDivisionError("a defect")
    if task == "refuse":
        raise AccelsimError("layer 'a': refused")
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(task, Path) and not task.exists():
        task.write_text("killed once")
        os.kill(os.getpid(), signal.SIGKILL)
    return str(task)


def by_number(outcomes):
    return {outcome.number: outcome for outcome in outcomes}


def test_processes_give_what_one_process_gives():
    shared, tasks = {"x": np.arange(1000.0)}, list(range(20))
    alone = by_number(run_tasks(scaled, shared, tasks, workers=1))
    many = by_number(run_tasks(scaled, shared, tasks, workers=2))
    assert list(alone) == tasks and sorted(many) == tasks
    assert [many[i].value[0] for i in tasks] == [alone[i].value[0] for i in tasks]
    assert {alone[i].value[1] for i in tasks} == {os.getpid()}
    assert os.getpid() not in {many[i].value[1] for i in tasks}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_stops_no_other(workers):
    found = by_number(run_tasks(fragile, None, ["a", "raise", "refuse", "b"], workers=workers))
    assert [found[i].value for i in range(4)] == ["a", None, None, "b"]
    assert "ZeroDivisionError: a defect" in found[1].error and "in fragile" in found[1].error
    assert found[2].error == "layer 'a': refused" and "in fragile" in found[2].traceback


def test_a_worker_that_dies_costs_what_was_in_flight(tmp_path):
    tasks = ["a", tmp_path / "marker", "b", "c"]
    found = by_number(run_tasks(fragile, None, tasks, workers=2))
    assert [found[i].value for i in range(4)] == [str(task) for task in tasks]


def test_a_task_that_always_kills_its_worker_is_named():
    found = by_number(run_tasks(fragile, None, ["a", "kill", "b", "c"], workers=2))
    assert [found[i].value for i in (0, 2, 3)] == ["a", "b", "c"]
    assert "worker was lost each time" in found[1].error


def test_wrong_engines():
    for keywords, problem in (
        ({"engine": "slurm"}, "unknown engine 'slurm'; known: local, dask, ray"),
        ({"engine": "dask"}, "needs the scheduler's address"),
        ({"workers": 0}, "at least 1"),
        ({"engine": "ray", "workers": 2}, "a cluster has its own"),
        ({"address": "localhost:1"}, "an address belongs to"),
    ):
        with pytest.raises(AccelsimError, match=problem):
            list(run_tasks(scaled, {}, [1], **keywords))


@pytest.fixture(scope="module")
def task():
    model, x = everything()
    return model, x, (x, model(x).argmax(1).numpy())


GRID = {"weight_bits": (3, 8), "activation_bits": 8, "specs": ("edge-16x16", "micro-8x8")}


def test_a_sweep_on_processes_is_the_same_sweep(task, tmp_path):
    path = tmp_path / "points.jsonl"
    said = []
    sweep = acs.sweep(*task, **GRID, workers=2, results=path, progress=lambda done, whole: said.append((done, whole)))
    assert sweep.frame.equals(acs.sweep(*task, **GRID, workers=1).frame)
    assert sweep.failures == () and said[-1] == (4, 4) and len(path.read_bytes().splitlines()) == 4


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import accelsim as acs
from small_networks import everything

def strict(outputs, labels):
    return float((outputs.argmax(1) == labels).mean()) ** 2

model, x = everything()
task = model, x, (x, model(x).argmax(1).numpy())
asked = dict(weight_bits=(3, 8), activation_bits=8)
frames = [acs.sweep(*task, **asked, metric=strict, workers=workers).frame for workers in (1, 2)]
assert frames[0].equals(frames[1])
knobs = dict(weight_bits=(4, 8))
found = [
    acs.explore(*task, knobs=knobs, metric=lambda o, l: strict(o, l), metric_range=(0, 1), workers=workers, results="r")
    for workers in (1, 2)
]
assert found[0].frame.equals(found[1].frame)
print("same")
"""


def test_a_metric_of_a_script_travels(tmp_path) -> None:
    """Workers cannot import what a script or a notebook defines."""
    (tmp_path / "script.py").write_text(SCRIPT.format(tests=str(TESTS)))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "same\n", done.stderr


def test_points_that_fail_are_told_and_left_out(task):
    model, x, (_, labels) = task
    expected = model(x).detach().double().numpy()

    def metric(outputs, labels):
        if np.square(outputs - expected).sum() > 0.005 * np.square(expected).sum():
            raise ValueError("too coarse")
        return 1.0

    said: list = []
    asked = {"weight_bits": 8, "metric": metric, "workers": 1, "on_failure": said.append}
    with pytest.warns(UserWarning, match=r"1 of 2 points failed; the first, W8A2 on edge-16x16: Traceback"):
        sweep = acs.sweep(model, x, (x, labels), activation_bits=(2, 8), **asked)
    assert sweep.frame.activation_bits.tolist() == [8]
    assert [failure.activation_bits for failure in sweep.failures] == [2] and said == list(sweep.failures)
    assert "ValueError: too coarse" in sweep.failures[0].error
    assert sweep.failures[0].short == "W8A2 on edge-16x16: ValueError: too coarse"
    with pytest.raises(AccelsimError, match="1 of 1 points failed; the first, W8A2 on edge-16x16"):
        acs.sweep(model, x, (x, labels), activation_bits=2, **asked)


class Counted:
    """Leaves a line with the process's number wherever it is unpacked."""

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, np.arange(100_000.0)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        with self.path.open("a") as file:
            file.write(f"{os.getpid()}\n")


def touched(shared, task):
    return type(shared.data).__name__, float(shared.data[task]), os.getpid()


def check_travels_once(run, counted) -> list[str]:
    """Two batches of tasks: what they share is unpacked once in each worker."""
    outcomes = [list(run(range(12))), list(run(range(12, 20)))]
    values = [outcome.value for batch in outcomes for outcome in sorted(batch, key=lambda o: o.number)]
    assert [value[1] for value in values] == list(range(20))
    unpacked = counted.path.read_text().split()
    assert len(unpacked) == len(set(unpacked)) and {str(value[2]) for value in values} <= set(unpacked)
    return [value[0] for value in values]


def test_what_is_shared_travels_once_and_is_mapped(tmp_path):
    counted = Counted(tmp_path / "unpacked")
    with crew(touched, counted, workers=2) as run:
        assert set(check_travels_once(run, counted)) == {"memmap"}


@pytest.fixture
def loopback():
    """A dask scheduler and two workers, each a process of its own, on the loopback address."""
    pytest.importorskip("distributed", reason="needs dask")
    with cluster() as started:
        yield started


def test_dask_computes_the_same_and_is_sent_what_is_shared_once(loopback, tmp_path):
    shared, tasks = {"x": np.arange(1000.0)}, list(range(20))
    alone = by_number(run_tasks(scaled, shared, tasks, workers=1))
    many = by_number(run_tasks(scaled, shared, tasks, engine="dask", address=loopback.address))
    assert [many[i].value[0] for i in tasks] == [alone[i].value[0] for i in tasks]
    assert {many[i].value[1] for i in tasks} <= {process.pid for process in loopback.workers}
    found = by_number(run_tasks(fragile, None, ["a", "raise", "b"], engine="dask", address=loopback.address))
    assert "ZeroDivisionError: a defect" in found[1].error and found[2].value == "b"
    # one worker alone is enough, and it is not the driver that computes
    loopback.workers[0].kill()
    counted = Counted(tmp_path / "unpacked")
    with crew(touched, counted, engine="dask", address=loopback.address) as run:
        check_travels_once(run, counted)
    assert str(os.getpid()) not in counted.path.read_text().split()


@pytest.mark.slow
def test_a_sweep_on_dask_is_the_same_sweep_though_a_worker_is_killed(task, loopback):
    asked = {**GRID, "weight_bits": range(2, 9)}
    local = acs.sweep(*task, **asked, workers=1)

    def kill(done, whole):
        if done == 6:
            loopback.kill(0)

    swept = acs.sweep(*task, **asked, engine="dask", address=loopback.address, progress=kill)
    assert swept.frame.equals(local.frame)


@pytest.mark.slow
def test_searches_on_processes_are_the_same_searches(task):
    fused = acs.load_spec("edge-16x16").replace(**{"array.pe": "fused"})
    asked = {"max_accuracy_drop": 0.5, "weight_bits": (4, 8), "activation_bits": (8,)}
    one, two = (acs.search_bits(*task, fused, **asked, workers=workers) for workers in (1, 2))
    assert one.frame.equals(two.frame) and one.harms == two.harms and one.config == two.config
    knobs = {"weight_bits": range(2, 9), "activation_bits": (4, 8), "array": [(8, 8), (16, 16)]}
    first, second = (acs.explore(*task, knobs=knobs, workers=workers) for workers in (1, 2))
    assert first.frame.equals(second.frame)
    assert [(n, v) for n, _, v in first.history] == [(n, v) for n, _, v in second.history]


@pytest.mark.slow
def test_searches_on_dask_are_the_same_searches(task, loopback, tmp_path):
    fused = acs.load_spec("edge-16x16").replace(**{"array.pe": "fused"})
    there = {"engine": "dask", "address": loopback.address}
    asked = {"max_accuracy_drop": 0.5, "weight_bits": (4, 8), "activation_bits": (8,)}
    one = acs.search_bits(*task, fused, **asked, workers=1)
    two = acs.search_bits(*task, fused, **asked, **there, results=tmp_path / "trials.jsonl")
    assert one.frame.equals(two.frame) and one.harms == two.harms
    knobs = {"weight_bits": range(2, 9), "activation_bits": (4, 8), "array": [(8, 8), (16, 16)]}
    first = acs.explore(*task, knobs=knobs, workers=1)
    second = acs.explore(*task, knobs=knobs, **there, results=tmp_path / "explored.jsonl")
    assert first.frame.equals(second.frame)


@pytest.mark.slow
def test_no_scheduler_is_said():
    pytest.importorskip("distributed", reason="needs dask")
    start = time.monotonic()
    with pytest.raises(AccelsimError, match=r"no dask scheduler answers at 127\.0\.0\.1:9"):
        list(run_tasks(scaled, {}, [1, 2], engine="dask", address="127.0.0.1:9"))
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_ray_gives_what_one_process_gives(task, monkeypatch):
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    asked = {**GRID, "weight_bits": range(2, 9)}
    local = acs.sweep(*task, **asked, workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ray's own
        assert acs.sweep(*task, **asked, engine="ray").frame.equals(local.frame)


def test_a_worker_with_other_versions_is_refused() -> None:
    from accelsim.search.workers import Packed

    packed = Packed.of({"x": 1})
    assert packed.opened("tcp://there") == {"x": 1}
    other = Packed(packed.token, packed.data, {**packed.computing, "numpy": "1.0", "sources": "0"})
    with pytest.raises(AccelsimError, match=r"the worker at tcp://there computes with numpy \d.*\(the driver: 1\.0\)"):
        other.opened("tcp://there")


def test_two_studies_take_turns_on_a_worker() -> None:
    from accelsim.search import workers

    opened: list[str] = []

    def made(token: str) -> str:
        return workers._once(token, lambda: opened.append(token) or token)

    assert [made(token) for token in "abababcb"] == list("abababcb")
    assert opened == ["a", "b", "c"]
