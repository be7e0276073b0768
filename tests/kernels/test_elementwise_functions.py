"""Softmax, activations, resizing, products: fast equals reference, and both equal LiteRT where it is installed."""

from __future__ import annotations

import math

import accelsim_kernels as fast
import accelsim_kernels.reference as slow
import numpy as np
import pytest
from corners import of_dtype
from shared_material import SHARED, needs_shared

from accelsim.ops.parameters import add_parameters
from accelsim.profiles import load_profile
from accelsim.quant import QuantParams
from accelsim.requant import decompose

INT8 = np.arange(-128, 128).astype(np.int8)


def both(name, *args, **keywords):
    result, truth = getattr(fast, name)(*args, **keywords), getattr(slow, name)(*args, **keywords)
    assert result.dtype == truth.dtype
    np.testing.assert_array_equal(result, truth)
    return result


def codes(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def softmax_parameters(scale):
    p = decompose("tflite-double", min(scale * 2.0**26, 2.0**31 - 1))
    return {**p, "diff_min": -math.floor(31 * 2**26 / 2 ** p["shift"])}


@pytest.mark.parametrize("scale", [0.001, 0.0236538, 0.1, 1.0])
@pytest.mark.parametrize("bits", [8, 16])
def test_softmax_8_bit(scale, bits):
    rng = np.random.default_rng(0)
    how = {"arithmetic": "gemmlowp", "output_bits": bits, **softmax_parameters(scale)}
    both("softmax", codes(rng, "int8", (20, 17)), **how)
    both("softmax", codes(rng, "uint8", (3, 1)), **how)
    both("softmax", np.array([[127, -128], [-128, -128], [0, 0]], np.int8), **how)
    total = fast.softmax(codes(rng, "int8", (5, 50)), **how).astype(np.int64) + 2 ** (bits - 1)
    assert (np.abs(total.sum(axis=-1) - 2**bits) <= 60).all()


def test_softmax_16_bit():
    rng = np.random.default_rng(1)
    for multiplier, shift in ((1718013132, -2), (1 << 30, 0), (2**31 - 1, -5)):
        both("softmax", codes(rng, "int16", (10, 12)), arithmetic="table", multiplier=multiplier, shift=shift)
    with pytest.raises(ValueError, match="at least one code"):
        fast.softmax(np.zeros((2, 0), np.int8), arithmetic="table", multiplier=1, shift=0)


@pytest.mark.parametrize("name", ["logistic", "tanh", "gelu", "gelu-tanh", "elu", "exp"])
def test_tables_of_every_code(name):
    for scale_in, scale_out in ((0.05, 1 / 256), (0.3, 0.11), (5.0, 0.02)):
        both("activation_table", name, input_scale=scale_in, input_zero_point=3, scale=scale_out, zero_point=-5,
             lowest=-128, highest=127, qmin=-128, qmax=127)  # fmt: skip
    with pytest.raises(ValueError, match="unknown function 'sin'"):
        fast.activation_table("sin")


@pytest.mark.parametrize("name", ["logistic", "tanh"])
def test_fixed_point_functions_stay_within_one_code_of_the_real_ones(name):
    for scale in (0.05, 0.01, 0.1):
        p = decompose("tflite-double", scale * 2**27)
        radius = math.floor(15 * 2**27 / 2 ** p["shift"])
        how = {"arithmetic": "gemmlowp", "input_range_radius": radius, "x_zero_point": 4, **p}
        result = both(name, INT8, **how)
        real = scale * (INT8.astype(float) - 4)
        exact = np.tanh(real) * 128 if name == "tanh" else 256 / (1 + np.exp(-real)) - 128
        assert np.abs(np.clip(exact, -128, 127) - result).max() <= 1


@pytest.mark.parametrize("name", ["logistic", "tanh"])
def test_16_bit_functions_stay_near_the_real_ones(name):
    x = np.concatenate([of_dtype("int16"), np.arange(-32768, 32768, 97, dtype=np.int16)])
    # Q3.12 input: three quarters of 4 for logistic and tanh alike
    result = both(name, x, arithmetic="table", multiplier=3, shift=0)
    real = x.astype(float) / 4096
    exact = np.tanh(real) if name == "tanh" else 1 / (1 + np.exp(-real))
    assert np.abs(exact * 32768 - result).max() <= 24
    both(name, x, arithmetic="table", multiplier=20011, shift=13)


def hard_swish_parameters(scale_in, scale_out):
    f = np.float32

    def narrow(real):
        p = decompose("tflite-double", float(real))
        m = p["multiplier"]
        return (32767 if m >= 2**31 - 1 - 2**15 else (m + 2**15) >> 16), p["shift"]

    step = f(scale_in) / f(128)
    (om, oe), (rm, re) = narrow(step / f(scale_out)), narrow(step / f(3 / 32768))
    return {"output_multiplier": om, "output_exponent": oe, "relu_multiplier": rm, "relu_exponent": re}


def test_hard_swish_and_leaky_relu():
    for scale_in, scale_out in ((0.06, 0.031), (0.003, 0.01), (0.2, 0.1)):
        both("hard_swish", INT8, x_zero_point=3, zero_point=-7, **hard_swish_parameters(scale_in, scale_out))
    identity = {"scheme": "tflite-double", "multiplier": 1518500250, "shift": 1, "zero_point": -102}
    both("leaky_relu", INT8, x_zero_point=7, identity=identity, slope={**identity, "shift": -2})


@pytest.mark.parametrize("coordinates", ["asymmetric", "align-corners", "half-pixel"])
def test_resizing(coordinates):
    rng = np.random.default_rng(2)
    for dtype in ("int8", "uint8", "int16"):
        x = codes(rng, dtype, (2, 4, 5, 3))
        for size in ((8, 10), (3, 7), (1, 1), (4, 5)):
            for rounding in ("half_away", "half_up"):
                both("resize_bilinear", x, output_size=size, coordinates=coordinates, rounding=rounding)
            both("resize_nearest", x, output_size=size, coordinates=coordinates)


def test_products():
    rng = np.random.default_rng(3)
    a, b = np.meshgrid(of_dtype("int8"), of_dtype("int8"))
    how = {"scheme": "tflite-double", "multiplier": 1518500250, "shift": -6, "zero_point": 4, "qmin": -128, "qmax": 127}
    both("mul", a, b, a_zero_point=3, b_zero_point=-2, requantize=how)
    keywords = {"left_shift": 20, "scheme": "tflite-double", "a_multiplier": 2**30, "a_shift": 0,
                "b_multiplier": 1518500250, "b_shift": -1, "multiplier": 2**30, "shift": -19}  # fmt: skip
    both("sub", a, b, arithmetic="rescale", a_zero_point=3, b_zero_point=-2, zero_point=1, **keywords)
    both("minimum", a, b)
    both("maximum", a, b)
    left, right = codes(rng, "int8", (2, 1, 3, 4)), codes(rng, "int8", (3, 4, 5))
    both("batch_matmul", left, right, a_zero_point=2, b_zero_point=-3, requantize=how)
    with pytest.raises(ValueError, match="one grid"):
        fast.minimum(np.zeros(2, np.int8), np.zeros(2, np.uint8))


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0)])
def test_transpose_convolution(stride, padding):
    rng = np.random.default_rng(4)
    x, w = codes(rng, "int8", (2, 3, 4, 2)), codes(rng, "int8", (5, 3, 2, 2))
    for extra in (0, 1):
        size = tuple(
            (n - 1) * s + f - 2 * p + extra
            for n, s, f, p in zip(x.shape[1:3], stride, w.shape[1:3], padding, strict=True)
        )
        if min(size) > 0:
            both("transpose_conv2d", x, w, stride=stride, padding=padding, output_size=size, x_zero_point=5,
                 bias=rng.integers(-99, 99, 5))  # fmt: skip


