"""The traps of integer inference, one test each: what looks the same and is not."""

from __future__ import annotations

import math

import accelsim_kernels as kernels
import numpy as np
import pytest
from accelsim_kernels.names import AP_OVERFLOW, AP_QUANTIZATION, SCHEMES
from accelsim_kernels.reference.requantization import divide_by_power_of_two, high_multiply, shifted

from accelsim.requant import decompose, effective_scale

M, S = 1518500250, -7
WIDE = {"qmin": -(2**31), "qmax": 2**31 - 1}


def value(acc, scheme, *args, **keywords):
    return kernels.requantize(np.array([acc]), scheme, *args, **{**WIDE, **keywords}).item()


def test_1_several_tflite_results_exist():
    single = float(np.float32(M * 2.0 ** (S - 31)))
    acc = np.arange(-40000, 40000)
    results = {
        "reference": kernels.requantize(acc, "tflite-double", M, S, **WIDE),
        "ruy": kernels.requantize(acc, "tflite-ruy", M, S, **WIDE),
        "xnnpack": kernels.requantize(acc, "onnx-float", single, **WIDE),
        "single": kernels.requantize(acc, "tflite-single", M, S, **WIDE),
    }
    names = list(results)
    differing = {(a, b): int((results[a] != results[b]).sum()) for i, a in enumerate(names) for b in names[i + 1 :]}
    assert differing[("reference", "ruy")] > 0
    assert differing[("reference", "single")] > 0
    assert differing[("ruy", "single")] > 0
    assert differing[("reference", "xnnpack")] > 0
    # exact ties are what tells XNNPACK from single rounding
    assert value(3, "onnx-float", 0.5) == 2 == value(3, "tflite-single", 2**30, 0)
    assert value(1, "onnx-float", 0.5) == 0
    assert value(1, "tflite-single", 2**30, 0) == 1
    # after a ReLU the reference and ruy cannot be told apart
    relu = {"qmin": 0, "qmax": 127}
    assert np.array_equal(
        kernels.requantize(acc, "tflite-double", M, S, **relu), kernels.requantize(acc, "tflite-ruy", M, S, **relu)
    )


def test_2_the_high_multiply_ties_up_and_the_division_ties_away():
    assert high_multiply(-1, 2**30) == 0  # -1/2: up
    assert high_multiply(1, 2**30) == 1
    assert divide_by_power_of_two(-1, 1) == -1  # -1/2: away
    assert divide_by_power_of_two(1, 1) == 1
    assert high_multiply(-(2**31), -(2**31)) == 2**31 - 1  # gemmlowp saturates …
    assert (2**62 + 2**30) >> 31 == 2**31  # … where CMSIS-NN's cast to int32 wraps
    for a in (-(2**31), -5, 7, 2**31 - 1, 2**30, -(2**30)):
        for b in (2**30, 3, 2**31 - 1):
            assert high_multiply(a, b) == (a * b + 2**30) >> 31


def test_3_double_rounding_shifts_left_in_int32_and_single_in_the_product():
    acc = 2**29
    assert value(acc, "tflite-single", 2**29, 2) == 2**29
    with pytest.raises(ValueError, match="is not defined for accumulator"):
        value(acc, "tflite-double", 2**29, 2)


def test_4_tosas_shift_and_its_sign_test():
    # TOSA shift 38 is TFLite shift -7; the second nudge has the sign of the value, and only above shift 31
    for acc in (90, -90, 271, -271, 4242):
        s = 31 - S
        nudge = 2 ** (s - 1) + (2**30 if acc >= 0 else -(2**30))
        assert value(acc, "tosa-double", M, S) == (acc * M + nudge) >> s == value(acc, "tflite-double", M, S)
    acc = np.arange(-5000, 5000)
    at = {"qmin": -(2**31), "qmax": 2**31 - 1}
    # at shift 31 and below there is no second rounding
    assert np.array_equal(
        kernels.requantize(acc, "tosa-double", M, 0, **at), kernels.requantize(acc, "tosa-single", M, 0, **at)
    )


