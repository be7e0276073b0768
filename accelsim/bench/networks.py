"""Whole integer networks: ours through simulate(), and the same integers as an ONNX graph of quantized operators."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError

if TYPE_CHECKING:
    from accelsim.graph import IntegerGraph
    from accelsim.quant import QuantParams

NETWORKS = ("resnet18", "mobilenet_v2")
BATCHES = (1, 8)
SIDE = 224


@functools.cache
def integer_network(name: str, side: int = SIDE) -> IntegerGraph:
    """ResNet-18 or MobileNetV2 with random weights, in the arithmetic of ONNX Runtime; calibrated on noise."""
    import torch

    import accelsim
    from accelsim.frontend import zoo

    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    return accelsim.from_torch(getattr(zoo, name)(), images, profile="onnxruntime")


@dataclass(frozen=True)
class NetworkProblem:
    """A network and random codes of (batch, 3, side, side) images."""

    network: str
    batch: int
    side: int = SIDE

    @property
    def name(self) -> str:
        return f"{self.network} {self.side}² batch {self.batch}"

    @property
    def graph(self) -> IntegerGraph:
        return integer_network(self.network, self.side)

    @property
    def macs(self) -> int:
        macs = [op.loop_nest(self.graph.tensors, self.batch).macs for op in self.graph.mac_ops]
        return sum(macs)

    @functools.cached_property
    def codes(self) -> np.ndarray:
        shape = self.batch, *self.graph.tensors[self.graph.inputs[0]].shape
        grid = self.graph.tensors[self.graph.inputs[0]].grid
        codes = np.random.default_rng(5).integers(grid.qmin, grid.qmax + 1, shape)
        return codes.astype(np.int8 if grid.signed else np.uint8)

    def ours(self) -> np.ndarray:
        from accelsim.simulator import simulate

        return simulate(self.graph, self.codes).output


def network_peers(problem: NetworkProblem, threads: int) -> dict[str, Callable[[], np.ndarray]]:
    """ONNX Runtime on the same integers, if it is installed. AccelsimError if it left QLinearConv for any layer."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        return {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        model = onnx_graph(problem.graph, problem.batch).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        _check_convolutions(options.optimized_model_filepath, problem.graph)
    tensors, (read,), (made,) = problem.graph.tensors, problem.graph.inputs, problem.graph.outputs
    feed = {"x": (problem.codes.astype(np.int16) + _offset(tensors[read].grid)).astype(np.uint8)}
    scale = _accumulator_scale(problem.graph)
    offset = 0 if scale is not None else _offset(tensors[made].grid)

    def run() -> np.ndarray:
        result = session.run(None, feed)[0]
        return np.rint(result / scale).astype(np.int32) if scale is not None else result.astype(np.int16) - offset

    return {"onnxruntime": run}


def _offset(grid: QuantParams) -> int:
    """What makes codes of the grid those of uint8."""
    return 128 if grid.signed else 0


def _accumulator_scale(graph: IntegerGraph) -> np.ndarray | None:
    """The scale of an output that is accumulators, which QGemm gives as float32; None for codes."""
    from accelsim.ops.mac import Linear

    last = next(op for op in graph.ops if op.output == graph.outputs[0])
    if not isinstance(last, Linear) or last.requantizer is not None:
        return None
    x_scale = np.asarray(graph.tensors[last.inputs[0]].grid.scale, np.float64)
    return np.asarray(x_scale * np.asarray(last.weight_params.scale, np.float64))


def _check_convolutions(path: str, graph: IntegerGraph) -> None:
    import onnx

    kinds = [node.op_type for node in onnx.load(path).graph.node]
    wanted = sum(op.kind == "conv2d" for op in graph.ops)
    if kinds.count("QLinearConv") != wanted or {"Conv", "FusedConv"} & set(kinds):
        raise AccelsimError(f"ONNX Runtime runs {kinds.count('QLinearConv')} of {wanted} convolutions on integers")


