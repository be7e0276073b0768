"""prove(): known facts, every method against the others, certificates, the user's own code."""

from __future__ import annotations

import itertools

import accelsim_kernels as kernels
import numpy as np
import pytest
from accelsim_kernels.names import SCHEMES

from accelsim.errors import AccelsimError
from accelsim.proof.equivalence import prove
from accelsim.requant import Requantizer

KNOWN = {"multiplier": 1518500250, "shift": -7}
NARROW = {"accumulator_range": (-(2**16), 2**16)}


def test_single_and_double_rounding_over_all_accumulators():
    proof = prove("tflite-double", "tosa-single", **KNOWN)
    assert (proof.equal, proof.method, proof.differing, proof.visible) == (False, "exhaustive", 16777220, 166)
    assert [c.accumulator for c in proof.counterexamples[:4]] == [-90, 90, -271, 271]
    for c in proof.counterexamples:
        for scheme, value, code in (("tflite-double", c.a, c.code_a), ("tosa-single", c.b, c.code_b)):
            at = kernels.reference.requantize(np.array([c.accumulator]), scheme, **KNOWN, qmin=-(2**31), qmax=2**31)
            assert at.item() == value
            assert code == max(-128, min(127, value))


def test_tosa_double_is_tflite_double_over_all_accumulators():
    proof = prove("tflite-double", "tosa-double", **KNOWN)
    assert proof.equal
    assert (proof.differing, proof.visible, proof.counterexamples) == (0, 0, ())
    assert proof.domain == (-(2**31), 2**31 - 1)


PAIRS = [
    ("tflite-double", "tosa-single"), ("tflite-double", "tflite-ruy"), ("tflite-single", "tosa-single"),
    ("tflite-double", "onnx-float"), ("onnx-float", "onnx-reference"), ("real-double", "finn-thresholds"),
    ("qnnpack-precise", "xnnpack-rndnu"), ("nvdla", "real-double"), ("tflite-int16x8", "cmsis-nn-s64"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("limits", [{}, {"zero_point": 3, "qmin": -20, "qmax": 30}])
def test_thresholds_agree_with_every_accumulator(a, b, limits):
    if "nvdla" in (a, b):
        limits = {k: v for k, v in limits.items() if k != "zero_point"}
    scale = float(np.float32(0.0055243))
    every = prove(a, b, scale=scale, **NARROW, **limits)
    steps = prove(a, b, scale=scale, method="thresholds", **NARROW, **limits)
    assert steps.visible == every.visible
    acc = np.arange(*NARROW["accumulator_range"])
    codes = [kernels.requantize(acc, **Requantizer.from_scale(name, scale, **limits).kwargs()) for name in (a, b)]
    assert every.visible == (codes[0] != codes[1]).sum() + (NARROW["accumulator_range"][1] not in acc) * 0


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "ap-fixed"])
def test_every_scheme_equals_itself(scheme):
    proof = prove(scheme, scheme, scale=2.0**-7, **NARROW)
    assert proof.equal
    assert proof.visible == 0


def test_sides_that_only_clamp_otherwise_are_not_equal():
    a = Requantizer("tflite-double", KNOWN, qmax=127)
    b = Requantizer("tflite-double", KNOWN, qmax=126)
    for method in ("exhaustive", "thresholds"):
        proof = prove(a, b, method=method, **NARROW)
        first = proof.counterexamples[0].accumulator
        assert not proof.equal
        assert proof.visible == 2**16 - first + 1
        assert (proof.counterexamples[0].code_a, proof.counterexamples[0].code_b) == (127, 126)
    assert prove(a, b, **NARROW).differing == 0
    moved = prove(a, Requantizer("tflite-double", KNOWN, zero_point=1), **NARROW)
    assert (moved.equal, moved.differing, moved.counterexamples[0].accumulator) == (False, 0, 0)


def test_a_zero_point_that_a_side_does_not_have_is_refused():
    with pytest.raises(AccelsimError, match="side 'gemmini': gemmini has no zero point"):
        prove("onnx-float", "gemmini", scale=0.5, zero_point=3)


