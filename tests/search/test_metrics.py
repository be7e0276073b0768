"""What determines a metric: the same in every process, another where anything that it computes with is another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from accelsim import AccelsimError
from accelsim.search.metrics import metric_identity
from accelsim.store import digest

MODULE = """
import numpy as np

FACTOR = {factor}

def helper(outputs):
    return outputs.argmax(1) * {inner}

def metric(outputs, labels, weight={weight}):
    parts = [float((row == label).mean()) for row, label in zip(helper(outputs), labels)]
    return sum(parts) * FACTOR * weight * ("x" in {{"pear", "apple", "fig", "x"}})
"""
SHOW = """
import sys
sys.path.insert(0, {folder!r})
from accelsim.search.metrics import metric_identity
from accelsim.store import digest
from mine import metric
print(digest(metric_identity(metric)))
"""


def identity_of(folder: Path, **values: int) -> str:
    chosen = {"factor": 1, "inner": 1, "weight": 1, **values}
    (folder / "mine.py").write_text(MODULE.format(**chosen))
    command = [sys.executable, "-B", "-c", SHOW.format(folder=str(folder))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_an_identity_outlives_the_process_and_knows_what_the_metric_reads(tmp_path) -> None:
    first = identity_of(tmp_path)
    assert identity_of(tmp_path) == first  # code within code and sets of strings are no addresses, no order
    others = {identity_of(tmp_path, **{name: 2}) for name in ("factor", "inner", "weight")}
    assert len(others | {first}) == 4


def test_closures_defaults_and_functions_of_libraries_count() -> None:
    def made(value):
        return lambda outputs, labels: float(np.mean(outputs) * value)

    def recursive(outputs, labels):
        return recursive(outputs, labels) if labels is None else 1.0

    def with_default(outputs, labels, *, table=np.arange(3)):  # noqa: B008
        return table.sum()

    found = [metric_identity(m) for m in (made(1), made(2), made(np.arange(2)), recursive, with_default, "top1")]
    assert len({digest(one) for one in found}) == len(found)
    assert digest(metric_identity(made(1))) == digest(metric_identity(made(1)))


SOMETHING = object()


def test_what_a_key_cannot_hold_is_named() -> None:
    held = object()
    with pytest.raises(AccelsimError, match=r"metric '<lambda>': <lambda> closes over 'held', which the key"):
        metric_identity(lambda outputs, labels: held is outputs)
    with pytest.raises(AccelsimError, match=r"<lambda> reads 'SOMETHING', which the key of a results file cannot hold"):
        metric_identity(lambda outputs, labels: SOMETHING is outputs)
    with pytest.raises(AccelsimError, match="must be 'top1' or a plain function"):
        metric_identity(dict)
