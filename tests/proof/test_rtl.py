"""Generated SystemVerilog against the kernels, under Icarus and Verilator; planted bugs are caught."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess

import numpy as np
import pytest
from accelsim_kernels.names import SCHEMES

from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.proof.datapath import RTL_SCHEMES, products
from accelsim.proof.equivalence import prove
from accelsim.proof.golden import golden_vectors
from accelsim.proof.requantizer_rtl import c_model, code_bits, requantizer_module
from accelsim.proof.rtl import ArrayDesign, InnerAccumulator, design_of
from accelsim.proof.simulation import run_bench
from accelsim.proof.testbench import array_vectors, write_bench
from accelsim.proof.user_code import CRequantizer
from accelsim.requant import Requantizer

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="Verilator is not installed")
needs_cocotb = pytest.mark.skipif(
    importlib.util.find_spec("cocotb_tools") is None, reason="cocotb 2.0 is not installed: pip install 'accelsim[rtl]'"
)
SIMULATORS = [pytest.param("icarus", marks=needs_icarus), pytest.param("verilator", marks=needs_verilator)]


def design(bits=8, acc_bits=32, saturate=False, size=(4, 4), scheme="tflite-double", **more) -> ArrayDesign:
    shift = -7 if acc_bits == 32 else -3
    params = {"multiplier": 1518500250, "shift": shift}
    requantizer = Requantizer(scheme, params, 3, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return ArrayDesign(*size, bits, bits, acc_bits, saturate, requantizer, x_zero_point=-3, **more)


CONFIGURATIONS = [(8, 32, False), (8, 32, True), (4, 16, False), (4, 16, True)]


@needs_icarus
@pytest.mark.parametrize(("bits", "acc_bits", "saturate"), CONFIGURATIONS)
def test_icarus_agrees_with_the_kernels(tmp_path, bits, acc_bits, saturate):
    d = design(bits, acc_bits, saturate)
    vectors = array_vectors(d, outputs=640, depth=12)
    assert vectors.overflow.sum() > 20
    found = run_bench(write_bench(d, vectors, tmp_path), "icarus")
    assert found.passed, found.log
    assert found.outputs == vectors.outputs >= 640


@needs_verilator
def test_verilator_agrees_with_the_kernels(tmp_path):
    d = design(4, 16, True)
    found = run_bench(write_bench(d, array_vectors(d, outputs=640, depth=12), tmp_path), "verilator")
    assert found.passed, found.log


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize(("bits", "acc_bits", "saturate"), CONFIGURATIONS)
def test_a_hundred_thousand_vectors(tmp_path, simulator, bits, acc_bits, saturate):
    d = design(bits, acc_bits, saturate, size=(8, 8))
    vectors = array_vectors(d, outputs=100000, depth=16)
    found = run_bench(write_bench(d, vectors, tmp_path), simulator)
    assert found.passed, found.log
    assert found.outputs >= 100000


BUGS = {
    "nudge dropped": ("high + 64'sd64 - (high[63] ? 64'sd1 : 64'sd0)", "high", {"rounded", "clamped"}),
    "tie flipped": (" - (high[63] ? 64'sd1 : 64'sd0)", "", {"rounded"}),
    "saturation off by one": ("biased > 64'sd127 ? 64'sd127", "biased > 64'sd126 ? 64'sd126", {"clamped"}),
    "zero point forgotten": ("x[7:0]}) - (-10'sd3)", "x[7:0]})", {"accumulator", "product", "rounded", "clamped"}),
}


@needs_icarus
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_at_its_stage(tmp_path, bug):
    d = design()
    write_bench(d, array_vectors(d, outputs=640, depth=12), tmp_path)
    right, wrong, stages = BUGS[bug]
    source = (tmp_path / "design.sv").read_text()
    assert right in source
    (tmp_path / "design.sv").write_text(source.replace(right, wrong))
    found = run_bench(tmp_path, "icarus")
    assert not found.passed
    assert stages <= {stage for stage, n in found.mismatches.items() if n}
    assert found.first.startswith("output ")


@needs_icarus
def test_a_wrapping_accumulator_where_saturation_was_asked_is_caught(tmp_path):
    d = design(8, 32, True)
    write_bench(d, array_vectors(d, outputs=640, depth=12), tmp_path)
    source = (tmp_path / "design.sv").read_text()
    start, end = source.index("assign next0 ="), source.index(";", source.index("assign next0 ="))
    (tmp_path / "design.sv").write_text(source[:start] + "assign next0 = total0[31:0]" + source[end:])
    found = run_bench(tmp_path, "icarus")
    assert found.mismatches["accumulator"] > 0
    assert found.mismatches["overflow"] == 0


def every_requantizer() -> list[Requantizer]:
    """Several of every scheme with a module: right and left shifts, extremes, every rounding and overflow mode."""
    found = []
    for scheme in RTL_SCHEMES:
        for scale in (0.0055, 0.75 if scheme.startswith("qnnpack") else 2.5, 3e-7):
            if scheme in ("shift", "ap-fixed"):
                break
            zero_point = -5 if scheme not in ("nvdla", "gemmini") else 0
            limits = {"qmin": 0, "qmax": 200} if scale == 2.5 and not zero_point else {}
            found.append(Requantizer.from_scale(scheme, scale, zero_point=zero_point, **limits))
    found += [
        Requantizer("shift", {"shift": s, "rounding": r}, 3, -100, 90)
        for r in SCHEMES["shift"].options["rounding"] if r != "stochastic" for s in (-5, 2)
    ]  # fmt: skip
    modes = SCHEMES["ap-fixed"].options
    found += [
        Requantizer("ap-fixed", {"shift": -6 + n % 2, "quantization": q, "overflow": modes["overflow"][n % 5]})
        for n, q in enumerate((*modes["quantization"], *modes["quantization"][:3]))
    ]
    found += [
        Requantizer("ap-fixed", {"shift": -3, "overflow": o}, 0, 0, 255) for o in ("AP_WRAP", "AP_SAT", "AP_SAT_ZERO")
    ]
    found += [
        Requantizer("nvdla", {"offset": -12345, "scale": -3000, "shift": -20}),
        Requantizer("nvdla", {"offset": 7, "scale": 32767, "shift": -63}, 0, -(2**15), 2**15 - 1),
        Requantizer("onnx-float", {"scale": 2.0**-126}),
        Requantizer("onnx-float", {"scale": float(np.float32(32767.998))}, 11, -(2**31), 2**31 - 1),
        Requantizer("gemmini", {"scale": 0.5}, 0, -(2**31), 2**31 - 1),
        Requantizer("gemmini", {"scale": 1.0}, 0, -(2**31), 2**31 - 1),
    ]
    return found


REQUANTIZERS = every_requantizer()
EVERY = range(len(REQUANTIZERS))
#: one of every scheme
FIRST = {next(n for n in EVERY if REQUANTIZERS[n].scheme == scheme) for scheme in RTL_SCHEMES}


def bench_of_modules(folder, requantizers, count=200) -> str:
    """design.sv with a module for each, and bench.sv that compares every tap of golden vectors; the words "N wrong"."""
    design_text, declared, loops = [], [], []
    for n, requantizer in enumerate(requantizers):
        bits = 48 if SCHEMES[requantizer.scheme].accumulator_bits > 32 else 32
        vectors = golden_vectors(requantizer, count=count, seed=n)
        keep = np.abs(vectors.accumulator) < 2 ** (bits - 1)
        acc, rounded, code = (v[keep] for v in (vectors.accumulator, vectors.rounded, vectors.code))
        width = code_bits(requantizer)
        mask = 2**width - 1
        words = zip(acc, products(requantizer, acc), rounded, code & mask, strict=True)
        text = "".join(" ".join(f"{int(v) % 2**64:016x}" for v in line) + "\n" for line in words)
        (folder / f"{n}.mem").write_text(text)
        design_text.append(requantizer_module(requantizer, acc_bits=bits, name=f"module{n}"))
        declared.append(f"""  logic [63:0] all{n} [0:{4 * len(acc) - 1}];
  logic [{bits - 1}:0] acc{n}; logic signed [63:0] product{n}, rounded{n}; logic [{width - 1}:0] code{n};
  module{n} dut{n} (.acc(acc{n}), .product(product{n}), .rounded(rounded{n}), .code(code{n}));""")
        loops.append(f"""    $readmemh("{n}.mem", all{n});
    bad = 0;
    for (i = 0; i < {4 * len(acc)}; i = i + 4) begin
      acc{n} = all{n}[i][{bits - 1}:0]; #1;
      if (product{n} !== all{n}[i + 1] || rounded{n} !== all{n}[i + 2] || code{n} !== all{n}[i + 3][{width - 1}:0])
        bad = bad + 1;
    end
    $display("MODULE {n} %0d wrong", bad);""")
    (folder / "design.sv").write_text("\n".join(design_text))
    lines = ["`timescale 1ns/1ps", "module bench;", "  integer i, bad;", *declared, "  initial begin", *loops]
    (folder / "bench.sv").write_text("\n".join([*lines, "    $finish;", "  end", "endmodule", ""]))
    return "".join(f"MODULE {n} 0 wrong\n" for n in range(len(requantizers)))


def run_in(folder, *command) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@needs_icarus
def test_every_scheme_has_a_module_that_agrees(tmp_path):
    assert {r.scheme for r in REQUANTIZERS} == set(RTL_SCHEMES)
    good = bench_of_modules(tmp_path, REQUANTIZERS)
    run_in(tmp_path, "iverilog", "-g2012", "-o", "bench.vvp", "bench.sv", "design.sv")
    found = run_in(tmp_path, "vvp", "-n", "bench.vvp")
    wrong = [REQUANTIZERS[int(n)] for n in re.findall(r"MODULE (\d+) [1-9]\d* wrong", found)]
    assert not wrong
    assert good in found


@pytest.mark.slow
@needs_verilator
def test_every_scheme_has_a_module_that_agrees_under_verilator(tmp_path):
    good = bench_of_modules(tmp_path, REQUANTIZERS, count=2000)
    run_in(tmp_path, "verilator", "--binary", "--timing", "-Wno-fatal", "--top-module", "bench", "-CFLAGS", "-O0",
           "-o", "bench", "bench.sv", "design.sv")  # fmt: skip
    assert good in run_in(tmp_path, str(tmp_path / "obj_dir" / "bench"))


@needs_icarus
@pytest.mark.parametrize("scheme", ["onnx-float", "nvdla", "tflite-int16x8", "finn-thresholds"])
def test_arrays_with_other_requantizers_and_unsigned_operands(tmp_path, scheme):
    requantizer = Requantizer.from_scale(scheme, 0.0055, zero_point=0 if scheme == "nvdla" else -5)
    d = ArrayDesign(2, 3, 8, 5, 32, False, requantizer, x_signed=False, x_zero_point=131, w_zero_point=-2)
    found = run_bench(write_bench(d, array_vectors(d, outputs=120, depth=6), tmp_path), "icarus")
    assert found.passed, found.log


@needs_icarus
def test_a_planted_bug_in_the_float_datapath_is_caught(tmp_path):
    requantizer = Requantizer.from_scale("onnx-float", 0.0055, zero_point=3)
    d = ArrayDesign(4, 4, 8, 8, 32, False, requantizer)
    write_bench(d, array_vectors(d, outputs=1600, depth=12), tmp_path)
    source = (tmp_path / "design.sv").read_text()
    for right, wrong, stages in (
        ("normal[7] & ((|normal[6:0]) | normal[8])", "normal[7]", {"product"}),
        ("aligned[23] & ((|aligned[22:0]) | aligned[24])", "1'b0", {"product"}),
        ("whole[0] ||", "1'b1 ||", {"rounded"}),
    ):
        assert right in source
        (tmp_path / "design.sv").write_text(source.replace(right, wrong))
        found = run_bench(tmp_path, "icarus")
        assert stages <= {stage for stage, n in found.mismatches.items() if n}, right


ORDERS = [
    (4, ()), (1, (InnerAccumulator(9, True, 5),)), (2, (InnerAccumulator(9, False, 4),)),
    (2, (InnerAccumulator(9, True, 4), InnerAccumulator(10, False, 8))),
]  # fmt: skip


@needs_icarus
@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize(("lanes", "inner"), ORDERS)
def test_adder_trees_and_inner_accumulators(tmp_path, lanes, inner, saturate):
    d = design(4, 16, saturate, size=(3, 2), lanes=lanes, inner=inner)
    vectors = array_vectors(d, outputs=400, depth=18)
    assert 20 < vectors.overflow.sum() < vectors.outputs
    found = run_bench(write_bench(d, vectors, tmp_path), "icarus")
    assert found.passed, found.log
    # a design that forgets what its inner accumulators hold, or takes the products one by one, is caught
    source = (tmp_path / "design.sv").read_text()
    right, wrong = (
        ("flush | (step", "(step") if inner else (" + ".join(f"{d_bits(source)}'(p{n})" for n in range(4)), "0")
    )
    assert right in source
    (tmp_path / "design.sv").write_text(source.replace(right, wrong))
    assert run_bench(tmp_path, "icarus").mismatches["accumulator"] > 0


def d_bits(source: str) -> str:
    return source.split("'(p0)")[0].split()[-1]


def test_the_array_of_a_spec():
    spec = load_spec("edge-16x16").model_dump(mode="json")
    requantizer = design().requantizer

    def made(**accumulators):
        data = {**spec, "array": {**spec["array"], "accumulators": accumulators}}
        return design_of(type(load_spec("edge-16x16")).model_validate(data), requantizer)

    levels = [{"bits": 20, "overflow": "saturate", "span": 8}, {"bits": 32, "overflow": "wrap"}]
    d = made(order="tree:4", levels=levels)
    assert (d.lanes, d.levels) == (4, [(20, "saturate", 8), (32, "wrap", None)])
    assert made(order="serial", bits=24, overflow="saturate").levels == [(24, "saturate", None)]
    for words, wrong in (
        ("this spec asks for order 'mapping'", {"order": "mapping", "bits": 32}),
        ("bias 'after'", {"order": "serial", "bits": 32, "bias": "after"}),
        ("must be a multiple of what it is given at a time, 3", {"order": "tree:3", "levels": levels}),
    ):
        with pytest.raises(AccelsimError, match=words):
            made(**wrong)


@needs_cocotb
@needs_icarus
def test_the_cocotb_test_agrees_and_catches_planted_bugs(tmp_path):
    d = design(4, 16, True)
    vectors = array_vectors(d, outputs=160, depth=12)
    assert vectors.overflow.any()
    write_bench(d, vectors, tmp_path)
    found = run_bench(tmp_path, "icarus", bench="cocotb")
    assert found.passed, found.log
    assert found.outputs == vectors.outputs
    source = (tmp_path / "design.sv").read_text()
    for right, wrong, stages in (
        ("biased > 64'sd7 ? 64'sd7", "biased > 64'sd6 ? 64'sd6", {"clamped"}),
        ("overflow <= overflow |", "overflow <=", {"overflow"}),
        ("assign rounded =", "assign rounded = 64'sd1 +", {"rounded"}),
        ("assign p0 = x0 * w0", "assign p0 = 'x", {"accumulator", "overflow", "product", "rounded", "clamped"}),
    ):
        assert right in source
        (tmp_path / "design.sv").write_text(source.replace(right, wrong))
        wrong_design = run_bench(tmp_path, "icarus", bench="cocotb")
        same = run_bench(tmp_path, "icarus")
        assert stages <= {stage for stage, n in wrong_design.mismatches.items() if n}
        assert wrong_design.mismatches == same.mismatches
        assert wrong_design.first == same.first


@pytest.mark.slow
@needs_cocotb
@needs_verilator
def test_the_cocotb_test_under_verilator(tmp_path):
    d = design(4, 16, True)
    write_bench(d, array_vectors(d, outputs=160, depth=12), tmp_path)
    try:
        found = run_bench(tmp_path, "verilator", bench="cocotb")
    except AccelsimError as error:
        if "older than the installed cocotb" not in str(error):
            raise
        pytest.skip(str(error))
    assert found.passed, found.log


def test_cocotb_missing_is_said(tmp_path, monkeypatch):
    d = design()
    write_bench(d, array_vectors(d, outputs=16, depth=2), tmp_path)
    monkeypatch.setattr(shutil, "which", lambda program: program)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AccelsimError, match=r"pip install 'accelsim\[rtl\]'"):
        run_bench(tmp_path, "icarus", bench="cocotb")


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize(("bits", "acc_bits"), [(8, 32), (4, 16), (8, 40)])
def test_the_c_model_beside_the_design_through_dpi(tmp_path, bits, acc_bits):
    d = design(bits, acc_bits)
    write_bench(d, array_vectors(d, outputs=640, depth=12), tmp_path)
    found = run_bench(tmp_path, "verilator", bench="dpi")
    assert found.passed, found.log
    assert found.mismatches["model"] == 0
    # a bug in the model alone: the design still has every golden value
    model, source = (tmp_path / "model.c").read_text(), (tmp_path / "design.sv").read_text()
    limit = 2 ** (bits - 1) - 1
    broken = model.replace(f"biased > INT64_C({limit}) ?", f"biased > INT64_C({limit - 1}) ?").replace(
        f"? INT64_C({limit})", f"? INT64_C({limit - 1})"
    )
    assert broken != model
    (tmp_path / "model.c").write_text(broken)
    found = run_bench(tmp_path, "verilator", bench="dpi")
    assert {stage for stage, n in found.mismatches.items() if n} == {"model"}
    # a bug in the design alone: model and golden values complain of the same outputs
    (tmp_path / "model.c").write_text(model)
    (tmp_path / "design.sv").write_text(source.replace("assign biased =", "assign biased = 64'sd1 +"))
    found = run_bench(tmp_path, "verilator", bench="dpi")
    assert found.mismatches["model"] == found.mismatches["clamped"] > 0
    assert found.mismatches["rounded"] == 0


def test_where_the_c_model_cannot_be_called(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: program)
    d = design(8, 40)
    write_bench(d, array_vectors(d, outputs=16, depth=2), tmp_path)
    with pytest.raises(AccelsimError, match="Icarus Verilog has no DPI"):
        run_bench(tmp_path, "icarus", bench="dpi")
    with pytest.raises(AccelsimError, match="unknown bench 'vhdl'; known: systemverilog, dpi, cocotb"):
        run_bench(tmp_path, "icarus", bench="vhdl")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("number", [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in EVERY])
def test_the_c_model_is_the_scheme(number):
    requantizer = REQUANTIZERS[number]
    bits = 48 if SCHEMES[requantizer.scheme].accumulator_bits > 32 else 32
    low, high = (int(v[0]) for v in requantizer.bound().accumulator_range())
    span = max(low, -(2 ** (bits - 1))), min(high, 2 ** (bits - 1) - 1)
    model = CRequantizer(c_model(requantizer, acc_bits=bits), "accelsim_requantize", accumulators=span)
    vectors = golden_vectors(requantizer, count=800, seed=number)
    inside = (vectors.accumulator >= span[0]) & (vectors.accumulator <= span[1])
    np.testing.assert_array_equal(model.codes(vectors.accumulator[inside]), vectors.code[inside])
    near = max(span[0], -(2**15)), min(span[1], 2**15 - 1)
    assert prove(model, requantizer, accumulator_range=near).equal


def test_wrong_use(tmp_path):
    for words, call in (
        (
            "no module is generated for 'onnx-reference'; those with one: tflite-double",
            lambda: requantizer_module(Requantizer("onnx-reference", {"scale": 0.5})),
        ),
        ("rows and cols must be 1 to 64", lambda: design(size=(0, 4))),
        ("unknown simulator 'questa'", lambda: run_bench(tmp_path, "questa")),
        (
            "no module is generated for rounding 'stochastic'",
            lambda: c_model(Requantizer("shift", {"shift": -1, "rounding": "stochastic"})),
        ),
        ("from 2..-126 to below 2..15, got 65536", lambda: c_model(Requantizer("gemmini", {"scale": 65536.0}))),
        ("an adder tree of 65 products", lambda: design(lanes=65)),
        (
            "leave the requantizer's domain",
            lambda: array_vectors(
                ArrayDesign(2, 2, 8, 8, 32, False, Requantizer("tflite-double", {"multiplier": 2**30, "shift": 20}))
            ),
        ),
        ("give scalars", lambda: requantizer_module(Requantizer("shift", {"shift": [-1, -2]}))),
    ):
        with pytest.raises(AccelsimError, match=words):
            call()


@needs_icarus
def test_a_design_that_does_not_compile_or_is_missing(tmp_path):
    with pytest.raises(AccelsimError, match="holds no design.sv"):
        run_bench(tmp_path)
    d = design()
    write_bench(d, array_vectors(d, outputs=16, depth=2), tmp_path)
    (tmp_path / "design.sv").write_text("module accelsim_array(;")
    with pytest.raises(AccelsimError, match="does not compile"):
        run_bench(tmp_path)