# LiteRT's reference kernels, live

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")


def litert_reference(name, *inputs):
    """Output of a single-operator model, and (scale, zero point) of inputs and output."""
    resolver = litert.OpResolverType.BUILTIN_REF
    path = str(SHARED / "vectors" / "tflite" / f"{name}.tflite")
    model = litert.Interpreter(path, experimental_op_resolver_type=resolver)
    model.allocate_tensors()
    details = model.get_input_details()
    for detail, x in zip(details, inputs, strict=True):
        model.set_tensor(detail["index"], x)
    model.invoke()
    out = model.get_output_details()[0]
    return model.get_tensor(out["index"]), [d["quantization"] for d in details], out["quantization"]


IMAGE = (1, 12, 12, 16)


@needs_shared
@pytest.mark.parametrize("name", ["logistic", "tanh", "gelu"])
def test_litert_tables(name):
    x = codes(np.random.default_rng(5), "int8", IMAGE)
    truth, [(s, z)], (so, zo) = litert_reference(name, x)
    table = fast.activation_table(name, input_scale=s, input_zero_point=z, scale=so, zero_point=zo, lowest=-128,
                                  highest=127, qmin=-128, qmax=127)  # fmt: skip
    np.testing.assert_array_equal(fast.lut(x, table, lowest=-128), truth)


