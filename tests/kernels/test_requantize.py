"""Every requantization scheme equals its twin in Python integers, over its whole legal domain."""

from __future__ import annotations

import accelsim_kernels as fast
import accelsim_kernels.reference as slow
import numpy as np
import pytest
from accelsim_kernels import domain
from accelsim_kernels.names import SCHEMES
from hypothesis import given, settings
from hypothesis import strategies as st
from requantize_cases import MULTIPLIERS, NO_ZERO_POINT, SHIFTS, accumulators, corner_parameters, parameters

WIDE = {"qmin": -(2**40), "qmax": 2**40 - 1}


def both(acc, scheme, **keywords):
    result, truth = fast.requantize(acc, scheme, **keywords), slow.requantize(acc, scheme, **keywords)
    assert result.dtype == truth.dtype
    np.testing.assert_array_equal(result, truth, err_msg=f"{scheme} {keywords}")
    return result


@pytest.mark.parametrize("scheme", SCHEMES)
def test_corners(scheme):
    wide = {"qmin": -(2**40), "qmax": 2**40 - 1}
    for params in corner_parameters(scheme):
        both(accumulators(scheme, params), scheme, **wide, **params)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_legal_parameters(scheme, data):
    params = data.draw(parameters(scheme))
    low, high = (int(v[0]) for v in domain.bind(scheme, **params).accumulator_range())
    drawn = data.draw(st.lists(st.integers(low, high), max_size=20))
    acc = np.concatenate([accumulators(scheme, params), np.array(drawn, np.int64)])
    both(acc, scheme, **WIDE, **params)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_per_channel_equals_one_channel_at_a_time(scheme):
    sets = corner_parameters(scheme)[:: max(1, len(corner_parameters(scheme)) // 5)][:5]
    options = {k: sets[0].get(k, legal[0]) for k, legal in SCHEMES[scheme].options.items()}
    low = max(int(domain.bind(scheme, **p).accumulator_range()[0][0]) for p in sets)
    acc = np.random.default_rng(0).integers(max(low, -(2**20)), min(-low, 2**20), (7, 3, len(sets)))
    zero_points = 0 if scheme in NO_ZERO_POINT else np.arange(len(sets)) - 2
    qmin, qmax = np.full(len(sets), -100), np.arange(len(sets)) + 90
    if scheme == "ap-fixed":
        qmin, qmax = -128, 127
    if scheme == "finn-thresholds":
        sets = [{"thresholds": s["thresholds"][:4]} for s in sets]
    params = {name: np.array([p[name] for p in sets]) for name in SCHEMES[scheme].params}
    result = both(acc, scheme, zero_point=zero_points, qmin=qmin, qmax=qmax, **params, **options)
    for c, one in enumerate(sets):
        at = {
            k: v if np.ndim(v) == 0 else int(v[c])
            for k, v in {"zero_point": zero_points, "qmin": qmin, "qmax": qmax}.items()
        }
        alone = fast.requantize(acc[..., c], scheme, **at, **{**one, **options})
        np.testing.assert_array_equal(result[..., c], alone)


@pytest.mark.parametrize(
    ("qmin", "qmax", "dtype"),
    [(-128, 127, "int8"), (0, 255, "uint8"), (-8, 7, "int8"), (0, 15, "int8"), (0, 128, "uint8"),
     (-32768, 32767, "int16"), (0, 65535, "uint16"), (-128, 255, "int16"), (-(2**31), 2**31 - 1, "int32"),
     (0, 2**32, "int64")],
)  # fmt: skip
def test_output_type_is_the_narrowest(qmin, qmax, dtype):
    result = both(np.array([-(2**30), 0, 2**30], np.int32), "shift", shift=3, qmin=qmin, qmax=qmax)
    assert result.dtype == dtype
    assert result.tolist() == [max(qmin, -(2**33)), max(0, qmin), min(qmax, 2**33)]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_any_accumulator_type_and_shape(dtype):
    info = np.iinfo(dtype)
    acc = np.array([[0, 1], [100, min(int(info.max), 2**31 - 1)]], dtype)
    both(acc, "tflite-double", multiplier=2**30, shift=0)
    both(acc.T, "tflite-double", multiplier=2**30, shift=0)
    both(acc[0, 0], "tflite-double", multiplier=2**30, shift=0)
    both(acc[:0], "tflite-double", multiplier=2**30, shift=0)


def test_positional_parameters_follow_the_table():
    acc = np.arange(-5, 5)
    np.testing.assert_array_equal(
        fast.requantize(acc, "nvdla", 3, -100, -4),
        fast.requantize(acc, "nvdla", shift=-4, scale=-100, offset=3),
    )


def test_every_scheme_exists_everywhere():
    """One line in names.py asks for a scalar, a reference, the stages of explain, and a numbered equation."""
    from pathlib import Path

    import accelsim_kernels
    from accelsim_kernels.reference import requantization as truth
    from accelsim_kernels.schemes import SCALARS

    from accelsim.proof.stages import _STEPS

    shifters = {"shift", "ap-fixed"}
    text = (Path(accelsim_kernels.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for name, scheme in SCHEMES.items():
        assert name in SCALARS or name in shifters
        assert name in truth._SCHEMES or name in shifters or name == "onnx-reference"
        assert name in _STEPS or name == "onnx-reference"
        assert f"| {scheme.equation} | {name} |" in text


# what is illegal is refused, by both


def refused(match, acc, scheme, *args, **keywords):
    for kernels in (fast, slow):
        with pytest.raises(ValueError, match=match):
            kernels.requantize(np.asarray(acc), scheme, *args, **keywords)


@pytest.mark.parametrize("scheme", [s for s in SHIFTS if s != "nvdla"])
def test_shift_outside_its_range(scheme):
    low, high = SHIFTS[scheme]
    fixed = {"multiplier": 1} if scheme in MULTIPLIERS else {}
    for shift in (low - 1, high + 1):
        refused(f"{scheme}: shift {shift} is outside its legal range", [0], scheme, shift=shift, **fixed)


@pytest.mark.parametrize("scheme", MULTIPLIERS)
def test_multiplier_outside_its_range(scheme):
    for multiplier in (-1, MULTIPLIERS[scheme] + 1):
        refused(f"{scheme}: multiplier {multiplier} is outside", [0], scheme, multiplier, -3)


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if SCHEMES[s].accumulator_bits < 60])
def test_accumulator_outside_the_domain(scheme):
    for params in corner_parameters(scheme):
        low, high = (int(v[0]) for v in domain.bind(scheme, **params).accumulator_range())
        both(np.array([low, high]), scheme, **WIDE, **params)
        for outside in (low - 1, high + 1):
            refused("is not defined for accumulator", [0, outside], scheme, **WIDE, **params)


def test_the_message_names_channel_parameters_and_index():
    acc = np.zeros((2, 3), np.int64)
    acc[1, 2] = 2**29
    refused(
        r"tflite-double \(multiplier=7, shift=3\) is not defined for accumulator 536870912 at index \(1, 2\)",
        acc, "tflite-double", multiplier=np.array([5, 6, 7]), shift=np.array([1, 2, 3]),
    )  # fmt: skip


@pytest.mark.parametrize("scheme", ["onnx-float", "qnnpack-q31", "xnnpack-rndnu", "gemmini", "onnx-reference"])
def test_scales(scheme):
    for scale in (0.0, -1.0, np.inf, np.nan):
        refused(f"{scheme}: scale must be positive and finite", [0], scheme, scale)
    refused("is not a float32 number", [0], scheme, 0.1)
    refused("256.*is outside|16777216.*|is outside", [0], "xnnpack-rndnu", 256.0)
    refused("is outside", [0], "qnnpack-q31", 1.0)


def test_other_wrong_use():
    refused("unknown requantization scheme 'tflite'; known: tflite-double", [0], "tflite", 1, 2)
    refused("missing shift", [0], "tflite-double", 1)
    refused("unknown scale", [0], "tflite-double", 1, 2, scale=3)
    refused("given twice", [0], "tflite-double", 1, 2, shift=3)
    refused("takes 2 positional", [0], "tflite-double", 1, 2, 3)
    refused("must be integers", [0], "tflite-double", 1.5, 2)
    refused("qmin 5 is above qmax 4", [0], "tflite-double", 1, 2, qmin=5, qmax=4)
    refused("has no zero point", [0], "gemmini", 1.0, zero_point=1)
    refused("different lengths", [[0, 0]], "tflite-double", [1, 2], [1, 2, 3])
    refused("parameters for 3 channels", [[0, 0]], "tflite-double", [1, 2, 3], 0)
    refused("accumulators must be integers", [0.5], "tflite-double", 1, 2)
    refused("rounding 'up' is not one of", [0], "shift", -1, rounding="up")
    refused("must be sorted", [0], "finn-thresholds", [3, 1])
    refused("range of an integer type", [0], "ap-fixed", -1, qmin=-100, qmax=100)
    refused("signed types only", [0], "ap-fixed", -1, qmin=0, qmax=255, overflow="AP_WRAP_SM")
