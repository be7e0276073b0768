"""What `make lint` runs, so that continuous integration runs it, too."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ["ruff check .", "ruff format --check .", "mypy"]


def test_these_are_the_commands_of_make_lint() -> None:
    recipe = re.search(r"^lint:.*\n\t(.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe is not None
    assert recipe[1].split(" && ") == [f"$(BIN)/{command}" for command in COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_found(command: str) -> None:
    tool, *arguments = command.split()
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
