"""Sums of products in float32: fast against exact fractions, and against ONNX Runtime's own kernels."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import reference

_F = np.float32
#: (M, K, N), b turned: every walk, ends of 4, 2 and 1, blocks of several lengths
PRODUCTS = [
    ((1, 9, 7), True), ((1, 9, 7), False), ((3, 11, 1), False), ((3, 11, 1), True), ((1, 7, 1), True),
    ((4, 1, 1), True),
    ((2, 5, 3), False), ((2, 140, 33), True), ((2, 300, 5), False), ((3, 70, 80), True), ((6, 8, 1), False),
]  # fmt: skip
#: (N, H, W, C), (K, fy, fx), stride, pads, dilation, groups
CONVOLUTIONS = [
    ((1, 5, 6, 3), (4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 5, 4, 4), (4, 3, 3), (2, 1), ((1, 0), (0, 1)), (1, 1), 4),
    ((1, 4, 4, 4), (8, 2, 2), (1, 1), ((0, 0), (0, 0)), (2, 1), 4),
    ((1, 4, 3, 2), (2, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 2),
    ((1, 3, 3, 6), (7, 3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 4, 4, 6), (1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 1, 1, 9), (6, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 6, 5, 20), (4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
]  # fmt: skip


def product(rng, shape):
    m, k, n = shape
    fields = {
        "a_scale": 0.0371,
        "b_scale": rng.uniform(0.001, 0.01, n),
        "scale": 0.0213,
        "a_zero_point": 7,
        "b_zero_point": rng.integers(-3, 4, n),
        "zero_point": -9,
        "bias": rng.normal(0, 0.5, n).astype(_F),
    }
    return rng.integers(0, 256, (m, k)).astype(np.uint8), rng.integers(-128, 128, (k, n)).astype(np.int8), fields


def convolution(rng, shape, kernel, stride, padding, dilation, groups):
    x = rng.integers(0, 256, shape).astype(np.uint8)
    w = rng.integers(-128, 128, (*kernel, shape[3] // groups)).astype(np.int8)
    fields = {"x_scale": 0.0371, "w_scale": rng.uniform(0.001, 0.01, len(w)), "scale": 0.0213, "x_zero_point": 7,
              "zero_point": 3, "qmin": 0, "qmax": 255, "bias": rng.normal(0, 0.5, len(w)).astype(_F)}  # fmt: skip
    return x, w, {**fields, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@pytest.mark.parametrize(("shape", "turned"), PRODUCTS)
def test_products_equal_their_twin(shape, turned):
    a, b, fields = product(np.random.default_rng(1), shape)
    for bias in (fields["bias"], None):
        found = fast.float_matmul(a, b, **{**fields, "bias": bias, "b_turned": turned})
        truth = reference.float_matmul(a, b, **{**fields, "bias": bias, "b_turned": turned})
        np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions_equal_their_twin(case):
    x, w, fields = convolution(np.random.default_rng(2), *case)
    np.testing.assert_array_equal(fast.float_conv2d(x, w, **fields), reference.float_conv2d(x, w, **fields))


def test_what_is_refused():
    x, w = np.zeros((1, 4, 4, 3), np.uint8), np.zeros((4, 3, 3, 3), np.int8)
    with pytest.raises(ValueError, match="in 3 groups"):
        fast.float_conv2d(x, w, x_scale=1.0, w_scale=1.0, scale=1.0, groups=3)
    with pytest.raises(ValueError, match=r"\(M, K\) and \(K, N\)"):
        fast.float_matmul(x[0, 0], x[0, 0], a_scale=1.0, b_scale=1.0, scale=1.0)
    with pytest.raises(ValueError, match="scale must be positive"):
        fast.float_matmul(x[0, 0], w[0, 0], a_scale=1.0, b_scale=1.0, scale=0.0)


def run(kind: str, feeds: dict[str, np.ndarray], **attributes) -> np.ndarray:
    """One float node as ONNX Runtime computes it on one thread."""
    from onnx import TensorProto, helper

    onnxruntime = pytest.importorskip("onnxruntime")
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)  # noqa: E731
    node = helper.make_node(kind, list(feeds), ["y"], **attributes)
    graph = helper.make_graph([node], "g", [value(name) for name in feeds], [value("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


@pytest.mark.parametrize("shape", [(1, 300, 7), (1, 33, 40), (5, 600, 1), (2, 3000, 10), (4, 300, 310), (5, 64, 40)])
def test_products_equal_onnx_runtime(shape):
    """As numbers, not codes: every sum to its last bit."""
    pytest.importorskip("onnx")
    from accelsim_kernels import float_sums

    rng = np.random.default_rng(3)
    m, k, n = shape
    x, w, bias = (rng.normal(0, 1, size).astype(_F) for size in ((m, k), (k, n), (n,)))
    turned = np.ascontiguousarray(w.T)
    np.testing.assert_array_equal(
        float_sums.sums(x, w, bias, True), run("Gemm", {"a": x, "b": turned, "c": bias}, transB=1)
    )
    np.testing.assert_array_equal(float_sums.sums(x, w, bias, False), run("Gemm", {"a": x, "b": w, "c": bias}))
    np.testing.assert_array_equal(float_sums.sums(x, w, None, False), run("MatMul", {"a": x, "b": w}))


LIMITS = {"qmin": -(2**31), "qmax": 2**31 - 1}
LARGER = [
    *CONVOLUTIONS,
    ((2, 13, 11, 40), (24, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 7, 7, 64), (16, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 9, 9, 32), (32, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 32),
    ((1, 9, 9, 32), (32, 5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1), 32),
    ((1, 7, 7, 12), (12, 7, 7), (1, 1), ((0, 0), (0, 0)), (1, 1), 12),
    ((1, 12, 5, 6), (6, 3, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 6),
    ((1, 5, 8, 6), (6, 5, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 6),
    ((1, 24, 20, 1), (8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 24, 1, 1), (8, 3, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 4, 4, 300), (5, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 2, 2, 256), (4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
]  # fmt: skip


@pytest.mark.parametrize("case", LARGER)
def test_convolutions_equal_onnx_runtime(case):
    pytest.importorskip("onnx")
    x, w, fields = convolution(np.random.default_rng(4), *case)
    real = (x.astype(np.int64) - fields["x_zero_point"]).astype(_F) * _F(fields["x_scale"])
    weights = w.astype(_F) * np.asarray(fields["w_scale"], _F)[:, None, None, None]
    (top, bottom), (left, right) = fields["padding"]
    images, filters = (np.ascontiguousarray(v.transpose(0, 3, 1, 2)) for v in (real, weights))
    feeds = {"x": images, "w": filters, "b": fields["bias"]}
    y = run("Conv", feeds, strides=fields["stride"], pads=[top, left, bottom, right], dilations=fields["dilation"],
            group=fields["groups"])  # fmt: skip
    # codes so fine that a last bit of the sum shows
    fine = {**fields, "scale": float(np.abs(y).max()) * 2.0**-30, "zero_point": 0, **LIMITS}
    truth = np.rint(y / _F(fine["scale"])).astype(np.int64).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(fast.float_conv2d(x, w, **fine), truth)
