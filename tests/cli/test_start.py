"""Start-up, help and exit statuses, without any network."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys

import pytest
import yaml

import accelsim as acs
import accelsim.cli
from accelsim.cli import main

VERBS = [found.name for found in pkgutil.iter_modules(accelsim.cli.__path__) if not found.name.startswith("_")]


@pytest.fixture
def cli(capsys):
    """Runs the command line in this process; gives (status, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run


def test_start_up_imports_nothing_heavy():
    heavy = "{'torch', 'numba', 'numpy', 'pandas', 'scipy', 'matplotlib', 'sklearn', 'jinja2', 'pydantic'}"
    code = f"import sys, accelsim.cli; accelsim.cli.build(); print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_installed_command_shows_every_verb():
    found = subprocess.run([sys.executable, "-m", "accelsim", "--help"], capture_output=True, text=True)
    assert found.returncode == 0 and found.stderr == ""
    assert all(verb in found.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_an_example_that_parses_and_json(cli, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = cli(verb, "--help")
    module = __import__(f"accelsim.cli.{verb}", fromlist=["EXAMPLE"])
    assert status == 0 and "--json" in out and module.EXAMPLE in out
    words = module.EXAMPLE.split()
    assert words[:2] == ["accelsim", verb]
    assert all(word in out for word in words if word.startswith("--"))


def test_version(cli):
    assert cli("--version") == (0, f"accelsim {acs.__version__}\n", "")


def test_presets(cli):
    status, out, err = cli("presets")
    assert status == 0 and err == "" and all(name in out for name in acs.list_presets())
    status, out, err = cli("presets", "--json")
    assert [entry["name"] for entry in json.loads(out)] == acs.list_presets()


def test_a_shown_preset_is_a_spec_file(cli, tmp_path):
    for name in acs.list_presets():
        status, out, _ = cli("presets", "--show", name)
        (tmp_path / "own.yaml").write_text(out, "utf-8")
        assert status == 0 and acs.load_spec(tmp_path / "own.yaml") == acs.load_spec(name)
        assert json.loads(cli("presets", "--show", name, "--json")[1]) == yaml.safe_load(out)


def test_profiles(cli):
    status, out, _ = cli("profiles")
    assert status == 0 and all(name in out for name in acs.list_profiles())
    listed = json.loads(cli("profiles", "--json")[1])
    assert [entry["name"] for entry in listed] == acs.list_profiles()
    for name in acs.list_profiles():
        status, out, _ = cli("profiles", name)
        assert status == 0 and name in out
        shown = json.loads(cli("profiles", name, "--json")[1])
        assert shown in listed and shown["operators"]["conv2d"]["scheme"] in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["presets", "--show", "edge-17x17"], ["edge-17x17", "edge-16x16"]),
        (["profiles", "tfml"], ["tfml", "tflm"]),
        (["demo", "--out", "report.pdf"], ["report.pdf", ".html", ".json"]),
        (["demo", "--spec", "absent.yaml"], ["absent.yaml"]),
        (["demo", "--weight-bits", "1"], ["weight_bits", "1"]),
        (["demo", "--weight-bits", "four"], ["--weight-bits", "four"]),
        (["demo", "--activation-bits", "17"], ["activation_bits", "17"]),
        (["demo", "--profile", "none"], ["none", "tflm"]),
        (["demo", "--ranges", "widest"], ["widest", "min-max"]),
        (["demo", "--model", "vgg"], ["vgg", "resnet", "mobilenet"]),
        (["run", "absent.pt2"], ["absent.pt2", "no such file"]),
        (["run", "absent"], ["absent", "no such file"]),
        (["run", "no_such_module:build"], ["no_such_module"]),
        (["run", "json:no_such_function"], ["json", "no_such_function"]),
        (["cost", "json:dumps"], ["json:dumps", "failed"]),
        (["sweep", "demo:resnet", "--weight-bits", "8..2"], ["--weight-bits", "8..2"]),
        (["sweep", "demo:resnet", "--weight-bits", "2..20"], ["weight_bits", "17"]),
        (["cost", "demo:resnet", "--input-shape", "0x3"], ["--input-shape", "0x3"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_wrong_use_is_one_clear_message_and_status_2(cli, arguments, words, as_json, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELSIM_CACHE", str(tmp_path / "cache"))
    status, out, err = cli(*arguments, *["--json"] * as_json)
    assert status == 2 and out == "" and "Traceback" not in err
    assert err.startswith("error: ") and all(word in err for word in words), err
    assert list(tmp_path.iterdir()) == [], "found before anything was made"


@pytest.mark.parametrize("arguments", [["fly"], ["run"], ["presets", "--nope"], ["demo", "--seed", "x"]])
def test_wrong_arguments_are_status_2(cli, arguments):
    status, out, err = cli(*arguments)
    assert status == 2 and out == "" and "Traceback" not in err and err


def test_a_defect_is_status_3_and_shows_its_traceback_on_demand(cli, monkeypatch):
    def broken():
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("accelsim.hardware.list_presets", broken)
    monkeypatch.setattr(acs, "list_presets", broken, raising=False)
    status, out, err = cli("presets")
    assert (status, out) == (3, "") and "RuntimeError: a defect of ours" in err and "Traceback" not in err
    assert "--debug" in err
    status, out, err = cli("--debug", "presets")
    assert status == 3 and "Traceback" in err and "in broken" in err


def test_debug_shows_where_wrong_use_was_found(cli):
    status, _, err = cli("--debug", "presets", "--show", "nothing")
    assert status == 2 and "Traceback" in err


@pytest.mark.parametrize(("name", "value"), [("ACCELSIM_ISA", "sse9"), ("ACCELSIM_THREADS", "many")])
def test_a_wrong_environment_variable_is_wrong_use(name, value):
    code = "from accelsim.cli import main; main(['doctor'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, name: value}
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {name}")
    assert done.stdout == ""
