"""The integer cases of ONNX's backend tests, and ONNX Runtime itself on adversarial scales: bit for bit."""

from __future__ import annotations

import json

import accelsim_kernels as kernels
import numpy as np
import pytest
from shared_material import SHARED, needs_shared

from accelsim.requant import decompose

FOLDER = SHARED / "vectors" / "onnx" if SHARED else None
# narrow floats are no integers; 2- and 4-bit types are stored as Python objects: test_onnx_live has them
FLOATS = ("e4m3fn", "e5m2", "float4", "int2", "int4", "uint2", "uint4", "blocked_symmetric")
CASES = sorted(p.stem for p in FOLDER.glob("*.npz") if not any(f in p.stem for f in FLOATS)) if FOLDER else []


def limits(dtype) -> dict:
    info = np.iinfo(dtype)
    return {"qmin": int(info.min), "qmax": int(info.max)}


def nhwc(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def nchw(x):
    return np.moveaxis(x, -1, 1)


def along(values, x, axis):
    """Per-axis or blocked parameters, spread to the shape of x."""
    values = np.asarray(values)
    if values.ndim == x.ndim:
        return np.repeat(values, x.shape[axis] // values.shape[axis], axis)
    return values.reshape([-1 if i == axis else 1 for i in range(x.ndim)]) if values.ndim == 1 else values


def quantize_linear(attributes, x, scale, zero_point):
    axis = int(attributes.get("axis", 1))
    return [kernels.quantize(x, scale=along(scale, x, axis), zero_point=along(zero_point, x, axis).astype(int),
                             arithmetic="half-even", **limits(zero_point.dtype))]  # fmt: skip


def dequantize_linear(attributes, x, scale, zero_point):
    axis = int(attributes.get("axis", 1))
    zero_point = along(zero_point, x, axis).astype(int)
    return [kernels.dequantize(x, scale=along(scale, x, axis), zero_point=zero_point)]


def conv_integer(attributes, x, w, x_zero=0, w_zero=0):
    pads = json.loads(attributes.get("pads", "[0, 0, 0, 0]"))
    padding = ((pads[0], pads[2]), (pads[1], pads[3]))
    return [nchw(kernels.conv2d(nhwc(x), nhwc(w), padding=padding, x_zero_point=int(x_zero), w_zero_point=w_zero))]


def matmul_integer(attributes, a, b, a_zero, b_zero):
    return [kernels.matmul(a, b, a_zero_point=int(a_zero.item()), b_zero_point=np.squeeze(b_zero).astype(int))]


def q_linear_conv(attributes, x, sx, zx, w, sw, zw, sy, zy):
    how = decompose("onnx-reference", (sx, sw.item(), sy))
    return [nchw(kernels.conv2d(
        nhwc(x), nhwc(w), x_zero_point=int(zx), w_zero_point=zw.astype(int),
        requantize={"scheme": "onnx-reference", **how, "zero_point": int(zy), **limits(zy.dtype)},
    ))]  # fmt: skip


def q_linear_matmul(attributes, a, sa, za, b, sb, zb, sy, zy):
    how = decompose("onnx-reference", (sa.item(), sb.item(), sy.item()))
    return [kernels.batch_matmul(
        a, b, a_zero_point=int(za.item()), b_zero_point=int(zb.item()),
        requantize={"scheme": "onnx-reference", **how, "zero_point": int(zy.item()), **limits(zy.dtype)},
    )]  # fmt: skip


def dynamic_quantize_linear(attributes, x):
    low, high = np.minimum(x.min(), np.float32(0)), np.maximum(x.max(), np.float32(0))
    scale = (high - low) / np.float32(255)
    zero = int(kernels.quantize(-low.reshape(1), scale=scale, arithmetic="half-even", qmin=0, qmax=255)[0])
    codes = kernels.quantize(x, scale=scale, zero_point=zero, arithmetic="half-even", qmin=0, qmax=255)
    return [codes, scale, np.uint8(zero)]


RUN = {
    "QuantizeLinear": quantize_linear, "DequantizeLinear": dequantize_linear, "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer, "QLinearConv": q_linear_conv, "QLinearMatMul": q_linear_matmul,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
}  # fmt: skip


@needs_shared
@pytest.mark.parametrize("name", CASES)
def test_backend_case(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    config = json.loads(str(arrays["config"]))
    inputs = [arrays[f"in{i}"] for i in range(8) if f"in{i}" in arrays]
    for i, result in enumerate(RUN[config["op"]](config["attrs"], *inputs)):
        truth = arrays[f"out{i}"]
        assert np.asarray(result).dtype == truth.dtype
        np.testing.assert_array_equal(result, truth)


# ONNX Runtime, live

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def runtime(op, inputs, constants, domain="", **attributes):
    """One operator run by ONNX Runtime; inputs first, then constants, in the operator's order given by names."""
    helper, types = onnx.helper, {np.dtype("uint8"): 2, np.dtype("int8"): 3, np.dtype("float32"): 1}
    names = [*inputs, *constants]
    node = helper.make_node(op, attributes.pop("order", names), ["y"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, types[x.dtype], x.shape) for n, x in inputs.items()],
        [helper.make_tensor_value_info("y", types[constants["zy"].dtype], None)],
        [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))[0]


def adversarial(rng, tie):
    """Scales whose products meet many ties, or any float32 numbers."""
    if tie:
        return [
            np.float32(2.0 ** -int(k) * int(m))
            for k, m in zip(rng.integers(3, 7, 3), rng.integers(1, 8, 3), strict=True)
        ]
    return [np.float32(s) for s in rng.uniform(0.005, 0.1, 3)]


def zero_points(rng, dtype):
    info = np.iinfo(dtype)
    return [np.dtype(dtype).type(v) for v in rng.integers(info.min, info.max + 1, 3)]


def codes(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


ROUNDS = [(dtype, seed) for dtype in ("uint8", "int8") for seed in range(12)]


@pytest.mark.parametrize(("dtype", "seed"), ROUNDS)
def test_qlinear_matmul(dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = codes(rng, dtype, (40, 24)), codes(rng, "int8", (24, 32))
    (sa, sb, sy), (za, _, zy) = adversarial(rng, seed % 2), zero_points(rng, dtype)
    zb = np.int8(0)
    constants = {"sa": sa, "za": za, "sb": sb, "zb": zb, "sy": sy, "zy": zy, "b": b}
    order = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    truth = runtime("QLinearMatMul", {"a": a}, constants, order=order)
    how = {"scheme": "onnx-float", **decompose("onnx-float", (sa, sb, sy)), "zero_point": int(zy), **limits(dtype)}
    np.testing.assert_array_equal(kernels.matmul(a, b, a_zero_point=int(za), requantize=how), truth)


@pytest.mark.parametrize(("dtype", "seed"), ROUNDS)
def test_qlinear_conv_per_channel(dtype, seed):
    rng = np.random.default_rng(seed)
    x, w = codes(rng, dtype, (2, 6, 9, 8)), codes(rng, "int8", (10, 6, 3, 3))
    (sx, _, sy), (zx, _, zy) = adversarial(rng, seed % 2), zero_points(rng, dtype)
    sw = np.array([adversarial(rng, seed % 2)[1] for _ in range(10)], np.float32)
    bias = rng.integers(-3000, 3000, 10).astype(np.int32)
    constants = {"sx": sx, "zx": zx, "w": w, "sw": sw, "zw": np.zeros(10, np.int8), "sy": sy, "zy": zy, "bias": bias}
    order = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy", "bias"]
    truth = runtime("QLinearConv", {"x": x}, constants, order=order, pads=[1, 1, 1, 1])
    how = {"scheme": "onnx-float", **decompose("onnx-float", (sx, sw, sy)), "zero_point": int(zy), **limits(dtype)}
    ours = kernels.conv2d(nhwc(x), nhwc(w), padding=((1, 1), (1, 1)), x_zero_point=int(zx), bias=bias, requantize=how)
    np.testing.assert_array_equal(nchw(ours), truth)


@pytest.mark.parametrize(("dtype", "seed"), ROUNDS)
def test_qlinear_add(dtype, seed):
    info = np.iinfo(dtype)
    grid = np.arange(info.min, info.max + 1)
    a, b = (v.astype(dtype).reshape(-1) for v in np.meshgrid(grid, grid))
    rng = np.random.default_rng(seed)
    (sa, sb, sy), (za, zb, zy) = adversarial(rng, seed % 2), zero_points(rng, dtype)
    constants = {"sa": sa, "za": za, "sb": sb, "zb": zb, "sy": sy, "zy": zy}
    order = ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"]
    truth = runtime("QLinearAdd", {"a": a, "b": b}, constants, "com.microsoft", order=order)
    ours = kernels.add(
        a, b, arithmetic="float32", a_scale=sa, b_scale=sb, scale=sy, a_zero_point=int(za), b_zero_point=int(zb),
        zero_point=int(zy), **limits(dtype),
    )  # fmt: skip
    np.testing.assert_array_equal(ours, truth)


@pytest.mark.parametrize(("dtype", "seed"), ROUNDS)
def test_quantize_linear(dtype, seed):
    rng = np.random.default_rng(seed)
    scale, zero = adversarial(rng, seed % 2)[0], zero_points(rng, dtype)[0]
    ties = (np.arange(-600, 600) / 2).astype(np.float32) * scale
    x = np.concatenate([ties, np.nextafter(ties, np.float32(np.inf)), rng.normal(0, 200, 2000).astype(np.float32)])
    truth = runtime("QuantizeLinear", {"x": x}, {"s": scale, "zy": zero})
    ours = kernels.quantize(x, scale=scale, zero_point=int(zero), arithmetic="half-even", **limits(dtype))
    np.testing.assert_array_equal(ours, truth)


@pytest.mark.parametrize(("dtype", "seed"), ROUNDS)
def test_global_and_window_average_pool(dtype, seed):
    rng = np.random.default_rng(seed)
    x = codes(rng, dtype, (2, 8, 7, 7))
    (sx, _, sy), (zx, _, zy) = adversarial(rng, seed % 2), zero_points(rng, dtype)
    constants = {"sx": sx, "zx": zx, "sy": sy, "zy": zy}
    truth = runtime("QLinearGlobalAveragePool", {"x": x}, constants, "com.microsoft", channels_last=0)
    scale = float(np.float32(sx) / (np.float32(sy) * np.float32(49)))
    how = {"scheme": "onnx-float", "scale": scale, "zero_point": int(zy), **limits(dtype)}
    ours = kernels.mean(nhwc(x), arithmetic="requantize", x_zero_point=int(zx), requantize=how)
    np.testing.assert_array_equal(nchw(ours), truth)
    truth = runtime("QLinearAveragePool", {"x": x}, constants, "com.microsoft", kernel_shape=[2, 2], strides=[1, 1])
    ours = kernels.average_pool2d(
        nhwc(x), window=(2, 2), stride=(1, 1), arithmetic="float32", input_scale=sx, scale=sy, x_zero_point=int(zx),
        zero_point=int(zy), **limits(dtype),
    )  # fmt: skip
    np.testing.assert_array_equal(nchw(ours), truth)
