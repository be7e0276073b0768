"""One results file, several writers, and lines that are not what was written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from accelsim.store import ResultFile

WRITER = """
import sys
from accelsim.store import ResultFile
path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = ResultFile(path)
for i in range(count):
    file.put(f"{who}-{i}", {"text": who * (1 + (i * 7919) % 40000), "i": i})
"""


def writer(path, who: str, count: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), who, str(count)])


def test_two_drivers_on_one_file(tmp_path) -> None:
    path = tmp_path / "points.jsonl"
    children = [writer(path, who, 60) for who in "ab"]
    assert [child.wait() for child in children] == [0, 0]
    found = ResultFile(path).found  # no line is reported: warnings are errors
    assert set(found) == {f"{who}-{i}" for who in "ab" for i in range(60)}
    assert all(len(found[f"a-{i}"]["text"]) == 1 + (i * 7919) % 40000 for i in range(60))


def test_a_killed_writer_harms_no_other(tmp_path) -> None:
    path = tmp_path / "points.jsonl"
    victim, other = writer(path, "v", 100_000), writer(path, "o", 60)
    while not (path.exists() and path.stat().st_size > 200_000):
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert other.wait() == 0
    whole = [line for line in path.read_bytes().split(b"\n") if line.startswith(b'{"key"') and line.endswith(b"}")]
    keys = [json.loads(line)["key"] for line in whole]
    assert len(keys) == len(set(keys)) and {f"o-{i}" for i in range(60)} <= set(keys)


def test_half_and_altered_lines_are_reported_and_not_taken(tmp_path) -> None:
    path = tmp_path / "points.jsonl"
    file = ResultFile(path)
    for i in range(4):
        file.put(f"k{i}", {"accuracy": 0.25 * i})
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"0.25", b"0.75")  # still JSON, but not what was written
    lines[2] = b"\xff\xfe" + lines[2]
    path.write_bytes(b"\n".join(lines[:3]) + b"\n" + lines[3][:20])
    with pytest.warns(UserWarning, match="not a finished result") as said:
        again = ResultFile(path)
    assert set(again.found) == {"k0"} and len(said) == 3
    again.put("k3", {"accuracy": 0.75})  # not glued to the half line
    with pytest.warns(UserWarning, match="not a finished result"):
        assert ResultFile(path).found["k3"] == {"accuracy": 0.75}


def test_several_results_are_one_write(tmp_path) -> None:
    path = tmp_path / "points.jsonl"
    ResultFile(path).put_many({"a": {"x": 1}, "b": {"x": float("inf")}})
    assert ResultFile(path).found == {"a": {"x": 1}, "b": {"x": float("inf")}}