def test_options_follow_a_schemes_name():
    assert prove("shift:half_away", "ap-fixed:AP_RND_INF:AP_SAT", shift=-4, **NARROW).equal
    assert prove("shift:half_even", "ap-fixed:AP_RND_CONV:AP_SAT", scale=2.0**-4, **NARROW).equal
    assert not prove("shift:half_even", "shift", shift=-4, **NARROW).equal
    for words, name in (
        ("'half_evn' is not one of", "shift:half_evn"), ("has 1 options .rounding.; .* gives 2", "shift:odd:odd"),
        ("tosa-single has 0 options", "tosa-single:up"), ("unknown requantization scheme 'up'", "up:x"),
    ):  # fmt: skip
        with pytest.raises(AccelsimError, match=words):
            prove(name, "shift", shift=-4)


def test_no_counterexamples_where_none_are_asked_for():
    for method in ("exhaustive", "thresholds"):
        proof = prove("tflite-double", "tosa-single", **KNOWN, **NARROW, method=method, limit=0)
        assert (proof.equal, proof.counterexamples) == (False, ())
        assert proof.visible > 0


def test_wrapping_schemes_are_compared_exhaustively():
    wrap, sat = (
        Requantizer("ap-fixed", {"shift": -4, "quantization": "AP_RND", "overflow": o}) for o in ("AP_WRAP", "AP_SAT")
    )
    proof = prove(wrap, sat, **NARROW)
    assert (proof.equal, proof.differing) == (False, 0)
    assert proof.visible > 100000
    with pytest.raises(AccelsimError, match="two monotone schemes"):
        prove(wrap, sat, method="thresholds", **NARROW)


# all multipliers at once

bitwuzla = pytest.importorskip("bitwuzla", reason="the solver bitwuzla is not installed")
SOLVED = ("tflite-double", "tflite-ruy", "tflite-single", "tosa-single", "tosa-double", "cmsis-nn")
EQUAL = {
    frozenset(pair) for pair in
    [("tflite-double", "tosa-double"), ("tflite-double", "cmsis-nn"), ("tosa-double", "cmsis-nn"),
     ("tflite-single", "tosa-single")]
}  # fmt: skip


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations(SOLVED, 2)))
def test_all_multipliers_at_a_fixed_shift(a, b):
    proof = prove(a, b, shift=-7)
    assert proof.method == "smt"
    assert proof.equal == (frozenset((a, b)) in EQUAL)
    for c in proof.counterexamples:
        at = {"multiplier": c.multiplier, "shift": c.shift, "qmin": -(2**31), "qmax": 2**31}
        values = [kernels.reference.requantize(np.array([c.accumulator]), s, **at).item() for s in (a, b)]
        assert values == [c.a, c.b]
        assert c.a != c.b


def test_all_multipliers_and_all_shifts():
    assert prove("tflite-double", "tosa-double").equal
    assert prove("tflite-double", "cmsis-nn").equal
    assert not prove("tflite-double", "tflite-single").equal


def test_positive_shifts_too():
    for shift in (1, 7, 20):
        assert prove("tflite-double", "tosa-double", shift=shift).equal
        # with no right shift there is no second rounding
        assert prove("tflite-double", "tosa-single", shift=shift).equal


def test_gemmlowps_high_multiply_is_one_nudge_and_a_shift_for_all_inputs_but_one():
    from accelsim.proof.smt import Terms

    for exclude, expected in ((True, bitwuzla.Result.UNSAT), (False, bitwuzla.Result.SAT)):
        manager = bitwuzla.TermManager()
        solver, t = bitwuzla.Bitwuzla(manager, bitwuzla.Options()), Terms(bitwuzla, manager)
        product = manager.mk_const(t.sort, "product")
        # every product of two int32 but the largest, which only -2**31 * -2**31 reaches
        solver.assert_formula(t.between(product, -(2**31) * (2**31 - 1), 2**62 - exclude * 2**31))
        negative = t.less(product, t.number(0))
        nudged = t.add(product, t.ite(negative, t.number(1 - 2**30), t.number(2**30)))
        minus = lambda v: manager.mk_term(bitwuzla.Kind.BV_NEG, [v])  # noqa: B023, E731
        truncated = t.ite(
            t.less(nudged, t.number(0)), minus(t.shift_right(minus(nudged), 31)), t.shift_right(nudged, 31)
        )
        written = t.ite(t.less(t.number(2**31 - 1), truncated), t.number(2**31 - 1), truncated)
        plain = t.shift_right(t.add(product, t.number(2**30)), 31)
        solver.assert_formula(manager.mk_term(bitwuzla.Kind.DISTINCT, [written, plain]))
        assert solver.check_sat() == expected


