"""The verbs prove, certify, explain, diff: what they print, write, and their exit status."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_explanations import network
from test_user_code import C_SINGLE

from accelsim.cli import main

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@pytest.fixture
def cli(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_info.value.code or 0, out, err

    return run


@pytest.fixture
def files(tmp_path):
    """A saved graph, the same under another scheme, and inputs."""
    network().save(tmp_path / "a.safetensors")
    network("tosa-single").save(tmp_path / "b.safetensors")
    x = np.random.default_rng(1).integers(-128, 128, (60, 4, 5, 2))
    np.savez(tmp_path / "data.npz", inputs=x)
    return tmp_path


def test_prove_writes_a_certificate_that_is_confirmed(cli, tmp_path):
    path = tmp_path / "proof.json"
    status, out, _ = cli("prove", "tflite-double", "tosa-double", "--shift", -7, "--certificate", path)
    assert status == 0
    assert "are equal" in out
    status, out, _ = cli("prove", "--recheck", path)
    assert (status, "confirmed" in out) == (0, True)
    content = json.loads(path.read_text())
    content["result"]["equal"] = False
    path.write_text(json.dumps(content))
    status, out, _ = cli("prove", "--recheck", path)
    assert (status, "not confirmed" in out) == (1, True)


def test_prove_shows_counterexamples_and_exits_with_1(cli):
    arguments = ("tflite-double", "tosa-single", "--multiplier", 1518500250, "--shift", -7, "--method", "thresholds")
    status, out, _ = cli("prove", *arguments)
    assert status == 1
    assert "acc -90: -1 against 0" in out
    status, out, _ = cli("prove", *arguments, "--json")
    assert (status, json.loads(out)["visible"]) == (1, 166)


def test_certify(cli, files):
    status, out, _ = cli("certify", files / "a.safetensors", "--data", files / "data.npz")
    assert (status, "no accumulator can overflow" in out) == (0, True)
    status, out, _ = cli("certify", files / "a.safetensors", "--json")
    assert json.loads(out)["safe"]
    layer = next(layer for layer in json.loads(out)["layers"] if layer["name"] == "conv")
    where = files / "w.npz"
    status, _, err = cli("certify", files / "a.safetensors", "--witness", "conv", "--low", "--out", where)
    assert (status, f"of layer conv reaches {layer['low']}" in err) == (0, True)
    with np.load(where) as seen:
        inputs, index = {"inputs": seen["x"]}, tuple(seen["index"].tolist())
    np.savez(files / "seen.npz", **inputs)
    # the network's first layer: the witness can be run
    place = ",".join(str(i) for i in index[1:])
    status, out, _ = cli("explain", files / "a.safetensors", "conv", place, "--data", files / "seen.npz", "--json")
    assert json.loads(out)["stages"][0]["value"] == layer["low"]


def test_explain(cli, files):
    status, out, _ = cli("explain", files / "a.safetensors", "conv", "0,1,2", "--data", files / "data.npz")
    assert status == 0
    assert "partial sum" in out
    assert "high half" in out
    status, _, err = cli("explain", files / "a.safetensors", "conv", "0,x", "--data", files / "data.npz")
    assert (status, "give whole numbers" in err) == (2, True)


def test_diff(cli, files):
    data = ("--data", files / "data.npz")
    status, out, _ = cli("diff", files / "a.safetensors", files / "a.safetensors", *data)
    assert (status, "equal" in out) == (0, True)
    status, out, _ = cli("diff", files / "a.safetensors", files / "b.safetensors", *data)
    assert status == 1
    assert "rounds once, ties up" in out


def test_wrong_use(cli, files):
    for words, arguments in (
        ("name two schemes", ("prove",)),
        ("unknown requantization scheme 'x'", ("prove", "x", "tosa-single", "--scale", "0.1")),
        ("--data is needed", ("diff", files / "a.safetensors", files / "b.safetensors")),
        ("no such graph file", ("certify", files / "none.safetensors")),
    ):
        status, _, err = cli(*arguments)
        assert (status, words in err) == (2, True), err


def test_prove_with_code_of_ones_own(cli, tmp_path):
    known = ("--multiplier", 1518500250, "--shift", -7, "--accumulators", -5000, 5000)
    mine = tmp_path / "mine.py"
    mine.write_text("def single(acc):\n    return max(-128, min(127, (acc * 1518500250 + 2**37) >> 38))\n")
    status, out, _ = cli("prove", f"python:{mine}:single", "tosa-single", *known)
    assert (status, "single and tosa-single are equal for accumulators -5000 .. 5000" in out) == (0, True)
    assert cli("prove", "tflite-double", f"python:{mine}:single", *known)[0] == 1
    for words, side in (
        ("no such file", f"c:{tmp_path / 'none.c'}:f"),
        ("defines no function 'double'", f"python:{mine}:double"),
        ("write c:FILE:FUNCTION", "c:x.c"),
    ):
        status, _, err = cli("prove", side, "tosa-single", *known)
        assert (status, words in err) == (2, True), err
    if shutil.which("cc"):
        source = tmp_path / "mine.c"
        source.write_text(C_SINGLE)
        assert cli("prove", f"c:{source}:requantize", "tosa-single", *known)[0] == 0


def test_vectors(cli, files, tmp_path):
    out = tmp_path / "vectors"
    arguments = ("vectors", "tflite-double", "--scale", 0.0055, "--zero-point", 3, "--count", 400)
    status, text, _ = cli(*arguments, "--out", out)
    assert (status, "mutation score 100%" in text) == (0, True)
    assert sorted(p.suffix for p in out.iterdir()) == [".h", ".json", ".mem", ".mem", ".mem", ".mem", ".npz"]
    status, text, _ = cli("vectors", "--score", out / "requantizer.npz", "--json")
    assert (status, json.loads(text)["score"]) == (0, 1.0)
    status, text, _ = cli("vectors", "tosa-single", "--scale", 0.0055, "--zero-point", 3, "--score",
                          out / "requantizer.npz")  # fmt: skip
    assert (status, "vectors are wrong" in text) == (1, True)
    status, _, err = cli("vectors", "--layer", f"{files / 'a.safetensors'}:conv", "--count", 400, "--out", out)
    assert (status, "wrote inputs, accumulators and codes of layer conv" in err) == (0, True)
    assert sorted(p.name for p in out.glob("layer*.mem"))[0] == "layer_accumulator.mem"
    status, text, _ = cli("vectors", "shift:half_even", "--scale", 2**-6, "--count", 300, "--json")
    assert (status, json.loads(text)["score"]) == (0, 1.0)
    status, _, err = cli("vectors")
    assert (status, "name a scheme" in err) == (2, True)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
def test_rtl(cli, tmp_path):
    folder = tmp_path / "build"
    status, out, _ = cli("rtl", "write", folder, "--size", "2x3", "--outputs", 60, "--bits", 4,
                         "--accumulator-bits", 16, "--overflow", "saturate", "--scale", 0.1)  # fmt: skip
    assert (status, "wrote a 2x3 array" in out) == (0, True)
    status, out, _ = cli("rtl", "test", folder)
    assert (status, "agrees with 60 outputs" in out) == (0, True)
    design = folder / "design.sv"
    design.write_text(design.read_text().replace("x0 * w0", "x0 * w0 + 1"))
    status, out, _ = cli("rtl", "test", folder)
    assert (status, "differs from" in out) == (1, True)
    status, out, _ = cli("rtl", "write", folder, "--spec", "edge-16x16", "--outputs", 256)
    assert (status, "wrote a 16x16 array" in out) == (0, True)
    assert cli("rtl", "test", folder)[0] == 0
    arguments = ("--size", "2x2", "--outputs", 40, "--lanes", 4)
    for scheme in ("onnx-float", "shift", "finn-thresholds"):
        assert cli("rtl", "write", folder, "--scheme", scheme, *arguments)[0] == 0
        assert cli("rtl", "test", folder)[0] == 0
    status, _, err = cli("rtl", "write", folder, "--scheme", "real-double", *arguments)
    assert (status, "no module is generated for 'real-double'; those with one: tflite-double" in err) == (2, True)
    status, _, err = cli("rtl", "test", folder, "--bench", "vhdl")
    assert (status, "unknown bench 'vhdl'; known: systemverilog, dpi, cocotb" in err) == (2, True)
    status, _, err = cli("rtl", "test", folder, "--bench", "dpi")
    assert (status, "Icarus Verilog has no DPI" in err) == (2, True)
    status, _, err = cli("rtl", "burn", folder)
    assert (status, "unknown action" in err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bench", "simulator", "needs"),
    [("dpi", "verilator", ("verilator",)), ("cocotb", "icarus", ("iverilog", "cocotb-config"))],
)
def test_rtl_benches(cli, tmp_path, bench, simulator, needs):
    if missing := [program for program in needs if shutil.which(program, path=PATH) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path / "build"
    cli("rtl", "write", folder, "--size", "2x3", "--outputs", 60, "--bits", 4, "--accumulator-bits", 16)
    arguments = ("rtl", "test", folder, "--simulator", simulator, "--bench", bench)
    status, out, _ = cli(*arguments)
    assert (status, f"agrees with 60 outputs under {simulator} ({bench})" in out) == (0, True)
    design = folder / "design.sv"
    design.write_text(design.read_text().replace("assign biased =", "assign biased = 64'sd1 +"))
    status, out, _ = cli(*arguments, "--json")
    assert (status, json.loads(out)["mismatches"]["clamped"] > 0) == (1, True)
