"""A worker or the driver killed at a random moment of a sweep of 210 points: nothing lost but what was in flight.

ACCELSIM_KILLS: how many of each (2 unless set).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from loopback_cluster import GRID, HERE, cluster, small_task

import accelsim as acs

KILLS = int(os.environ.get("ACCELSIM_KILLS", "2"))
POINTS = 210
DRIVER = """
import sys
sys.path[:0] = {paths!r}
import accelsim as acs
from loopback_cluster import GRID, small_task
acs.sweep(*small_task(), **GRID, results=sys.argv[1], engine="dask", address=sys.argv[2])
"""


def finished(path: Path) -> list[dict]:
    """Whole lines of a results file; a last half line is none."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def reference() -> bytes:
    frame = acs.sweep(*small_task(), **GRID, workers=1).frame
    assert len(frame) == POINTS
    return frame.to_csv(index=False).encode()


@pytest.fixture(scope="module")
def started():
    pytest.importorskip("distributed", reason="needs dask")
    with cluster() as one:
        yield one


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_is_killed(reference, started, tmp_path) -> None:
    task, chance, whole = small_task(), random.Random(1), None
    for _ in range(2):  # workers have imported what they need
        acs.sweep(*task, **GRID, engine="dask", address=started.address)
    for trial in range(KILLS + 1):
        path = tmp_path / f"worker-{trial}.jsonl"
        start = time.monotonic()
        # the first run is unharmed: it says how long one takes
        moment = None if whole is None else chance.uniform(0, whole)
        timer = threading.Timer(moment or 0, started.kill, [chance.randrange(2)])
        if moment is not None:
            timer.start()
        frame = acs.sweep(*task, **GRID, results=path, engine="dask", address=started.address).frame
        taken = time.monotonic() - start
        timer.join() if moment is not None else None
        assert frame.to_csv(index=False).encode() == reference
        keys = [entry["key"] for entry in finished(path)]
        assert len(keys) == POINTS == len(set(keys))
        print(f"worker {trial}: killed after {moment or float('nan'):.2f} s of {taken:.2f} s, equal", flush=True)
        whole = whole or taken


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_driver_is_killed(reference, started, tmp_path) -> None:
    task, chance = small_task(), random.Random(2)
    code = DRIVER.format(paths=[str(HERE), str(HERE.parent)])
    for trial in range(KILLS):
        path, points = tmp_path / f"driver-{trial}.jsonl", chance.randrange(1, POINTS)
        command = [sys.executable, "-W", "ignore", "-c", code, str(path), started.address]
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(finished(path)) < points:
            assert child.poll() is None
            time.sleep(0.001)
        child.kill()
        child.wait()
        survived = finished(path)
        said: list[int] = []
        asked = {"results": path, "engine": "dask", "address": started.address}
        frame = acs.sweep(*task, **GRID, **asked, progress=lambda done, _, said=said: said.append(done)).frame
        assert frame.to_csv(index=False).encode() == reference
        # what was written is taken, only the rest is computed
        assert said == list(range(max(1, len(survived)), POINTS + 1))
        keys = [entry["key"] for entry in finished(path)]
        assert len(keys) == POINTS == len(set(keys)) and keys[: len(survived)] == [e["key"] for e in survived]
        print(f"driver {trial}: killed with {len(survived)} points kept, equal", flush=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_bytes(reference, monkeypatch) -> None:
    pytest.importorskip("ray", reason="needs ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))
    frame = acs.sweep(*small_task(), **GRID, engine="ray").frame
    assert frame.to_csv(index=False).encode() == reference