def test_schemes_of_48_bit_accumulators_for_all_multipliers():
    # one shift that rounds once, written in two ways
    proof = prove("tosa-16", "cmsis-nn-s64", shift=-3)
    assert (proof.equal, proof.method, proof.domain) == (True, "smt", (-(2**33), 2**33 - 1))
    assert prove("tosa-16", "cmsis-nn-s64").equal


def test_schemes_that_the_solver_does_not_know():
    with pytest.raises(AccelsimError, match="left open"):
        prove("shift", "tflite-double", shift=-7, method="smt")
    with pytest.raises(AccelsimError, match="multipliers of 15 and 31 bits, which stand for other scales"):
        prove("tosa-16", "tflite-double", shift=-7)
    with pytest.raises(AccelsimError, match=r"outside -31 \.\. 29"):
        prove("tosa-double", "tflite-double", shift=30)


# wrong use


def test_wrong_use():
    for problem, call in (
        ("unknown requantization scheme", lambda: prove("tflite", "tosa-single", **KNOWN)),
        ("unknown method", lambda: prove("tflite-double", "tosa-single", method="magic")),
        ("leaves the domain", lambda: prove("tflite-double", "tosa-single", **KNOWN, accumulator_range=(0, 2**31))),
        ("give the lowest first", lambda: prove("tflite-double", "tosa-single", **KNOWN, accumulator_range=(5, -5))),
        ("not both", lambda: prove("tflite-double", "tosa-single", **KNOWN, scale=0.1)),
        ("limit must be", lambda: prove("tflite-double", "tosa-single", **KNOWN, limit=-1)),
        ("needs a scale", lambda: prove("onnx-float", "tosa-single", method="exhaustive")),
        ("cannot compare a int", lambda: prove(3, "tosa-single", **KNOWN)),
        ("illegal|outside its legal range", lambda: prove("tflite-double", "tosa-single", multiplier=-1, shift=0)),
    ):
        with pytest.raises(AccelsimError, match=problem):
            call()


def test_the_solver_knows_the_reduced_multiplier():
    assert prove("tflite-int16x8", "tosa-16", shift=-5)
    assert prove("tflite-int16x8", "cmsis-nn-s64")
    with pytest.raises(AccelsimError, match="multipliers of 15 and 31 bits"):
        prove("tflite-int16x8", "tflite-single", shift=-5)


def test_counterexamples_of_all_multipliers_are_nearest_to_zero_first():
    # acc -4 with 2**31 - 1: the high half is -4, whose half at shift -3 is a tie
    found = prove("tflite-double", "tflite-ruy", shift=-3, limit=1).counterexamples
    assert [(c.accumulator, c.multiplier) for c in found] == [(-4, 2**31 - 1)]
    none_shown = prove("tflite-double", "tflite-ruy", shift=-3, limit=0)
    assert not none_shown.equal and none_shown.counterexamples == ()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"shift": 1.5}, "shift must be an integer, got 1.5"),
        ({"shift": "a"}, "shift must be an integer, got 'a'"),
        ({"scale": "abc"}, "scale must be a positive number"),
        ({"scale": 0.1, "accumulator_range": 5}, "accumulator_range must be two integers"),
        ({"scale": 0.1, "accumulator_range": (0.5, 2)}, "accumulator_range must be two integers"),
        ({"scale": 0.1, "accumulator_range": (1, 2, 3)}, "accumulator_range must be two integers"),
        ({"scale": 0.1, "limit": None}, "limit must be an integer"),
        ({"scale": 0.1, "qmin": 5, "qmax": 1}, "qmin 5 is above qmax 1"),
        ({"scale": 0.1, "zero_point": 0.5}, "zero_point must be an integer"),
        ({"params_a": 5, "params_b": 4}, "params_a must be a dict"),
        ({"shift": -3, "accumulator_range": (0, 5)}, "leave accumulator_range out"),
    ],
)
def test_nonsense_is_refused_by_name(given, says):
    with pytest.raises(AccelsimError, match=says):
        prove("tflite-double", "tflite-ruy", **given)


def test_a_range_too_large_to_count_is_refused_and_can_be_bisected():
    how = {"scale": 2**-20 / 3, "accumulator_range": (-(2**40), 2**40)}
    with pytest.raises(AccelsimError, match="too large to count"):
        prove("tflite-int16x8", "cmsis-nn-s64", **how)
    assert prove("tflite-int16x8", "cmsis-nn-s64", **how, method="thresholds")
