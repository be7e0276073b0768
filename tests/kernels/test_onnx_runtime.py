"""More of ONNX, live: the node cases of the onnx package with their narrow types, and ONNX Runtime on random shapes."""

from __future__ import annotations

import warnings

import accelsim_kernels as kernels
import numpy as np
import pytest
from test_onnx import RUN, adversarial, along, codes, dynamic_quantize_linear, limits, nchw, nhwc

from accelsim.requant import decompose

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
TYPES = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "uint4": 21, "int4": 22}
RANGES = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15)}


def node_cases() -> dict:
    """Integer cases of the onnx package, by name."""
    from onnx.backend.test.case.node import collect_testcases

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for op in ("QuantizeLinear", "DequantizeLinear"):
            for case in collect_testcases(op):
                if any(f in case.name for f in ("e4m3", "e5m2", "float4")):
                    continue
                if case.model.graph.node[0].op_type in ("QuantizeLinear", "DequantizeLinear"):
                    found[case.name] = case
    return found


NODES = node_cases()


def test_narrow_types_are_among_the_cases():
    names = " ".join(NODES)
    assert all(f"linear_{kind}" in names for kind in ("int2", "uint2", "int4", "uint4", "int16", "uint16"))
    assert "test_quantizelinear_blocked_symmetric" in NODES


@pytest.mark.parametrize("name", NODES)
def test_node_case(name):
    case = NODES[name]
    node = case.model.graph.node[0]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    inputs, outputs = case.data_sets[0]
    arrays, kinds = zip(*(plain(v) for v in (*inputs, *outputs)), strict=True)
    *given, truth = arrays
    axis = int(attributes.get("axis", 1))
    scale = along(given[1], given[0], axis)
    zero = along(given[2], given[0], axis).astype(int) if len(given) > 2 else 0
    if node.op_type == "DequantizeLinear":
        np.testing.assert_array_equal(kernels.dequantize(given[0], scale=scale, zero_point=zero), truth)
        return
    low, high = RANGES.get(kinds[-1]) or limits(kinds[-1]).values()
    ours = kernels.quantize(given[0], scale=scale, zero_point=zero, arithmetic="half-even", qmin=low, qmax=high)
    np.testing.assert_array_equal(ours, truth)


def plain(value) -> tuple[np.ndarray, str]:
    """An array of an ordinary dtype, and the name of its ONNX type."""
    if isinstance(value, onnx.TensorProto):
        name = onnx.TensorProto.DataType.Name(value.data_type).lower()
        return onnx.numpy_helper.to_array(value).astype(np.int16), name
    return value, value.dtype.name