@needs_shared
def test_litert_softmax():
    x = codes(np.random.default_rng(6), "int8", (1, 60, 40))
    truth, [(s, _)], _ = litert_reference("softmax", x)
    np.testing.assert_array_equal(fast.softmax(x, arithmetic="gemmlowp", **softmax_parameters(s)), truth)


@needs_shared
def test_litert_hard_swish_and_leaky_relu():
    x = codes(np.random.default_rng(7), "int8", IMAGE)
    truth, [(s, z)], (so, zo) = litert_reference("hard_swish", x)
    how = hard_swish_parameters(s, so)
    np.testing.assert_array_equal(fast.hard_swish(x, x_zero_point=z, zero_point=zo, **how), truth)
    truth, [(s, z)], (so, zo) = litert_reference("leaky_relu", x)
    f = np.float32
    scales = f(s) / f(so), f(s) * f(0.1) / f(so)
    identity, slope = (
        {"scheme": "tflite-double", **decompose("tflite-double", float(v)), "zero_point": zo} for v in scales
    )
    np.testing.assert_array_equal(fast.leaky_relu(x, x_zero_point=z, identity=identity, slope=slope), truth)


@needs_shared
def test_litert_resizing():
    x = codes(np.random.default_rng(8), "int8", (1, 12, 12, 4))
    truth, _, _ = litert_reference("resize_bilinear_2x", x)
    ours = fast.resize_bilinear(x, output_size=truth.shape[1:3], coordinates="half-pixel")
    np.testing.assert_array_equal(ours, truth)
    truth, _, _ = litert_reference("resize_nearest_2x", x)
    np.testing.assert_array_equal(fast.resize_nearest(x, output_size=truth.shape[1:3]), truth)


@needs_shared
@pytest.mark.parametrize("name", ["add", "sub", "mul"])
def test_litert_pairs(name):
    rng = np.random.default_rng(9)
    a, b = codes(rng, "int8", IMAGE), codes(rng, "int8", IMAGE)
    truth, [(s1, z1), (s2, z2)], (so, zo) = litert_reference(name, a, b)
    zeros = {"a_zero_point": z1, "b_zero_point": z2}
    if name == "mul":
        how = {"scheme": "tflite-double", **decompose("tflite-double", (s1, s2, so), product="float32")}
        ours = fast.mul(a, b, requantize={**how, "zero_point": zo}, **zeros)
    else:
        grids = (QuantParams(s1, z1), QuantParams(s2, z2), QuantParams(so, zo))
        params = add_parameters(load_profile("tflite-reference").operator("add"), *grids)
        ours = getattr(fast, name)(a, b, arithmetic="rescale", zero_point=zo, **zeros, **params)
    np.testing.assert_array_equal(ours, truth)
