"""Type hints are shipped: both packages say so, and a wheel holds the markers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from importlib import resources

import pytest
from markdown_pages import ROOT


@pytest.mark.parametrize("package", ["accelsim", "accelsim_kernels"])
def test_packages_say_that_they_are_typed(package):
    assert (resources.files(package) / "py.typed").is_file()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
def test_a_wheel_holds_the_markers(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"accelsim/py.typed", "accelsim_kernels/py.typed"} <= set(names)
    assert any(name.endswith("entry_points.txt") for name in names)
