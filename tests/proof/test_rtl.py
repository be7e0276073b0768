"""Generated SystemVerilog against the kernels, under Icarus and Verilator; planted bugs are caught."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
from simulators import needs_cocotb, needs_icarus, needs_verilator

from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.proof.requantizer_rtl import c_model, requantizer_module
from accelsim.proof.rtl import ArrayDesign, InnerAccumulator, design_of
from accelsim.proof.simulation import run_bench
from accelsim.proof.testbench import array_vectors, write_bench
from accelsim.requant import Requantizer

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


@needs_icarus
@pytest.mark.parametrize("scheme", ["onnx-float", "nvdla", "tflite-int16x8", "finn-thresholds"])
def test_arrays_with_other_requantizers_and_unsigned_operands(tmp_path, scheme):
    requantizer = Requantizer.from_scale(scheme, 0.0055, zero_point=0 if scheme == "nvdla" else -5)
    d = ArrayDesign(2, 3, 8, 5, 32, False, requantizer, x_signed=False, x_zero_point=131, w_zero_point=-2)
    found = run_bench(write_bench(d, array_vectors(d, outputs=120, depth=6), tmp_path), "icarus")
    assert found.passed, found.log


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
