"""to_onnx(graph, path): the network as float operators between quantizers (QDQ), which ONNX Runtime runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.files import write_atomically
from accelsim.graph import IntegerGraph
from accelsim.ops.base import Op
from accelsim.quant import QuantParams

OPSET, IR_VERSION = 21, 10
PROFILE_KEY = "accelsim_profile"
_ONNX_PROFILES = ("onnxruntime", "onnxruntime-float")


def to_onnx(graph: IntegerGraph, path: str | Path, report: Any = None) -> Path:
    """Write a network as a .onnx file in QDQ form, weights quantized per channel where they are.

    Images are (N, C, H, W) in the file; any number of samples. Signed activations are written as unsigned ones, codes
    and zero points moved by half their range; in a sum of two tensors, which is rounded in float32 with its zero points
    (E9), this can move a code by 1 next to a tie. The arithmetic is that of ONNX Runtime, whatever the graph's profile.
    report: acs.cost() of this network, or a CostReport; each node then carries its cost as metadata, bits always.
    Raises AccelsimError for operators and widths that have no form there, naming the layer.
    """
    import onnx
    from onnx import TensorProto, helper

    build = _Builder(graph, _costs(report))
    for name in graph.inputs:
        build.quantize(f"{name}", f"{name}.codes", build.grid(name))
        build.places[name] = (f"{name}.codes", None)
    for op in graph.ops:
        build.add(op)
    outputs = [build.output(name) for name in graph.outputs]
    value = lambda n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *graph.tensors[n].shape])  # noqa: E731
    whole = helper.make_graph(build.nodes, graph.name, list(map(value, graph.inputs)), list(map(value, outputs)),
                              build.constants)  # fmt: skip
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    profile = graph.profile if graph.profile in _ONNX_PROFILES else _ONNX_PROFILES[0]
    helper.set_model_props(model, {PROFILE_KEY: profile, "accelsim_source_profile": graph.profile})
    onnx.checker.check_model(model)
    path = Path(path)
    write_atomically(path, model.SerializeToString())
    return path


def _costs(report: Any) -> dict[str, dict[str, str]]:
    """Layer → what a CostReport, or the Report around one, says of it."""
    if report is None:
        return {}
    report = getattr(report, "cost", report)
    return {
        layer.name: {
            "accelsim_energy_pj": json.dumps(layer.energy_pj, default=dict),
            "accelsim_latency_cycles": str(layer.latency_cycles),
        }
        for layer in report.layers
    }


class _Builder:
    """Nodes and constants so far. places: tensor of the graph → (codes in the file, order of its axes there)."""

    def __init__(self, graph: IntegerGraph, costs: dict[str, dict[str, str]]) -> None:
        self.graph = graph
        self.costs = costs
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.places: dict[str, tuple[str, str | None]] = {}  # "chw": an (H, W, C) tensor of the graph as (C, H, W)
        self.real: dict[str, str] = {}  # tensor of the graph that leaves unquantized → real tensor of the file
        self._names: set[str] = set()

    def add(self, op: Op) -> None:
        make: Callable[[Any], None] | None = getattr(self, f"_{op.kind}", None)
        if make is None:
            raise op.refuse("has no form in an .onnx file")
        make(op)
        if self.nodes:
            notes = {"accelsim_bits": str(self.graph.tensors[op.output].bits), **self.costs.get(op.name, {})}
            weight = getattr(op, "weight_params", None)
            notes |= {} if weight is None else {"accelsim_weight_bits": str(weight.bits)}
            known = {entry.key for entry in self.nodes[-1].metadata_props}
            for key, value in notes.items():
                if key not in known:
                    self.nodes[-1].metadata_props.add(key=key, value=value)

    def grid(self, tensor: str) -> QuantParams:
        """Unsigned, whatever the graph's: ONNX Runtime has integer kernels for all operators on these alone."""
        params = self.graph.tensors[tensor].params
        if not isinstance(params, QuantParams) or params.axis is not None or params.bits not in (8, 16):
            raise AccelsimError(f"tensor {tensor!r} has no grid of 8 or 16 bits, as .onnx files need")
        shift = 1 << (params.bits - 1) if params.signed else 0
        return QuantParams(params.scale, params.zero_point + shift, params.bits, False)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        name = output
        while name in self._names:
            name += "_"
        self._names.add(name)
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def _scales(self, label: str, params: QuantParams) -> list[str]:
        return [self.constant(f"{label}.scale", np.asarray(params.scale, np.float32)),
                self.constant(f"{label}.zero_point", np.asarray(params.zero_point).astype(params.dtype))]  # fmt: skip

    def quantize(self, source: str, codes: str, params: QuantParams) -> None:
        self.node("QuantizeLinear", [source, *self._scales(codes, params)], codes)

    def read(self, op: Op, index: int = 0, image: bool = False) -> str:
        """An operand as real numbers, in the graph's order, or (C, H, W) where an image is asked for."""
        tensor = op.inputs[index]
        codes, order = self.places[tensor]
        wanted = "chw" if image else None
        if order != wanted:
            moved = f"{op.name}.{index}.moved"
            self.node("Transpose", [codes], moved, perm=[0, 3, 1, 2] if image else [0, 2, 3, 1])
            codes = moved
        label = f"{op.name}.{index}"
        return self.node("DequantizeLinear", [codes, *self._scales(label, self.grid(tensor))], f"{label}.real")

    def write(self, op: Op, real: str, image: bool, limits: tuple[Any, Any] | None = None) -> None:
        """The quantizer of an operator's result; limits: codes that an activation clamps to."""
        y = self.graph.tensors[op.output].params
        if limits is not None and limits != (y.qmin, y.qmax):
            if any(np.ndim(v) for v in limits):
                raise op.refuse("clamps each channel to limits of its own")
            names = [self.constant(f"{op.name}.limit{i}", np.float32((v - y.zero_point) * y.scale))
                     for i, v in enumerate(limits)]  # fmt: skip
            real = self.node("Clip", [real, *names], f"{op.name}.clipped")
        codes = f"{op.output}.codes"
        self.quantize(real, codes, self.grid(op.output))
        self.places[op.output] = (codes, "chw" if image else None)

    def output(self, tensor: str) -> str:
        if tensor in self.real:
            return self.real[tensor]
        codes, order = self.places[tensor]
        if order is not None:
            codes = self.node("Transpose", [codes], f"{tensor}.ordered", perm=[0, 2, 3, 1])
        grid = self._scales(f"{tensor}.out", self.grid(tensor))
        return self.node("DequantizeLinear", [codes, *grid], tensor)

    def _weights(self, op: Any, values: np.ndarray) -> list[str]:
        """Weights, and a bias at the scale of the accumulator, as real numbers."""
        params = op.weight_params
        per_channel = {"axis": 0} if params.axis is not None else {}
        label = f"{op.name}.weight"
        codes = self.constant(label, values.astype(params.dtype))
        names = [self.node("DequantizeLinear", [codes, *self._scales(label, params)], f"{label}.real", **per_channel)]
        if op.bias is not None:
            if np.abs(op.bias.astype(np.int64)).max(initial=0) >= 2**31:
                raise op.refuse("its bias does not fit 32 bits")
            x = np.float32(self.grid(op.inputs[0]).scale)
            bias = self.constant(f"{op.name}.bias", op.bias.astype(np.int32))
            scale = self.constant(f"{bias}.scale", x * np.asarray(params.scale, np.float32))
            names.append(self.node("DequantizeLinear", [bias, scale], f"{bias}.real", **per_channel))
        return names

    def _finish(self, op: Any, real: str, image: bool) -> None:
        if op.requantizer is None:
            if op.output not in self.graph.outputs or image:
                raise op.refuse("its accumulators do not leave the network as they are")
            self.node("Identity", [real], op.output)
            self.real[op.output] = op.output
        else:
            self.write(op, real, image, (op.requantizer.qmin, op.requantizer.qmax))

    def _conv2d(self, op: Any) -> None:
        (top, bottom), (left, right) = op.padding
        real = self.node("Conv", [self.read(op, image=True), *self._weights(op, op.weight.transpose(0, 3, 1, 2))],
                         f"{op.name}.real", kernel_shape=op.weight.shape[1:3], strides=op.stride, group=op.groups,
                         dilations=op.dilation, pads=[top, left, bottom, right])  # fmt: skip
        self._finish(op, real, True)

    def _linear(self, op: Any) -> None:
        if len(self.graph.tensors[op.inputs[0]].shape) != 1:
            raise op.refuse("only vectors enter a Gemm")
        inputs = [self.read(op), *self._weights(op, op.weight)]
        self._finish(op, self.node("Gemm", inputs, f"{op.name}.real", transB=1), False)

    def _add(self, op: Any) -> None:
        image = any(self.places[name][1] for name in op.inputs)
        if len({len(self.graph.tensors[name].shape) for name in op.inputs}) != 1:
            raise op.refuse("adds tensors of different rank")
        real = self.node("Add", [self.read(op, i, image) for i in (0, 1)], f"{op.name}.real")
        self.write(op, real, image, (op.qmin, op.qmax))

    def _max_pool2d(self, op: Any) -> None:
        self._pool(op, "MaxPool", {})

    def _average_pool2d(self, op: Any) -> None:
        self._pool(op, "AveragePool", {"count_include_pad": int(op.divisor == "window")})

    def _pool(self, op: Any, kind: str, more: dict[str, int]) -> None:
        (top, bottom), (left, right) = op.padding
        real = self.node(kind, [self.read(op, image=True)], f"{op.name}.real", kernel_shape=op.window,
                         strides=op.stride, pads=[top, left, bottom, right], **more)  # fmt: skip
        self.write(op, real, True)

    def _mean(self, op: Any) -> None:
        if op.axes != (0, 1) or len(self.graph.tensors[op.inputs[0]].shape) != 3:
            raise op.refuse("takes a mean over other axes than height and width")
        real = self.node("GlobalAveragePool", [self.read(op, image=True)], f"{op.name}.real")
        limits = (op.requantizer.qmin, op.requantizer.qmax) if op.requantizer else (op.qmin, op.qmax)
        self.write(op, real, True, limits)
        if not op.keep_dims:
            shape = self.constant(f"{op.name}.shape", np.array([0, -1], np.int64))
            codes = self.node("Reshape", [f"{op.output}.codes", shape], f"{op.output}.flat")
            self.places[op.output] = (codes, None)

    def _requantize(self, op: Any) -> None:
        image = self.places[op.inputs[0]][1] is not None
        self.write(op, self.read(op, 0, image), image, (op.requantizer.qmin, op.requantizer.qmax))

    def _reshape(self, op: Any) -> None:
        codes, order = self.places[op.inputs[0]]
        source = self.graph.tensors[op.inputs[0]].shape
        if order is not None and 1 not in (source[2], source[0] * source[1]):
            codes = self.node("Transpose", [codes], f"{op.name}.moved", perm=[0, 2, 3, 1])
        shape = self.constant(f"{op.name}.shape", np.array([-1, *op.shape], np.int64))
        self.places[op.output] = (self.node("Reshape", [codes, shape], f"{op.output}.codes"), None)

    def _transpose(self, op: Any) -> None:
        codes, order = self.places[op.inputs[0]]
        if op.order == (1, 2, 0) and order is None:
            self.places[op.output] = (codes, "chw")
        elif op.order == (2, 0, 1) and order == "chw":
            self.places[op.output] = (codes, None)
        else:
            if order is not None:
                codes = self.node("Transpose", [codes], f"{op.name}.moved", perm=[0, 2, 3, 1])
            perm = [0, *(axis + 1 for axis in op.order)]
            self.places[op.output] = (self.node("Transpose", [codes], f"{op.output}.codes", perm=perm), None)

    def _concat(self, op: Any) -> None:
        image = any(self.places[name][1] for name in op.inputs)
        axis = 1 + ((1, 2, 0)[op.axis] if image else op.axis)
        real = self.node(
            "Concat", [self.read(op, i, image) for i in range(len(op.inputs))], f"{op.name}.real", axis=axis
        )
        self.write(op, real, image)
