"""Requantizers: decomposition of real scales by each scheme's own rule, multiplier widths, refusals."""

from __future__ import annotations

from fractions import Fraction

import accelsim_kernels as kernels
import numpy as np
import pytest
from accelsim_kernels.names import SCHEMES
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import AccelsimError
from accelsim.multiplier import MULTIPLIER_SCHEMES, decompose_multiplier, smallest_multiplier, worst_error
from accelsim.requant import Requantizer, decompose, effective_scale

SCALES = st.floats(2.0**-20, 0.9, allow_subnormal=False)


def quantize_multiplier(d: float) -> tuple[int, int]:
    """TensorFlow Lite's QuantizeMultiplier, as written."""
    import math

    if d == 0:
        return 0, 0
    m, e = math.frexp(d)
    q = math.floor(m * 2**31 + 0.5)
    if q == 2**31:
        q, e = q // 2, e + 1
    return (0, 0) if e < -31 else (q, e)


@given(SCALES)
def test_tflite_multipliers(scale):
    multiplier, shift = quantize_multiplier(scale)
    assert decompose("tflite-double", scale) == {"multiplier": multiplier, "shift": shift}


def test_edges_of_tflite_multipliers():
    assert decompose("tflite-double", np.nextafter(0.5, 0)) == {"multiplier": 2**30, "shift": 0}
    assert decompose("tflite-double", 2.0**-33) == {"multiplier": 0, "shift": 0}
    assert decompose("tflite-double", 2.0**-32) == {"multiplier": 2**30, "shift": -31}


def test_the_precision_of_the_product_matters():
    found = set()
    rng = np.random.default_rng(0)
    for _ in range(200):
        scales = tuple(float(np.float32(s)) for s in rng.uniform(0.001, 0.1, 3))
        found |= {
            (name, decompose("tflite-double", scales, product=name) == decompose("tflite-double", scales))
            for name in ("float32-product", "float32")
        }
        a, b, c = (Fraction(s) for s in scales)
        exact = float(a) * float(b) / float(c)
        assert effective_scale(*scales) == exact
        assert decompose("onnx-float", scales)["scale"] == float(
            np.float32(np.float32(scales[0]) * np.float32(scales[1])) / np.float32(scales[2])
        )
    assert ("float32-product", False) in found
    assert ("float32", False) in found


@settings(max_examples=30, deadline=None)
@given(SCALES, st.sampled_from([s for s in SCHEMES if s not in ("finn-thresholds", "shift", "ap-fixed")]))
def test_every_scheme_stays_near_the_real_product(scale, scheme):
    requantizer = Requantizer.from_scale(scheme, scale, qmin=-(2**15), qmax=2**15 - 1)
    acc = np.arange(-(2**14), 2**14, 37)
    coarse = 2.0**-14 if scheme in ("nvdla", "tosa-16", "tflite-int16x8", "cmsis-nn-s64") else 2.0**-22
    bound = 0.75 + coarse * scale * 2**14
    assert np.abs(kernels.requantize(acc, **requantizer.kwargs()) - acc * scale).max() <= bound


def test_per_channel_is_channel_by_channel():
    scales = np.array([0.001, 0.5, 0.02])
    for scheme in ("tflite-double", "onnx-float", "nvdla", "tosa-16", "real-double"):
        together = decompose(scheme, scales)
        for c, scale in enumerate(scales):
            alone = decompose(scheme, float(scale))
            assert all(np.broadcast_to(together[k], 3)[c] == v for k, v in alone.items())
    assert Requantizer.from_scale("tflite-double", scales).channels == 3
    assert Requantizer.from_scale("tflite-double", 0.1).channels is None


def test_thresholds_stand_for_half_up():
    found = Requantizer.from_scale("finn-thresholds", 0.0123, zero_point=3, qmin=-8, qmax=7)
    acc = np.arange(-2000, 2000)
    exact = [min(max((Fraction(int(a)) * Fraction(0.0123) + Fraction(1, 2)).__floor__() + 3, -8), 7) for a in acc]
    assert kernels.requantize(acc, **found.kwargs()).tolist() == exact


def test_powers_of_two():
    assert decompose("shift", 2.0**-7) == {"shift": -7}
    assert decompose("shift", np.array([1.0, 4.0]))["shift"].tolist() == [0, 2]
    with pytest.raises(AccelsimError, match="powers of two only, got scale 0.3"):
        decompose("shift", 0.3)
    assert decompose("shift", 0.3, nearest=True) == {"shift": -2}
    assert decompose("ap-fixed", 0.4, nearest=True) == {"shift": -1}


