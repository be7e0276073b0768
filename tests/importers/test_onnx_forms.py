"""Forms of quantized .onnx files, each run live by ONNX Runtime and by us: every code equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper  # noqa: E402
from onnx_forms import FORMS, Form  # noqa: E402

import accelsim as acs  # noqa: E402
from accelsim.errors import AccelsimError  # noqa: E402

LEVELS = ("onnxruntime-disable-all", "onnxruntime-basic", "onnxruntime-extended", "onnxruntime-all")


def feeds(form: Form, samples: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    samples = samples if form.samples == "N" else int(form.samples)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim[1:]] for v in form.inputs}
    return {name: rng.normal(0, 1, (samples, *shape)).astype(np.float32) for name, shape in shapes.items()}


def runtime(path: Path, x: dict[str, np.ndarray], level: str = "DISABLE_ALL") -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, x)[0]


def equal(path: Path, x: dict[str, np.ndarray], level: str = "DISABLE_ALL", profile: str | None = None) -> None:
    graph = acs.from_onnx(path, profile)
    ours = acs.simulate(graph, x).output
    params = graph.tensors[graph.outputs[0]].params
    codes = np.rint(runtime(path, x, level).astype(np.float64) / params.scale).astype(np.int64) + params.zero_point
    assert len(np.unique(codes)) > 3
    np.testing.assert_array_equal(ours, codes)


def written(folder: Path, form: Form, make, opset: int = 21) -> Path:
    path = folder / "form.onnx"
    path.write_bytes(form.build(make(form), opset))
    return path


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("activations", ["u1", *(pytest.param(t, marks=pytest.mark.slow) for t in ("i1", "u2", "i2"))])
def test_between_quantizers(name, activations, tmp_path):
    form = Form(activations=activations)
    path = written(tmp_path, form, FORMS[name])
    equal(path, feeds(form))


@pytest.mark.parametrize("name", FORMS)
def test_every_tensor_at_every_level(name, tmp_path):
    form = Form()
    path = written(tmp_path, form, FORMS[name])
    for level in LEVELS:
        found = acs.replay(path, feeds(form), level)
        assert found.equal and found.compared[0].elements > 5, level
        assert all(row.differing == 0 for row in found.operators)


#: nodes whose attributes or inputs have changed since opset 13
OLDER = [
    "conv_same_upper", "gemm_plain_weights", "matmul_weights", "split_sizes", "max_pool_same", "mean_of_images",
    "average_pool_counted", "average_pool_valid", "resize_nearest", "add_constant", "functions", "slice_back",
]  # fmt: skip


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 19, 20, 22, 23])
def test_opsets(opset, tmp_path):
    for name in OLDER:
        if name == "functions" and opset < 20:  # Gelu
            continue
        form = Form()
        make = FORMS[name]
        if name == "mean_of_images" and opset < 18:  # axes were an attribute
            make = lambda f: f.node("ReduceMean", [f.input((3, 7, 8))], axes=[2, 3], keepdims=0)  # noqa: E731
        equal(written(tmp_path, form, make, opset), feeds(form))


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("operator", ["Conv", "MatMul", "Gemm"])
def test_four_bit_weights(kind, operator, tmp_path):
    def make(f: Form) -> str:
        signed = kind == TensorProto.INT4
        shape, axis = {"Conv": ((6, 4, 3, 3), 0), "MatMul": ((40, 7), 1), "Gemm": ((7, 40), 0)}[operator]
        channels = shape[axis]
        low, high = (-8, 8) if signed else (0, 16)
        values = f.rng.integers(low, high, shape)
        zeros = np.zeros(channels, int) if signed else f.rng.integers(6, 10, channels)
        f.constants += [helper.make_tensor("w", kind, shape, values.reshape(-1)),
                        helper.make_tensor("wz", kind, [channels], zeros)]  # fmt: skip
        scale = f.constant(f.rng.uniform(0.02, 0.1, channels).astype(np.float32))
        weights = f.node("DequantizeLinear", ["w", scale, "wz"], axis=axis)
        x = f.input((4, 9, 8) if operator == "Conv" else (40,))
        return f.node(operator, [x, weights], **({"transB": 1} if operator == "Gemm" else {}))

    form = Form()
    path = written(tmp_path, form, make)
    equal(path, feeds(form))
    assert {op.weight_params.bits for op in acs.from_onnx(path).mac_ops} == {4}


def test_any_number_of_samples(tmp_path):
    """A batch that the file leaves open, and one that it fixes: several samples are then several runs of it."""
    form = Form()
    path = written(tmp_path, form, FORMS["gemm_plain_weights"])
    for samples in (1, 2, 5, 65, 129, 257):  # whatever batches they are simulated in
        equal(path, feeds(form, samples))
        assert acs.replay(path, feeds(form, samples), "onnxruntime-disable-all").equal
    fixed = Form(samples=1)
    path = written(tmp_path, fixed, FORMS["gemm_plain_weights"])
    graph, x = acs.from_onnx(path), feeds(form, 4)["x"]
    params = graph.tensors[graph.outputs[0]].params
    one_by_one = np.concatenate([runtime(path, {"x": x[i : i + 1]}) for i in range(4)])
    codes = np.rint(one_by_one.astype(np.float64) / params.scale) + params.zero_point
    np.testing.assert_array_equal(acs.simulate(graph, x).output, codes)


def test_weights_in_a_file_of_their_own(tmp_path):
    form = Form()
    path = written(tmp_path, form, FORMS["conv_groups"])
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size > 100
    equal(path, feeds(form))
    equal(path, feeds(form), "ENABLE_ALL", "onnxruntime")
    for level in LEVELS:
        assert acs.replay(path, feeds(form), level).equal


@pytest.mark.parametrize("kind", ["MatMulInteger", "ConvInteger", "DynamicQuantizeLinear"])
def test_grids_found_while_the_network_runs_are_refused(kind, tmp_path):
    """What a dynamically quantized file holds: the scale of an activation depends on its values."""

    def make(f: Form) -> str:
        x = f.input((4, 9, 8))
        codes = f.node("DynamicQuantizeLinear", [x], ["dq", "dq_scale", "dq_zero"])
        if kind == "DynamicQuantizeLinear":
            return f.node("DequantizeLinear", [codes, "dq_scale", "dq_zero"])
        weights = f.constant(f.rng.integers(-9, 9, (6, 4, 3, 3) if kind == "ConvInteger" else (8, 5)).astype(np.int8))
        total = f.node(kind, [codes, weights, "dq_zero"])
        return f.node("Mul", [f.node("Cast", [total], to=1), "dq_scale"])

    with pytest.raises(AccelsimError, match=r"\(DynamicQuantizeLinear\): .*quantize_static"):
        acs.from_onnx(written(tmp_path, Form(), make))


def test_integer_matrix_product(tmp_path):
    """QLinearMatMul of weights per column, and of two activations."""

    def make(f: Form) -> str:
        x = f.node("QuantizeLinear", ["x", *f.grid(0.03)], "xq")
        f.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6, 12]))
        grid = f.grid(0.03)
        weights = f.constant(f.rng.integers(-128, 128, (12, 7)).astype(np.int8))
        scales = f.constant(f.rng.uniform(0.002, 0.01, 7).astype(np.float32))
        zeros, y = f.constant(np.zeros(7, np.int8)), f.grid(0.05)
        first = f.node("QLinearMatMul", [x, *grid, weights, scales, zeros, *y])
        turned = f.node("Transpose", [first], perm=[0, 2, 1])
        second = f.node("QLinearMatMul", [turned, *y, x, *grid, *f.grid(0.2)])
        return f.node("DequantizeLinear", [second, *f.grid(0.2)])

    form = Form()
    path = written(tmp_path, form, make)
    equal(path, feeds(form))
    for level in LEVELS:
        assert acs.replay(path, feeds(form), level).equal


@pytest.mark.parametrize("last", ["HardSigmoid", "GlobalAveragePool"])
@pytest.mark.parametrize("move", ["MaxPool", "Pad"])
def test_a_function_behind_what_depends_on_order_is_refused(move, last, tmp_path):
    """Neg of a maximum is no maximum of Neg; a function of the zeros around an image is not 0."""
    form = Form()
    x = form.node("Neg", [form.input((4, 5, 6))])
    if move == "MaxPool":
        y = form.node("MaxPool", [x], kernel_shape=[2, 2])
    else:
        y = form.node("Pad", [x, form.ints(0, 0, 1, 0, 0, 0, 2, 1)])
    path = tmp_path / "form.onnx"
    path.write_bytes(form.build(form.node(last, [y])))
    with pytest.raises(AccelsimError, match=last):
        acs.from_onnx(path)