def test_5_int16_accumulators_use_a_16_bit_multiplier_unless_the_bias_is_int32():
    acc = np.arange(-(2**20), 2**20, 7)
    reduced = kernels.requantize(acc, "tflite-int16x8", M, S, **WIDE)
    full = kernels.requantize(acc, "tflite-double", M, S, **WIDE)
    assert (reduced != full).any()
    m16 = (M + 2**15) >> 16
    assert reduced.tolist() == [shifted(int(a) * m16, 15 - S, "half_up") for a in acc]


def test_6_the_precision_of_the_scale_product():
    scales = (0.0236538, 0.0071412, 0.0412345)
    values = {effective_scale(*scales, product=p).item() for p in ("float64", "float32-product", "float32")}
    assert len(values) == 3
    # int8 fully connected layers of the reference kernels round once, in double; fixed point rounds twice
    acc = np.arange(-20000, 20000)
    how = decompose("tflite-double", (0.02, 0.005, 0.03), product="float32-product")
    real = decompose("real-double", (0.02, 0.005, 0.03), product="float32-product")
    assert (kernels.requantize(acc, "tflite-double", **how) != kernels.requantize(acc, "real-double", **real)).any()


def test_7_zero_point_before_or_after_rounding():
    ties = np.array([1, 3, 5, -1, -3])
    after = kernels.requantize(ties, "onnx-float", 0.5, zero_point=1).tolist()
    before = kernels.requantize(ties, "onnx-reference", 0.5, zero_point=1).tolist()
    assert after == [1, 3, 3, 1, -1]
    assert before == [2, 2, 4, 0, 0]
    even = [kernels.requantize(ties, s, 0.5, zero_point=2).tolist() for s in ("onnx-float", "onnx-reference")]
    assert even[0] == even[1]


def test_8_float32_accumulators_and_the_order_of_the_scale():
    assert value(2**24 + 1, "onnx-float", 1.0) == 2**24  # 25 bits do not fit a float32
    assert value(2**24 + 1, "onnx-reference", 1.0) == 2**24 + 1
    rng = np.random.default_rng(0)
    x, w, y = (rng.uniform(0.001, 0.1, 1000).astype(np.float32) for _ in range(3))
    ours = effective_scale(x, w, y, product="float32")
    assert np.array_equal(ours, (x * w / y).astype(np.float64))
    assert (ours != (x * (w / y)).astype(np.float64)).any()
    assert (ours != (x / y * w).astype(np.float64)).any()


def test_9_clamps_and_the_zero_point():
    # far beyond int32 the float schemes saturate, they do not wrap
    assert kernels.requantize(np.array([2**31 - 1, -(2**31)]), "onnx-float", 2.0**20).tolist() == [127, -128]
    # clamp(S) + z is not clamp(S + z)
    assert kernels.requantize(np.array([200]), "shift", 0, zero_point=-100).item() == 100


def test_10_average_pools_round_in_four_ways():
    x = np.array([-3, -2], np.int8).reshape(1, 1, 2, 1)
    pool = {"window": (1, 2), "x_zero_point": -10}
    assert kernels.average_pool2d(x, arithmetic="raw-codes", **pool).item() == -3  # away from code 0
    assert kernels.average_pool2d(x, arithmetic="reciprocal", **pool).item() == -2  # up, from the zero point
    assert kernels.average_pool2d(x, arithmetic="exact", shift=0, rounding="half_to_zero", **pool).item() == -3
    # NVDLA divides by the width, then by the height: 1 / 2 is 1, and again, where 1 / 4 is 0
    for total, twice in ((3, 1), (1, 1), (-1, -1)):
        x = np.array([total, 0, 0, 0], np.int8).reshape(1, 2, 2, 1)
        at = {"window": (2, 2), "divisor": "window"}
        assert kernels.average_pool2d(x, arithmetic="two-roundings", **at).item() == twice
    assert kernels.average_pool2d(x, arithmetic="exact", shift=0, rounding="half_away", **at).item() == 0


