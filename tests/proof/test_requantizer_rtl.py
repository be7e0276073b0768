"""Generated modules of requantizers, and their C models, against the schemes; bugs planted in float32 datapaths."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from accelsim_kernels.names import SCHEMES
from simulators import needs_icarus, needs_verilator

from accelsim.proof.datapath import RTL_SCHEMES, products
from accelsim.proof.equivalence import prove
from accelsim.proof.float32 import float_corners
from accelsim.proof.golden import golden_vectors
from accelsim.proof.requantizer_rtl import c_model, code_bits, requantizer_module
from accelsim.proof.rtl import ArrayDesign
from accelsim.proof.simulation import run_bench
from accelsim.proof.testbench import array_vectors, write_bench
from accelsim.proof.user_code import CRequantizer
from accelsim.requant import Requantizer


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


#: the float32 just above 0.0055 has a significand whose product rounds up to a power of two; most scales have none
CARRYING_SCALE = 0.005500004161149263


@needs_icarus
@pytest.mark.parametrize(
    ("right", "wrong", "stages"),
    [
        ("single[24] ? single[24:1] : single[23:0]", "single[23:0]", {"product", "rounded", "clamped"}),
        (" + $signed(12'(single[24]))", "", {"product", "rounded"}),
        ("result[24] ? result[24:1] : result[23:0]", "result[23:0]", {"rounded", "clamped"}),
        (" + $signed(12'(result[24]))", "", {"product", "rounded"}),
    ],
    ids=["significand", "exponent", "product's significand", "product's exponent"],
)
def test_a_lost_carry_of_a_mantissa_is_caught(tmp_path, right, wrong, stages):
    d = ArrayDesign(4, 4, 8, 8, 32, False, Requantizer("onnx-float", {"scale": CARRYING_SCALE}, 3))
    write_bench(d, array_vectors(d, outputs=640, depth=12), tmp_path)
    source = (tmp_path / "design.sv").read_text()
    assert right in source
    (tmp_path / "design.sv").write_text(source.replace(right, wrong))
    assert {stage for stage, n in run_bench(tmp_path, "icarus").mismatches.items() if n} == stages


@pytest.mark.parametrize("scale", [CARRYING_SCALE, float(np.float32(3e-7)), 0.75, 2.0**-20])
def test_corners_of_a_float32_scale(scale):
    acc = np.array(float_corners(scale), np.int64)
    assert set(acc) == set(-acc)
    single, scale = acc.astype(np.float32), np.float32(scale)
    exponent = lambda v: np.frexp(np.abs(v, dtype=np.float64))[1]  # noqa: E731
    carried = acc[exponent(single) > exponent(acc)]
    for k in range(25, 32):
        assert {2**k - 1, 2**k - 2 ** (k - 25)} <= set(carried[carried > 0]), k
        assert 2**k - 2 ** (k - 25) - 1 in set(acc) - set(carried)
    product_carries = exponent(single * scale) > exponent(single.astype(np.float64) * scale)
    assert product_carries.any() == (scale == np.float32(CARRYING_SCALE))


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
