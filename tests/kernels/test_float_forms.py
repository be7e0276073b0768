"""Operators through float32: the fast forms against exact fractions, corners crossed, then random."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import mlas, reference, simd
from hypothesis import given, settings
from hypothesis import strategies as st

CORNERS = np.array([-128, -127, -65, -64, -3, -2, -1, 0, 1, 2, 3, 63, 64, 65, 126, 127], np.int8)
SCALES = ((0.5, 0.25, 0.5), (0.1, 0.03, 0.07), (1.0, 1.0, 2.0), (3e-5, 0.9, 11.0))
scales = st.floats(2.0**-12, 16.0, width=32)
zeros = st.integers(-128, 127)


@pytest.mark.parametrize("form", [(o, "dequantized") for o in ("add", "sub", "mul")] + [("mul", "product")])
@pytest.mark.parametrize("sizes", SCALES)
@pytest.mark.parametrize("zero", [(0, 0, 0), (-128, 3, 5), (127, -128, -7)])
def test_pairs_on_corners(form, sizes, zero):
    a, b = (v.astype(np.int8) for v in np.meshgrid(CORNERS, CORNERS))
    how = {"operation": form[0], "arithmetic": form[1],
           **dict(zip(("a_scale", "b_scale", "scale"), sizes, strict=True)),
           **dict(zip(("a_zero_point", "b_zero_point", "zero_point"), zero, strict=True))}  # fmt: skip
    np.testing.assert_array_equal(fast.float_pair(a, b, **how), reference.float_pair(a, b, **how))


def test_the_two_products_differ():
    a, b = (v.astype(np.int8) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    how = {"operation": "mul", "a_scale": 0.5, "b_scale": 0.25, "scale": 16.0, "zero_point": 5}
    literal, product = (fast.float_pair(a, b, arithmetic=form, **how) for form in ("dequantized", "product"))
    assert 0 < np.count_nonzero(literal != product) < a.size // 10
    assert np.abs(literal.astype(int) - product).max() == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(zeros, min_size=4, max_size=4), scales, scales, scales, zeros, zeros, zeros,
       st.sampled_from(("add", "sub", "mul", "product")))  # fmt: skip
def test_pairs(values, sa, sb, so, za, zb, zy, form):
    a, b = np.array(values[:2], np.int8), np.array(values[2:], np.int8)
    how = {"operation": "mul" if form == "product" else form,
           "arithmetic": "product" if form == "product" else "dequantized", "a_scale": sa, "b_scale": sb, "scale": so,
           "a_zero_point": za, "b_zero_point": zb, "zero_point": zy}  # fmt: skip
    np.testing.assert_array_equal(fast.float_pair(a, b, **how), reference.float_pair(a, b, **how))


@pytest.mark.parametrize("geometry", [((2, 2), (2, 2), ((0, 0), (0, 0))), ((3, 2), (1, 2), ((1, 1), (1, 0))),
                                      ((5, 7), (5, 7), ((0, 0), (0, 0)))])  # fmt: skip
@pytest.mark.parametrize("divisor", ["valid", "window"])
@pytest.mark.parametrize("order", ["columns", "rows", "vectors"])
def test_average_pool(geometry, divisor, order):
    x = np.random.default_rng(3).integers(0, 256, (1, 5, 7, 2)).astype(np.uint8)
    how = dict(zip(("window", "stride", "padding"), geometry, strict=True))
    how |= {
        "divisor": divisor,
        "x_scale": 0.3,
        "scale": 0.11,
        "x_zero_point": 100,
        "zero_point": 7,
        "qmin": 0,
        "qmax": 255,
    }
    if order == "vectors" and geometry[0] != (5, 7):
        with pytest.raises(ValueError, match="the whole image"):
            fast.float_average_pool(x, order=order, **how)
        return
    found = fast.float_average_pool(x, order=order, **how)
    np.testing.assert_array_equal(found, reference.float_average_pool(x, order=order, **how))
    how |= {"values": np.tanh(np.linspace(-2, 3, 256)).astype(np.float32), "scale": 0.004}
    found = fast.float_average_pool(x, order=order, **how)
    assert len(np.unique(found)) > 1
    np.testing.assert_array_equal(found, reference.float_average_pool(x, order=order, **how))


@pytest.mark.parametrize(("arithmetic", "dtype"), [
    ("onnx-table", "int8"), ("onnx-table", "uint8"),
    *(("dequantized", dtype) for dtype in ("int8", "uint8", "int16", "uint16")),
])  # fmt: skip
@pytest.mark.parametrize("length", [2, 3, 8, 10, 17, 35])
def test_softmax(arithmetic, dtype, length):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(length)
    x = rng.integers(info.min, info.max + 1, (3, length)).astype(dtype)
    x[0] = info.max
    for input_scale in (0.001, 0.1, 1.5):
        how = {"arithmetic": arithmetic, "input_scale": input_scale, "scale": 1 / 256, "zero_point": info.min}
        if arithmetic == "dequantized":
            how |= {"input_zero_point": info.max // 3, "qmin": info.min, "qmax": info.max, "scale": 2.0**-info.bits}
        np.testing.assert_array_equal(fast.softmax(x, **how), reference.softmax(x, **how))


@pytest.mark.parametrize("length", [1, 3, 10, 17, 100])
def test_softmax_sums_as_the_runtime_does(length):
    """Probabilities of float32 numbers, to the last bit."""
    onnxruntime, helper = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx.helper")
    if length > 16 and "avx512vnni" not in simd.available():
        pytest.skip("the order of longer sums is that of AVX-512")
    x, y = (helper.make_tensor_value_info(name, 1, [None, length]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.random.default_rng(length).normal(0, 3, (50, length)).astype(np.float32)
    power = mlas.exp_of_negative(given - given.max(axis=-1, keepdims=True))
    np.testing.assert_array_equal(power * (np.float32(1) / mlas.row_sums(power)), session.run(None, {"x": given})[0])


def test_a_signed_softmax_of_the_runtime_wraps_at_one():
    """QLinearSoftmax converts 128 to int8 without saturating: probability 1 comes out as the code of 0."""
    x = np.array([[127, -128, -128]], np.int8)
    how = {"arithmetic": "onnx-table", "input_scale": 1.0, "scale": 1 / 256, "zero_point": -128}
    assert fast.softmax(x, **how).tolist() == [[-128, -128, -128]]


def test_functions_are_near_the_real_ones():
    x = np.linspace(-20, 20, 4001).astype(np.float32)
    assert np.abs(mlas.logistic(x) - 1 / (1 + np.exp(-x.astype(np.float64)))).max() < 2e-7
    assert np.abs(mlas.tanh(x) - np.tanh(x.astype(np.float64))).max() < 5e-7
    down = -np.abs(x)
    assert np.abs(mlas.exp_of_negative(down) / np.exp(down.astype(np.float64)) - 1).max() < 2e-7


def test_what_is_refused():
    x = np.zeros((1, 4, 4, 1), np.int8)
    how = {"x_scale": 1.0, "scale": 1.0, "divisor": "valid", "order": "columns"}
    with pytest.raises(ValueError, match="window"):
        fast.float_average_pool(x, window=(2, 2), stride=(1, 1), padding=((2, 0), (0, 0)), **how)
    with pytest.raises(ValueError, match="a table of float32"):
        window = {"window": (2, 2), "stride": (1, 1), "padding": ((0, 0), (0, 0))}
        fast.float_average_pool(x, **window, **how, values=np.zeros(9, np.float32), lowest=-128)
    with pytest.raises(ValueError, match="no 'add' in arithmetic 'product'"):
        fast.float_pair(x, x, operation="add", arithmetic="product", a_scale=1, b_scale=1, scale=1)
    with pytest.raises(ValueError, match="8-bit codes"):
        fast.softmax(x.astype(np.int16), arithmetic="onnx-table", input_scale=1.0, scale=1.0, zero_point=0)