def test_11_quantize_ties():
    half = np.array([0.5, -0.5, 2.5], np.float32)
    at = {a: kernels.quantize(half, scale=1.0, arithmetic=a).tolist() for a in ("half-away", "half-even", "half-up")}
    assert at == {"half-away": [1, -1, 3], "half-even": [0, 0, 2], "half-up": [1, 0, 3]}
    # dividing by a scale and multiplying by its reciprocal differ
    ties = (np.arange(-120, 120) + 0.5).astype(np.float32)
    differing = 0
    for scale in np.linspace(0.01, 0.2, 50).astype(np.float32):
        divided, multiplied = (
            kernels.quantize(ties * scale, scale=scale, arithmetic=a) for a in ("half-even", "reciprocal")
        )
        differing += int((divided != multiplied).sum())
    assert differing > 0


def test_12_nvdla_and_gemmini():
    assert value(10, "nvdla", 4, 3, 0) == 18  # (10 - 4) * 3, not 10 * 3 - 4
    assert value(-1, "nvdla", 0, 1, -1) == -1  # ties away
    assert value(2**20, "nvdla", 0, 1, 0) == 2**16 - 1  # 17 bits first
    with pytest.raises(ValueError, match="has no zero point"):
        value(1, "gemmini", 0.5, zero_point=3)
    assert [value(a, "gemmini", 0.5) for a in (1, 3, -1)] == [0, 2, 0]


def test_13_names_that_mislead():
    assert AP_QUANTIZATION["AP_RND"] == "half_up"
    assert AP_QUANTIZATION["AP_RND_INF"] == "half_away"
    assert next(iter(AP_QUANTIZATION)) == "AP_TRN" and AP_OVERFLOW[0] == "AP_WRAP"
    # the defaults floor and wrap
    assert kernels.requantize(np.array([-1, 255, 256]), "ap-fixed", -1).tolist() == [-1, 127, -128]


def test_14_thresholds_are_reached_when_met():
    assert kernels.requantize(np.array([4, 5, 6]), "finn-thresholds", np.array([5])).tolist() == [0, 1, 1]


def test_15_tanh_as_a_table_and_in_fixed_point():
    # scales at which code 100 lands beside a tie: float32 tables and fixed-point steps then part
    code, different = np.array([100], np.int8), 0
    for n in range(40, 127):
        scale = np.float32(math.atanh((n + 0.5) / 128) / 100)
        table = kernels.activation_table(
            "tanh", input_scale=scale, input_zero_point=0, scale=1 / 128, zero_point=0, lowest=-128, highest=127,
            qmin=-128, qmax=127,
        )  # fmt: skip
        p = decompose("tflite-double", float(scale) * 2.0**27)
        radius = int(15 * 2**27 / 2 ** p["shift"])
        fixed = kernels.tanh(code, arithmetic="gemmlowp", input_range_radius=radius, **p)
        gap = int(kernels.lut(code, table, lowest=-128).item()) - int(fixed.item())
        assert abs(gap) <= 1
        different += gap != 0
    assert different > 0


def test_16_four_bit_weights_lie_low_nibble_first_across_rows():
    from cmsis_cases import _weights

    case = {"int4_packed": True}
    packed = np.array([0x21, 0xF3, 0x08], np.uint8).view(np.int8)
    assert _weights(case, {"weights": packed}, 5).tolist() == [1, 2, 3, -1, -8]


def test_17_single_and_double_rounding_of_one_build_differ():
    assert value(90, "tflite-single", M, S) == 0
    assert value(90, "tflite-double", M, S) == 1


def test_every_scheme_says_where_it_comes_from():
    equations = [scheme.equation for scheme in SCHEMES.values()]
    assert len(set(equations)) == len(SCHEMES)
    assert all(scheme.source and scheme.summary for scheme in SCHEMES.values())
