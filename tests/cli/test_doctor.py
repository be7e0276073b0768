"""accelsim doctor: versions, kernels, folders, optional parts."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

import accelsim as acs
from accelsim.cli import main
from accelsim.extras import PARTS, Part, installing


def doctor(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(["doctor", *arguments])
    assert not exit_info.value.code
    return capsys.readouterr().out


def test_shows_the_kernels_and_the_folders(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELSIM_CACHE", str(tmp_path / "kept"))
    found = json.loads(doctor(capsys, "--json"))
    assert found["kernels"]["instruction_set"] in found["kernels"]["available"]
    assert found["kernels"]["set_by_environment"]["ACCELSIM_CACHE"] == str(tmp_path / "kept")
    assert found["folders"]["cache"] == str(tmp_path / "kept") and found["folders"]["writable"]
    assert found["versions"]["accelsim"]
    text = doctor(capsys)
    assert found["kernels"]["instruction_set"] in text and all(part.name in text for part in PARTS)


def test_a_missing_part_comes_with_the_command_that_installs_it(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(Part, "present", False)
    text = " ".join(doctor(capsys).split())
    assert "→ pip install 'accelsim[proof]'" in text
    assert "Verilator missing" in text and "install verilator with the system's package manager" in text


def test_extras_that_are_named_exist():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    for part in PARTS:
        if part.extra:
            packages = " ".join(project["optional-dependencies"][part.extra])
            assert part.name in packages, part


def test_errors_name_the_part_that_is_missing(monkeypatch, tmp_path):
    """In Python, too: the file is there, its reader is not."""
    for name, reader in (("model.tflite", acs.from_tflite), ("model.onnx", acs.from_onnx)):
        (tmp_path / name).write_bytes(b"\x08\x00\x00\x00TFL3" + bytes(64))
        module = name.split(".")[1]
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            acs.AccelsimError, match=rf"from_{module} needs {module}.*pip install 'accelsim\[{module}\]'"
        ):
            reader(tmp_path / name)


def test_modules_name_their_command():
    assert installing("sklearn.datasets") == "pip install 'accelsim[demo]'"
    assert installing("onnxruntime") == "pip install onnxruntime"
    assert installing("numpy") is None
