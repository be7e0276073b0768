"""A small float network, and its quantized files as onnxruntime's own quantizer writes them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (3, 16, 16)


class _Builder:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list = []
        self.constants: list = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, shape: tuple[int, ...], size: float = 0.3) -> str:
        values = self.rng.normal(0, size, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x: str, name: str, k: int, c: int, side: int = 3, relu: bool = True, **how) -> str:
        weights = [self.constant(f"{name}.w", (k, c, side, side)), self.constant(f"{name}.b", (k,), 0.1)]
        how.setdefault("pads", [side // 2] * 4)
        y = self.node("Conv", [x, *weights], name, kernel_shape=[side, side], **how)
        return self.node("Relu", [y], f"{name}.r") if relu else y


def float_network(path: Path, seed: int = 0) -> None:
    """Convolution, depthwise, residual sum, pools, concatenation, swish, mean, fully connected, softmax."""
    b = _Builder(seed)
    x = b.conv("x", "c1", 8, 3)
    y = b.conv(b.conv(x, "dw", 8, 1, group=8), "c2", 8, 8, side=1, relu=False)
    y = b.node("Add", [x, y], "sum")
    pools = [
        b.node(kind, [y], kind.lower(), kernel_shape=[2, 2], strides=[2, 2]) for kind in ("MaxPool", "AveragePool")
    ]
    y = b.conv(b.node("Concat", pools, "joined", axis=1), "c3", 16, 16, relu=False, strides=[2, 2])
    y = b.node("Mul", [y, b.node("Sigmoid", [y], "sigmoid")], "swish")
    y = b.node("Flatten", [b.node("GlobalAveragePool", [y], "mean")], "flat")
    y = b.node("Gemm", [y, b.constant("fc.w", (10, 16)), b.constant("fc.b", (10,), 0.1)], "logits", transB=1)
    b.node("Softmax", [y], "prob", axis=-1)
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *s]) for n, s in (("x", SHAPE), ("prob", (10,)))
    ]
    graph = helper.make_graph(b.nodes, "net", values[:1], values[1:], b.constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, *SHAPE)).astype(np.float32)


def quantized(folder: Path, form: str, activations: str, weights: str, per_channel: bool, seed: int = 0) -> Path:
    """The network's file in one of the quantizer's forms."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([{"x": images(4, 1)}, {"x": images(4, 2)}])

        def get_next(self):
            return next(self.batches, None)

    source, path = folder / f"float{seed}.onnx", folder / f"{form}_{activations}_{weights}_{per_channel}_{seed}.onnx"
    float_network(source, seed)
    logging.disable(logging.WARNING)
    try:
        quantize_static(source, path, Reader(), quant_format=QuantFormat[form], per_channel=per_channel,
                        activation_type=QuantType[activations], weight_type=QuantType[weights])  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return path


def run(path: Path, x: np.ndarray, level: str) -> np.ndarray:
    """ONNX Runtime's first output at a level of optimisation (DISABLE_ALL, ENABLE_BASIC …)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
