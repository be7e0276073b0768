"""explain() and diff(): the steps end in the run's own numbers, and planted differences are named."""

from __future__ import annotations

import dataclasses

import accelsim_kernels as kernels
import numpy as np
import pytest
from accelsim_kernels import domain
from accelsim_kernels.names import SCHEMES
from accelsim_kernels.reference.requantization import code_of
from requantize_cases import NO_ZERO_POINT, corner_parameters

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.hardware import load_spec
from accelsim.ops.arithmetic import Add, Requantize
from accelsim.ops.base import TensorInfo
from accelsim.ops.mac import Conv2d, Linear
from accelsim.proof.difference import diff
from accelsim.proof.explanation import explain
from accelsim.proof.stages import stages
from accelsim.quant import QuantParams
from accelsim.requant import Requantizer
from accelsim.simulator import simulate

M, S = 1518500250, -9


def network(scheme="tflite-double") -> IntegerGraph:
    """conv -> requantize -> add -> linear, all on 8-bit grids."""
    rng = np.random.default_rng(0)
    grid = QuantParams(0.1, -3)
    weights = QuantParams(np.full(4, 0.1), np.zeros(4, np.int64), axis=0)
    rescale = Requantizer(scheme, {"multiplier": M, "shift": S}, zero_point=5)
    conv = Conv2d("conv", ("x",), "c", rng.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8), weights, -3,
                  rng.integers(-500, 500, 4).astype(np.int32), rescale, padding=((1, 1), (1, 1)))  # fmt: skip
    move = Requantize("move", ("c",), "r", 5, Requantizer(scheme, {"multiplier": M, "shift": 0}, zero_point=2))
    both = Add("add", ("c", "r"), "s", 5, 2, -1, -128, 127, "rescale", {
        "scheme": scheme, "left_shift": 20, "a_multiplier": 2**30, "a_shift": 0, "b_multiplier": M, "b_shift": 0,
        "multiplier": M, "shift": -19,
    })  # fmt: skip
    fc = Linear("fc", ("s",), "y", rng.integers(-128, 128, (3, 4)).astype(np.int8),
                QuantParams(np.full(3, 0.1), np.zeros(3, np.int64), axis=0), -1, None, rescale)  # fmt: skip
    infos = {"x": (4, 5, 2), "c": (4, 5, 4), "r": (4, 5, 4), "s": (4, 5, 4), "y": (4, 5, 3)}
    tensors = {name: TensorInfo(shape, grid) for name, shape in infos.items()}
    return IntegerGraph((conv, move, both, fc), ("x",), ("y",), tensors, profile="tflm")


def run(graph=None, spec="edge-16x16"):
    x = np.random.default_rng(1).integers(-128, 128, (3, 4, 5, 2))
    return simulate(graph or network(), x, spec, keep="all")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stages_end_in_the_code(scheme):
    for params in corner_parameters(scheme):
        zero_point = 0 if scheme in NO_ZERO_POINT else 7
        bound = domain.bind(scheme, zero_point=zero_point, **params)
        low, high = (int(v[0]) for v in bound.accumulator_range())
        for acc in (0, 1, -1, 89, 90, -90, 4242, low, high):
            if low <= acc <= high:
                steps = stages(acc, bound)
                assert steps[0].value == acc
                assert steps[-1].name == "clamped" or scheme == "onnx-reference"
                assert steps[-1].value == code_of(acc, bound)
                assert "rounded" in [s.name for s in steps]


@pytest.mark.parametrize("tensor", ["c", "r", "s", "y"])
def test_an_explanation_ends_in_the_runs_own_code(tensor):
    result = run()
    values = result.tensors[tensor]
    for flat in range(0, values.size, 7):
        index = np.unravel_index(flat, values.shape)
        found = explain(result, tensor, index)
        assert found.stages[-1].value == found.value == values[index]
        if found.taps:
            assert found.taps[-1].partial_sum == result.accumulators[found.layer][index]
            assert found.stages[0].value == result.accumulators[found.layer][index]


def test_an_explanation_reads():
    text = str(explain(run(), "conv", (0, 0, 0, 1)))
    for word in ("padding", "bias", "high half", "ties away", "zero point", "clamp(", "0x", "0b"):
        assert word in text, word


def test_an_overflow_is_said():
    spec = load_spec("edge-16x16").model_dump(mode="json")
    spec["array"]["accumulators"] = {"bits": 12, "overflow": "wrap"}
    narrow = run(spec=type(load_spec("edge-16x16")).model_validate(spec))
    wrapped = np.argwhere(narrow.accumulators["conv"] != run().accumulators["conv"])[0]
    assert "the exact sum is" in str(explain(narrow, "conv", tuple(wrapped)))


