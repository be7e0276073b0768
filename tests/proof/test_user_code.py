"""Requantizers of the user's own, in Python, C and Verilog, against the schemes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from test_equivalence import KNOWN, NARROW

from accelsim.errors import AccelsimError
from accelsim.proof.equivalence import prove
from accelsim.proof.user_code import CRequantizer, PythonRequantizer, VerilogRequantizer


def numpy_single(acc):
    return np.clip((acc * 1518500250 + 2**37) >> 38, -128, 127)


def test_a_python_function():
    assert prove(numpy_single, "tosa-single", **KNOWN, **NARROW).equal
    floor = PythonRequantizer(lambda acc: np.clip((acc * 1518500250) >> 38, -128, 127))
    proof = prove(floor, "tosa-single", **KNOWN, **NARROW)
    assert not proof.equal
    assert [c.accumulator for c in proof.counterexamples[:2]] == [-1, -2]
    with pytest.raises(AccelsimError, match="your own code"):
        proof.save("nowhere.json")
    with pytest.raises(AccelsimError, match="must return integers"):
        prove(lambda acc: acc * 0.5, "tosa-single", **KNOWN, **NARROW)


def test_a_python_function_of_one_accumulator():
    def single(acc):
        value = (acc * 1518500250 + 2**37) >> 38
        if value > 127:
            return 127
        return max(value, -128)

    assert prove(single, "tosa-single", **KNOWN, **NARROW).equal
    assert not prove(single, "tflite-double", **KNOWN, **NARROW).equal
    with pytest.raises(AccelsimError, match="single takes one accumulator at a time: give an accumulator_range"):
        prove(single, "tosa-single", **KNOWN)
    with pytest.raises(AccelsimError, match="must return integers, got 0.5"):
        prove(lambda acc: 0.5 if acc > 0 else 0, "tosa-single", **KNOWN, **NARROW)
    with pytest.raises(ValueError, match="my own"):
        prove(failing, "tosa-single", **KNOWN, **NARROW)


def failing(acc):
    raise ValueError("my own")


C_SINGLE = """
int32_t requantize(int32_t acc) {
  int64_t v = ((int64_t)acc * 1518500250 + ((int64_t)1 << 37)) >> 38;
  return v < -128 ? -128 : v > 127 ? 127 : (int32_t)v;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_c_function(tmp_path):
    assert prove(CRequantizer(C_SINGLE, "requantize"), "tosa-single", **KNOWN, **NARROW).equal
    path = tmp_path / "mine.c"
    path.write_text(C_SINGLE.replace("127 ? 127", "127 ? 126"))
    proof = prove("tosa-single", CRequantizer(path, "requantize"), **KNOWN, **NARROW)
    assert proof.visible == 2**16 - proof.counterexamples[0].accumulator + 1
    wide = {"accumulators": (-(2**40), 2**40)}
    source = (
        "#define M 20000\nint64_t f(int64_t a) { int64_t v = (a * M + (1 << 17)) >> 18; return v < 90 ? v : 90; }\n"
    )
    at = {"params_b": {"multiplier": 20000, "shift": -3}, "qmin": -(2**40), "qmax": 90}
    high = {"accumulator_range": (2**33 - 1000, 2**33 - 1)}
    assert prove(CRequantizer(source, "f", **wide), "tosa-16", **at, **high).equal
    with pytest.raises(AccelsimError, match="does not compile"):
        prove("tosa-single", CRequantizer("int x(\n", "requantize"), **KNOWN, **NARROW)


VERILOG = """
module single(input signed [31:0] acc, output signed [7:0] code);
  wire signed [63:0] p = $signed({{32{acc[31]}}, acc}) * 64'sd1518500250;
  wire signed [63:0] r = (p + (64'sd1 <<< 37)) >>> 38;
  assign code = r > 64'sd127 ? 8'sd127 : r < -64'sd128 ? -8'sd128 : r[7:0];
endmodule
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
def test_a_verilog_module():
    proof = prove(VerilogRequantizer(VERILOG, "single"), "tosa-single", **KNOWN, **NARROW)
    assert proof.equal, proof


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
def test_a_wrong_verilog_module_is_caught():
    floor = VerilogRequantizer(VERILOG.replace("(64'sd1 <<< 37)", "64'sd0"), "single")
    proof = prove(floor, "tosa-single", **KNOWN, **NARROW)
    assert proof.counterexamples[0].accumulator == -1
    with pytest.raises(AccelsimError, match="does not build"):
        prove(VerilogRequantizer("module m(;\n", "m"), "tosa-single", **KNOWN, **NARROW)


def test_a_function_that_raises_is_named_with_what_it_was_given() -> None:
    def divides(acc):
        return 100 // (int(acc) - 3)

    with pytest.raises(AccelsimError, match="divides raised ZeroDivisionError for 3: "):
        prove(divides, "tflite-double", multiplier=2**30, shift=0, accumulator_range=(-8, 8))