# widths


@pytest.mark.parametrize("scheme", MULTIPLIER_SCHEMES)
def test_narrow_multipliers(scheme):
    scale = 0.0055243
    before = None
    for bits in range(4, 33):
        found = decompose_multiplier(scale, scheme, bits)
        params = decompose(scheme, scale, bits=bits)
        assert {"multiplier": found.multiplier, "shift": found.shift} == params
        held = 31 if SCHEMES[scheme].accumulator_bits == 32 or scheme == "tflite-int16x8" else 15
        assert found.multiplier % 2 ** max(held - (bits - 1), 0) == 0
        assert abs(found.relative_error) <= Fraction(1, 2 ** min(bits - 1, held))
        before = found
    assert before.worst_error_lsb < Fraction(52, 100)


def test_worst_error_is_that_of_brute_force():
    for bits in (4, 6, 9, 32):
        found = decompose_multiplier(0.013, "tflite-double", bits, qmin=-8, qmax=7)
        acc = np.arange(-4096, 4096)
        params = {"multiplier": found.multiplier, "shift": found.shift}
        codes = kernels.requantize(acc, "tflite-double", **params, qmin=-8, qmax=7)
        errors = [abs(int(c) - min(max(int(a) * Fraction(0.013), -8), 7)) for a, c in zip(acc, codes, strict=True)]
        assert found.worst_error_lsb == max(errors)
        assert errors[found.witness + 4096] == found.worst_error_lsb
        assert worst_error("tflite-double", params, Fraction(0.013), -8, 7)[0] == found.worst_error_lsb


def test_the_smallest_width():
    found = smallest_multiplier(0.0055243, bound_lsb=1)
    assert found.worst_error_lsb <= 1 < decompose_multiplier(0.0055243, bits=found.bits - 1).worst_error_lsb
    with pytest.raises(AccelsimError, match="misses an error bound of 0.4"):
        smallest_multiplier(0.0055243, bound_lsb=0.4)


# refusals


def test_refusals():
    for words, call in (
        ("unknown requantization scheme 'x'", lambda: decompose("x", 0.1)),
        ("4 to 32 bits, got 3", lambda: decompose("tflite-double", 0.1, bits=3)),
        ("positive and finite", lambda: decompose("tflite-double", 0.0)),
        ("positive and finite", lambda: decompose("tflite-double", np.array([0.1, np.nan]))),
        ("must be .input_scale", lambda: decompose("tflite-double", (0.1, 0.2))),
        ("unknown scale product 'f16'", lambda: decompose("tflite-double", (0.1, 0.2, 0.3), product="f16")),
        ("cannot express scale", lambda: decompose("tosa-single", 2.0**31)),
        ("cannot express scale", lambda: decompose("qnnpack-q31", 1.5)),
        ("use Requantizer.from_scale", lambda: decompose("finn-thresholds", 0.1)),
        ("missing offset", lambda: Requantizer("nvdla", {"scale": 1, "shift": -3})),
        ("qmin 5 is above qmax 4", lambda: Requantizer("shift", {"shift": -3}, 0, 5, 4)),
        ("has no zero point", lambda: Requantizer.from_scale("gemmini", 0.1, zero_point=1)),
        ("has no multiplier", lambda: decompose_multiplier(0.1, "onnx-float")),
    ):
        with pytest.raises(AccelsimError, match=words):
            call()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"scale": "a"}, "scale must be one positive number"),
        ({"scale": [0.1, 0.2]}, "one channel at a time"),
        ({"bits": 8.5}, "multiplier width must be 4 to 32 bits, got 8.5"),
        ({"bits": "a"}, "multiplier width must be 4 to 32 bits, got 'a'"),
        ({"qmin": 4, "qmax": 1}, "give the lowest code first"),
        ({"qmin": None}, "qmin must be an integer code"),
        ({"qmin": -(2**31), "qmax": 2**31 - 1}, r"at most 2\*\*17 codes"),
    ],
)
def test_a_multiplier_of_nonsense_is_refused_by_name(wrong, says):
    with pytest.raises(AccelsimError, match=says):
        decompose_multiplier(**{"scale": 0.1, **wrong})
    with pytest.raises(AccelsimError, match="bound_lsb must be a positive number"):
        smallest_multiplier(0.1, bound_lsb="x")