def onnx_graph(graph: IntegerGraph, batch: int) -> Any:
    """A ModelProto of the same integers: uint8 activations, images as (N, C, H, W).

    Takes convolutions, linear layers, add, max pooling, mean over the image, and reshapes to vectors.
    """
    from onnx import TensorProto, helper

    build = _Builder(graph)
    shape = graph.tensors[graph.inputs[0]].shape
    build.names[graph.inputs[0]] = "x"
    for op in graph.ops:
        build.add(op)
    (output,) = graph.outputs
    whole = helper.make_graph(
        build.nodes,
        graph.name,
        [helper.make_tensor_value_info("x", TensorProto.UINT8, (batch, *shape))],
        [helper.make_empty_tensor_value_info(build.names[output])],
        build.constants,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=8)


class _Builder:
    """Nodes and constants so far; names: our tensor -> theirs."""

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self.names: dict[str, str] = {}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: Any) -> None:
        """Append the node of one operator."""
        if op.kind in ("transpose", "reshape"):  # images are (N, C, H, W) there, and pooled vectors flat already
            self.names[op.output] = self.names[op.inputs[0]]
            return
        make: Callable[[Any], None] | None = getattr(self, f"_{op.kind}", None)
        if make is None:
            raise AccelsimError(f"layer {op.name!r}: {op.kind} has no form in the ONNX graph that is timed")
        self.names[op.output] = op.output
        make(op)

    def _node(self, op: Any, kind: str, inputs: list[str], domain: str = "", **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [op.output], domain=domain, **attributes))

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def _grid(self, tensor: str, label: str) -> list[str]:
        """Constants with a tensor's scale and zero point."""
        params = self.graph.tensors[tensor].grid
        return [
            self._constant(f"{label}.scale", np.float32(params.scale).reshape(())),
            self._constant(f"{label}.zero_point", np.uint8(params.zero_point + _offset(params)).reshape(())),
        ]

    def _read(self, op: Any, index: int = 0) -> list[str]:
        tensor = op.inputs[index]
        return [self.names[tensor], *self._grid(tensor, f"{op.name}.{index}")]

    def _weights(self, op: Any, values: np.ndarray) -> list[str]:
        scale = np.broadcast_to(np.asarray(op.weight_params.scale, np.float32), len(op.weight))
        return [
            self._constant(f"{op.name}.w", values),
            self._constant(f"{op.name}.w.scale", scale),
            self._constant(f"{op.name}.w.zero_point", np.zeros(len(op.weight), np.int8)),
        ]

    def _conv2d(self, op: Any) -> None:
        inputs = self._read(op) + self._weights(op, op.weight.transpose(0, 3, 1, 2)) + self._grid(op.output, op.name)
        inputs.append(self._constant(f"{op.name}.b", op.bias.astype(np.int32)))
        (top, bottom), (left, right) = op.padding
        self._node(
            op,
            "QLinearConv",
            inputs,
            kernel_shape=op.weight.shape[1:3],
            strides=op.stride,
            dilations=op.dilation,
            group=op.groups,
            pads=[top, left, bottom, right],
        )

    def _linear(self, op: Any) -> None:
        flat = self._constant(f"{op.name}.shape", np.array([0, -1], np.int64))
        codes, *grid = self._read(op)
        from onnx import helper

        self.nodes.append(helper.make_node("Reshape", [codes, flat], [f"{op.name}.flat"]))
        inputs = [f"{op.name}.flat", *grid, *self._weights(op, op.weight.T)]
        inputs.append(self._constant(f"{op.name}.b", op.bias.astype(np.int32)))
        quantized = op.requantizer is not None
        self._node(op, "QGemm", inputs + (self._grid(op.output, op.name) if quantized else []), "com.microsoft")

    def _add(self, op: Any) -> None:
        inputs = self._read(op, 0) + self._read(op, 1) + self._grid(op.output, op.name)
        self._node(op, "QLinearAdd", inputs, "com.microsoft")

    def _max_pool2d(self, op: Any) -> None:
        (top, bottom), (left, right) = op.padding
        pads = [top, left, bottom, right]
        self._node(op, "MaxPool", [self.names[op.inputs[0]]], kernel_shape=op.window, strides=op.stride, pads=pads)

    def _mean(self, op: Any) -> None:
        inputs = self._read(op) + self._grid(op.output, op.name)
        self._node(op, "QLinearGlobalAveragePool", inputs, "com.microsoft", channels_last=0)