def test_wrong_use():
    result = run()
    for problem, call in (
        ("no operator computes a tensor 'q'; computed tensors: c, r, s, y", lambda: explain(result, "q", (0,))),
        ("is no index of it", lambda: explain(result, "c", (0, 9, 0, 0))),
        ("is no index of it", lambda: explain(result, "c", (0, 0))),
        ("nothing to compare", lambda: diff(result, {"other": np.zeros(3)})),
        ("has shape", lambda: diff(result, {"c": np.zeros(3)})),
        ("keep='all'", lambda: diff(dataclasses.replace(result, tensors={}), result)),
        ("keep='all'", lambda: explain(dataclasses.replace(result, tensors={}), "c", (0, 0, 0, 0))),
    ):
        with pytest.raises(AccelsimError, match=problem):
            call()


def test_equal_runs_have_no_difference():
    found = diff(run(), run())
    assert found.equal
    assert not found
    assert "equal" in str(found)


@pytest.mark.parametrize(("other", "words"), [
    ("tosa-single", "rounds once, ties up"),
    ("tflite-ruy", "ties up both times"),
])  # fmt: skip
def test_another_rounding_is_named(other, words):
    ours = run()
    graph = ours.graph
    layer = dataclasses.replace(
        graph.op("conv"), requantizer=Requantizer(other, {"multiplier": M, "shift": S}, zero_point=5)
    )
    rng = np.random.default_rng(2)
    x = rng.integers(-128, 128, (200, 4, 5, 2))
    theirs = simulate(dataclasses.replace(graph, ops=(layer, *graph.ops[1:])), x, keep="all")
    found = diff(simulate(graph, x, keep="all"), theirs)
    assert (found.layer, found.tensor, found.stage) == ("conv", "c", "requantize")
    assert f"b is explained by {other}" in found.guess or other in found.guess
    assert words in found.guess
    assert abs(found.a - found.b) == 1
    # the same from bare tensors of another runtime
    assert diff(simulate(graph, x, keep="all"), {"c": theirs.tensors["c"]}).guess == found.guess


def test_another_bias_is_named_at_the_accumulator():
    ours = run()
    conv = ours.graph.op("conv")
    layer = dataclasses.replace(conv, bias=conv.bias + 40)
    found = diff(ours, run(dataclasses.replace(ours.graph, ops=(layer, *ours.graph.ops[1:]))))
    assert found.stage == "accumulator"
    assert "constant per channel (channel 0: -40)" in found.guess


def test_a_zero_point_off_by_one_and_an_unknown_change():
    ours = run()
    shifted = np.clip(ours.tensors["c"].astype(int) + 1, -128, 127)
    assert "zero point off by +1" in diff(ours, {"c": shifted}).guess
    noise = ours.tensors["c"].astype(int)
    noise[0, 0, 0, 0] -= 3
    found = diff(ours, {"c": noise})
    assert (found.differing, found.index) == (1, (0, 0, 0, 0))
    assert "no known scheme explains b (off by up to 3)" in found.guess


def test_a_slip_is_named():
    graph, shift = network(), S + 2  # codes that meet both clamps
    rescale = Requantizer("tflite-double", {"multiplier": M, "shift": shift}, zero_point=5)
    layer = dataclasses.replace(graph.op("conv"), requantizer=rescale)
    ours = run(dataclasses.replace(graph, ops=(layer, *graph.ops[1:])))
    acc = ours.accumulators["conv"].astype(np.int64)
    wide = kernels.requantize(acc, "tflite-double", M, shift, zero_point=5, qmin=-(2**31), qmax=2**31 - 1)
    for theirs, words in (
        (np.clip((acc * M >> 31 - shift) + 5, -128, 127), "nudge dropped (floor)"),
        (kernels.requantize(acc, "tflite-double", M, shift), "zero point dropped (adds no zero point)"),
        (np.minimum(ours.tensors["c"], 126), "saturation high off by one"),
        (np.where(wide > 127, wide - 256, np.maximum(wide, -128)), "saturation high wraps (no upper clamp: wraps)"),
    ):
        found = diff(ours, {"c": theirs})
        assert found.stage == "requantize"
        assert f"b is explained by a slip, {words}" in found.guess


def test_an_explanation_shows_every_number_three_ways():
    text = str(explain(run(), "conv", (0, 1, 2, 3)))
    for words in (
        "5304 0x14b8 0b0001010010111000", "bias               389 0x0185 0b0000000110000101",
        "multiplier         1518500250 0x5a82799a 0b0101", "shift              -9 0xf7 0b11110111",
        "zero point         5 0x05", "input zero point   -3 0xfd 0b11111101", "qmin               -128 0x80",
    ):  # fmt: skip
        assert words in text, text


def test_a_narrow_accumulator_is_named():
    spec = load_spec("edge-16x16").model_dump(mode="json")
    spec["array"]["accumulators"] = {"bits": 14, "overflow": "wrap"}
    found = diff(run(), run(spec=type(load_spec("edge-16x16")).model_validate(spec)))
    assert found.guess == "accumulators: a's wrap in 32 bits, b's wrap in 14 bits"
