"""Compiled code on disk: never stale, shared by processes, dispensable, and no business of Numba's settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import accelsim_kernels
import pytest

PACKAGE = Path(accelsim_kernels.__file__).parent
#: one small kernel, from a scalar in another file; prints 3, then whether Numba had to be imported
SCALE = """
import sys
import numpy as np
from accelsim_kernels import requantize
print(requantize(np.array([6], np.int32), "tflite-double", multiplier=1 << 30, shift=0)[0], "numba" in sys.modules)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a copy of the kernels, which nobody else edits."""
    shutil.copytree(PACKAGE, tmp_path / "kernels" / "accelsim_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def start(code: str, place: Path, **environment: str) -> subprocess.Popen:
    settings = {
        **os.environ,
        "ACCELSIM_KERNEL_CACHE": str(place / "cache"),
        "PYTHONPATH": str(place / "kernels"),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-c", code], env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place
    )


def run(code: str, place: Path, **environment: str) -> tuple[list[str], str]:
    """Words that the code prints, and its errors, in a process with its own cache folder and copy of the kernels."""
    out, errors = start(code, place, **environment).communicate(timeout=300)
    return out.split(), errors


def test_second_process_starts_warm(place: Path) -> None:
    words, errors = run(SCALE, place)
    assert words == ["3", "True"], errors
    assert "compiling kernels" in errors
    words, errors = run(SCALE, place)
    assert words == ["3", "False"], errors
    assert errors == ""


def test_kernels_lie_with_everything_else_unless_they_have_a_folder(place: Path) -> None:
    code = "from accelsim_kernels._jit import cache_folder; print(cache_folder().parent)"
    theirs, common = str(place / "theirs"), str(place / "common")
    assert run(code, place, ACCELSIM_KERNEL_CACHE=theirs, ACCELSIM_CACHE=common)[0] == [theirs]
    assert run(code, place, ACCELSIM_KERNEL_CACHE="", ACCELSIM_CACHE=common)[0] == [common]
    words, _ = run(code, place, ACCELSIM_KERNEL_CACHE="", ACCELSIM_CACHE="", XDG_CACHE_HOME=common, HOME=theirs)
    if sys.platform == "linux":
        assert words == [str(Path(common) / "accelsim")]


def test_an_edited_callee_is_compiled_again(place: Path) -> None:
    """requantize() inlines a scalar of another file; a change there must show."""
    assert run(SCALE, place)[0] == ["3", "True"]
    callee = place / "kernels" / "accelsim_kernels" / "fixedpoint.py"
    text = callee.read_text()
    marker = "def half_away_shift(value, s):\n"
    assert marker in text
    callee.write_text(text.replace(marker, marker + "    value = value + 1\n", 1))
    words, errors = run(SCALE, place)
    assert words == ["4", "True"], errors
    assert len(list((place / "cache").glob("kernels-*"))) == 2


def test_two_processes_compile_at_once(place: Path) -> None:
    for process in [start(SCALE, place) for _ in range(2)]:
        out, errors = process.communicate(timeout=300)
        assert out.split()[0] == "3", errors
    assert run(SCALE, place)[0] == ["3", "False"]
    assert not list((place / "cache").rglob(".writing-*"))


def test_a_folder_that_cannot_be_written_is_no_error(place: Path) -> None:
    (place / "cache").write_text("a file where the folder should be")
    words, errors = run(SCALE, place)
    assert words[0] == "3", errors


def test_a_damaged_entry_is_compiled_again(place: Path) -> None:
    run(SCALE, place)
    entries = sorted((place / "cache").rglob("*.o"))
    assert entries
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:100])
    words, errors = run(SCALE, place)
    assert words == ["3", "True"], errors


def test_the_users_numba_cache_is_left_alone(place: Path) -> None:
    theirs = place / "theirs"
    code = SCALE + "from numba.core import config\nprint(config.CACHE_DIR)"
    words, errors = run(code, place, NUMBA_CACHE_DIR=str(theirs))
    assert words[-1] == str(theirs), errors
    assert not theirs.exists()
