"""The same products by other libraries, each a function without arguments or None where it cannot run here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from accelsim.bench.problems import X_SCALE, X_ZERO_POINT, Y_SCALE, Y_ZERO_POINT, ConvProblem, MatmulProblem

Run = Callable[[], np.ndarray]


def matmul_peers(problem: MatmulProblem, threads: int) -> dict[str, Run]:
    """Contenders that are installed and take these dtypes, by name."""
    return _present(
        {"onnxruntime MatMulInteger": _ort_matmul(problem, threads), "torch _int_mm": _torch_int_mm(problem, threads)}
    )


def conv_peers(problem: ConvProblem, threads: int) -> dict[str, Run]:
    """Contenders that are installed, by name."""
    return _present(
        {
            "onnxruntime QLinearConv": _ort_conv(problem, threads),
            "torch onednn": _torch_conv(problem, threads, "onednn"),
            "torch fbgemm": _torch_conv(problem, threads, "fbgemm"),
        }
    )


def _present(peers: dict[str, Run | None]) -> dict[str, Run]:
    return {name: run for name, run in peers.items() if run is not None}


def _session(nodes: list, inputs: list, constants: list, outputs: list, threads: int) -> Any:
    import onnx
    import onnxruntime

    graph = onnx.helper.make_graph(nodes, "case", inputs, outputs, constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _ort_matmul(problem: MatmulProblem, threads: int) -> Run | None:
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError:
        return None
    kinds, make = onnx.TensorProto, onnx.helper.make_tensor_value_info
    a_kind = kinds.UINT8 if problem.a_dtype == "uint8" else kinds.INT8
    session = _session(
        [onnx.helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        [make("a", a_kind, problem.a.shape)],
        [onnx.numpy_helper.from_array(problem.b, "b")],
        [make("y", kinds.INT32, None)],
        threads,
    )
    feed = {"a": problem.a}
    return lambda: session.run(None, feed)[0]


def _torch_int_mm(problem: MatmulProblem, threads: int) -> Run | None:
    if problem.a_dtype != "int8":
        return None
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    a, b = torch.from_numpy(problem.a), torch.from_numpy(problem.b)
    return lambda: torch._int_mm(a, b).numpy()


def _ort_conv(problem: ConvProblem, threads: int) -> Run | None:
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError:
        return None
    kinds, make, shape = onnx.TensorProto, onnx.helper.make_tensor_value_info, problem.shape
    arrays = {
        "xs": np.float32(X_SCALE),
        "xz": np.uint8(X_ZERO_POINT),
        "ws": problem.w_scales,
        "w": np.ascontiguousarray(problem.w.transpose(0, 3, 1, 2)),
        "wz": np.zeros(shape.outputs, np.int8),
        "ys": np.float32(Y_SCALE),
        "yz": np.uint8(Y_ZERO_POINT),
        "b": problem.bias,
    }
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]
    node = onnx.helper.make_node(
        "QLinearConv",
        ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
        ["y"],
        kernel_shape=[shape.taps] * 2,
        strides=[shape.stride] * 2,
        group=shape.groups,
        pads=[problem.padding] * 4,
    )
    x = np.ascontiguousarray(problem.x.transpose(0, 3, 1, 2))
    session = _session([node], [make("x", kinds.UINT8, x.shape)], constants, [make("y", kinds.UINT8, None)], threads)
    feed = {"x": x}
    return lambda: session.run(None, feed)[0].transpose(0, 2, 3, 1)


def _torch_conv(problem: ConvProblem, threads: int, engine: str) -> Run | None:
    try:
        import torch
    except ImportError:
        return None
    if engine not in torch.backends.quantized.supported_engines:
        return None
    torch.set_num_threads(threads)
    torch.backends.quantized.engine = engine
    shape = problem.shape
    w = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(np.ascontiguousarray(problem.w.transpose(0, 3, 1, 2))),
        torch.from_numpy(problem.w_scales.astype(np.float64)),
        torch.zeros(shape.outputs, dtype=torch.int64),
        0,
    )
    bias = torch.from_numpy((problem.bias * (np.float32(X_SCALE) * problem.w_scales)).astype(np.float32))
    pairs = [shape.stride] * 2, [problem.padding] * 2, [1, 1]
    packed = torch.ops.quantized.conv2d_prepack(w, bias, *pairs, shape.groups)
    x = torch.from_numpy(problem.x).permute(0, 3, 1, 2)
    x = torch._make_per_tensor_quantized_tensor(x, float(np.float32(X_SCALE)), X_ZERO_POINT)
    x = x.contiguous(memory_format=torch.channels_last)
    y_scale = float(np.float32(Y_SCALE))

    def run() -> np.ndarray:
        return torch.ops.quantized.conv2d(x, packed, y_scale, Y_ZERO_POINT).int_repr().permute(0, 2, 3, 1).numpy()

    return run