def session(nodes, inputs, constants, outputs):
    """Graph outputs by ONNX Runtime: constants name -> array or TensorProto; outputs name -> type."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    made = [v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v), n)
            for n, v in constants.items()]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, TYPES[x.dtype.name], x.shape) for n, x in inputs.items()],
        [helper.make_tensor_value_info(n, TYPES[t], None) for n, t in outputs.items()], made,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, inputs)


def one(op, inputs, constants, order, output, domain="", **attributes):
    node = onnx.helper.make_node(op, order, ["y"], domain=domain, **attributes)
    return session([node], inputs, constants, {"y": output})[0]


def scales(rng, tie, count=None):
    drawn = [adversarial(rng, tie)[0] for _ in range(count or 1)]
    return np.array(drawn, np.float32) if count else drawn[0]


SEEDS = range(16)


@pytest.mark.parametrize("seed", SEEDS)
def test_convolutions_of_any_geometry(seed):
    rng = np.random.default_rng(seed)
    kind, tie, per_channel = ("uint8", "int8")[seed % 2], seed % 3 == 0, bool(rng.integers(2))
    groups = int(rng.choice([1, 2, 3, 6]))
    count = groups * int(rng.integers(1, 4)) if seed % 4 else 18
    groups = groups if seed % 4 else 6
    weight_kind = "int8" if kind == "int8" else str(rng.choice(["int8", "uint8"]))
    x = codes(rng, kind, (2, 6, 9, 11))
    w = codes(rng, weight_kind, (count, 6 // groups, *rng.integers(1, 4, 2)))
    stride, dilation, pads = (rng.integers(low, high, n).tolist() for low, high, n in ((1, 3, 2), (1, 3, 2), (0, 3, 4)))
    (zx, zy), sx, sy = codes(rng, kind, 2), scales(rng, tie), scales(rng, tie)
    sw = scales(rng, tie, count if per_channel else None)
    zw = codes(rng, weight_kind, ()) if weight_kind == "uint8" else np.int8(0)
    bias = rng.integers(-3000, 3000, count).astype(np.int32)
    zws = np.full(count, zw, weight_kind) if per_channel else zw
    constants = {"sx": sx, "zx": zx, "w": w, "sw": sw, "zw": zws, "sy": sy, "zy": zy, "b": bias}
    truth = one("QLinearConv", {"x": x}, constants, ["x", *constants], kind, strides=stride, dilations=dilation,
                pads=pads, group=groups)  # fmt: skip
    how = {"scheme": "onnx-float", **decompose("onnx-float", (sx, sw, sy)), "zero_point": int(zy), **limits(kind)}
    geometry = {"stride": tuple(stride), "dilation": tuple(dilation), "groups": groups,
                "padding": ((pads[0], pads[2]), (pads[1], pads[3])), "x_zero_point": int(zx)}  # fmt: skip
    ours = kernels.conv2d(nhwc(x), nhwc(w), **geometry, w_zero_point=int(zw), bias=bias, requantize=how)
    np.testing.assert_array_equal(nchw(ours), truth)
    if kind == "uint8":
        constants = {"w": w, "zx": zx, "zw": zw}
        truth = one("ConvInteger", {"x": x}, constants, ["x", *constants], "int32", strides=stride,
                    dilations=dilation, pads=pads, group=groups)  # fmt: skip
        ours = kernels.conv2d(nhwc(x), nhwc(w), **geometry, w_zero_point=int(zw))
        np.testing.assert_array_equal(nchw(ours), truth)


@pytest.mark.parametrize("seed", SEEDS)
def test_products_of_any_rank(seed):
    rng = np.random.default_rng(seed)
    kind, tie, per_column = ("uint8", "int8")[seed % 2], seed % 3 == 0, bool(rng.integers(2))
    other = "int8" if kind == "int8" else str(rng.choice(["int8", "uint8"]))
    a, b = codes(rng, kind, (2, 3, 5, 7)), codes(rng, other, (7, 6))
    (za, zy), zb = codes(rng, kind, 2), codes(rng, other, 6 if per_column else ())
    sa, sb, sy = scales(rng, tie), scales(rng, tie, 6 if per_column else None), scales(rng, tie)
    constants = {"sa": sa, "za": za, "b": b, "sb": sb, "zb": zb, "sy": sy, "zy": zy}
    truth = one("QLinearMatMul", {"a": a}, constants, ["a", *constants], kind)
    how = {"scheme": "onnx-float", **decompose("onnx-float", (sa, sb, sy)), "zero_point": int(zy), **limits(kind)}
    rows, zeros = a.reshape(-1, 7), {"a_zero_point": int(za), "b_zero_point": zb.astype(int)}
    np.testing.assert_array_equal(kernels.matmul(rows, b, **zeros, requantize=how).reshape(2, 3, 5, 6), truth)
    truth = one("MatMulInteger", {"a": a}, {"b": b, "za": za, "zb": zb}, ["a", "b", "za", "zb"], "int32")
    np.testing.assert_array_equal(kernels.matmul(rows, b, **zeros).reshape(2, 3, 5, 6), truth)
    np.testing.assert_array_equal(RUN["MatMulInteger"]({}, rows, b, za, zb)[0].reshape(2, 3, 5, 6), truth)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int4", "uint4"])
def test_quantize_per_tensor_axis_and_block(kind, seed):
    rng = np.random.default_rng(seed)
    axis, mode, shape = int(rng.integers(3)), seed % 3, (4, 6, 8)
    of = {0: (), 1: (shape[axis],), 2: tuple(n // 2 if i == axis else n for i, n in enumerate(shape))}[mode]
    block = {"block_size": 2} if mode == 2 else {}
    scale = np.asarray(2.0 ** rng.integers(-3, 3, of) if seed % 2 else rng.uniform(0.5, 5, of), np.float32)
    low, high = RANGES.get(kind) or limits(kind).values()
    x = rng.normal(0, 100, shape).astype(np.float32)
    x = np.round(x * 2) / 2 * scale.ravel()[0] if seed % 2 else x
    zero = rng.integers(low, high + 1, of)
    proto = onnx.helper.make_tensor("z", TYPES[kind], of, zero.ravel().tolist())
    nodes = [onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis, **block),
             onnx.helper.make_node("Cast", ["q"], ["y"], to=1)]  # fmt: skip
    (truth,) = session(nodes, {"x": x}, {"s": scale, "z": proto}, {"y": "float32"})
    zeros = np.asarray(along(zero, x, axis)).astype(int)
    ours = kernels.quantize(x, scale=along(scale, x, axis), zero_point=zeros, arithmetic="half-even", qmin=low,
                            qmax=high)  # fmt: skip
    np.testing.assert_array_equal(ours, truth)


@pytest.mark.parametrize("seed", SEEDS)
def test_dynamic_quantize_linear(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(0, 2), rng.uniform(0.1, 10), (37, 5)).astype(np.float32)
    node = onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    truth = session([node], {"x": x}, {}, {"q": "uint8", "s": "float32", "z": "uint8"})
    for ours, theirs in zip(dynamic_quantize_linear({}, x), truth, strict=True):
        np.testing.assert_array_equal(ours, theirs)
