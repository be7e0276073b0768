"""An .onnx file under construction: nodes and constants so far, and where each tensor of the graph lies in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.ops.base import Op
from accelsim.quant import QuantParams

#: order of the axes of an image in the file where it is not the graph's (H, W, C)
CHW = "chw"
TO_CHW, TO_HWC = (0, 3, 1, 2), (0, 2, 3, 1)

Writer = Callable[["Build", Any], None]
#: kind of an operator → what writes it; the modules onnx_nodes* fill it
WRITERS: dict[str, Writer] = {}


def writes(*kinds: str) -> Callable[[Writer], Writer]:
    """Decorator: the function writes operators of these kinds."""

    def register(function: Writer) -> Writer:
        WRITERS.update(dict.fromkeys(kinds, function))
        return function

    return register


class Build:
    """Nodes, constants and shapes so far. places: tensor of the graph → (codes in the file, order of its axes)."""

    def __init__(self, graph: IntegerGraph, costs: dict[str, dict[str, str]]) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shapes: list[Any] = []
        self.places: dict[str, tuple[str, str | None]] = {}
        self.real: dict[str, str] = {}  # tensor of the graph that leaves unquantized → real tensor of the file
        self._costs = costs
        self._names: set[str] = set()
        self._shaped: set[str] = set()
        self._fixed: set[str] = set()  # tensors with the same codes for every sample

    def input(self, tensor: str) -> None:
        """A real input of the file, quantized."""
        self.quantize(tensor, f"{tensor}.codes", self.grid(tensor))
        self.keep(tensor, f"{tensor}.codes")

    def add(self, op: Op) -> None:
        """Write an operator; AccelsimError naming it where it has no form."""
        if op.kind not in WRITERS:
            raise op.refuse(f"has no form in an .onnx file; these have: {', '.join(sorted(WRITERS))}")
        before = len(self.nodes)
        WRITERS[op.kind](self, op)
        made = self.nodes[before:]
        if not made:
            return
        node = next((node for node in made if node.name == f"{op.name}.real"), made[-1])
        notes = {"accelsim_bits": str(self.graph.tensors[op.output].bits), **self._costs.get(op.name, {})}
        weight = getattr(op, "weight_params", None)
        notes |= {} if weight is None else {"accelsim_weight_bits": str(weight.bits)}
        for key, value in notes.items():
            node.metadata_props.add(key=key, value=value)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Of a sample, in the graph's order."""
        return self.graph.tensors[tensor].shape

    def grid(self, tensor: str) -> QuantParams:
        """Unsigned, whatever the graph's: ONNX Runtime has integer kernels for all operators on these alone."""
        params = self.graph.tensors[tensor].params
        if not isinstance(params, QuantParams) or params.axis is not None or params.bits not in (8, 16):
            raise AccelsimError(f"tensor {tensor!r} has no grid of 8 or 16 bits, as .onnx files need")
        return QuantParams(params.scale, params.zero_point + self.moved(tensor), params.bits, False)

    def moved(self, tensor: str) -> int:
        """What is added to codes of the graph to make them unsigned."""
        params = self.graph.tensors[tensor].params
        return 1 << (params.bits - 1) if params.signed else 0

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        name = output
        while name in self._names:
            name += "_"
        self._names.add(name)
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def scales(self, label: str, params: QuantParams) -> list[str]:
        """Names of a quantizer's constants."""
        return [self.constant(f"{label}.scale", np.asarray(params.scale, np.float32)),
                self.constant(f"{label}.zero_point", np.asarray(params.zero_point).astype(params.dtype))]  # fmt: skip

    def quantize(self, source: str, codes: str, params: QuantParams) -> None:
        self.node("QuantizeLinear", [source, *self.scales(codes, params)], codes)

    def dequantize(self, codes: str, label: str, params: QuantParams) -> str:
        return self.node("DequantizeLinear", [codes, *self.scales(label, params)], f"{label}.real")

    def keep(self, tensor: str, codes: str, order: str | None = None, fixed: bool = False) -> None:
        """Codes of the file are a tensor of the graph. fixed: for every sample the same, a batch of one."""
        from onnx import helper

        self.places[tensor] = (codes, order)
        if fixed:
            self._fixed.add(tensor)
            return
        if codes in self._shaped:  # an axis order that costs nothing: the same codes are two tensors of the graph
            return
        self._shaped.add(codes)
        shape: list[int | str] = ["N", *self.shape(tensor)]
        shape = [shape[axis] for axis in TO_CHW] if order == CHW else shape
        kind = helper.np_dtype_to_tensor_dtype(self.grid(tensor).dtype)
        self.shapes.append(helper.make_tensor_value_info(codes, kind, shape))

    def is_image(self, *tensors: str) -> bool:
        """Whether one of them lies in the file as (C, H, W)."""
        return any(self.places[name][1] == CHW for name in tensors)

    def codes(self, op: Op, index: int = 0, image: bool = False, rank: int | None = None) -> str:
        """Codes of an operand in the graph's order, or (C, H, W) where an image is asked for.

        rank: of the result that the operand is broadcast to; axes of length 1 are put before its own.
        """
        tensor = op.inputs[index]
        codes, order = self.places[tensor]
        label, shape = f"{op.name}.{index}", self.shape(tensor)
        if rank is not None and len(shape) < rank:
            ones = [1] * (rank - len(shape))
            target = self.constant(f"{label}.shape", np.array([0, *ones, *shape], np.int64))
            codes = self.node("Reshape", [codes, target], f"{label}.broadcast")
        if (order == CHW) != image:
            codes = self.node("Transpose", [codes], f"{label}.moved", perm=TO_CHW if image else TO_HWC)
        return codes

    def read(self, op: Op, index: int = 0, image: bool = False, rank: int | None = None) -> str:
        """As codes(), dequantized."""
        codes = self.codes(op, index, image, rank)
        return self.dequantize(codes, f"{op.name}.{index}", self.grid(op.inputs[index]))

    def write(self, op: Op, real: str, image: bool, limits: tuple[Any, Any] | None = None) -> None:
        """The quantizer of an operator's result; limits: codes that an activation clamps to."""
        y = self.graph.tensors[op.output].params
        codes = f"{op.output}.codes"
        self.quantize(self.clipped(op, real, limits), codes, self.grid(op.output))
        assert isinstance(y, QuantParams)
        self.keep(op.output, codes, CHW if image else None)

    def clipped(self, op: Op, real: str, limits: tuple[Any, Any] | None) -> str:
        """Real numbers clamped to what codes of the output stand for, where that is not the whole grid."""
        y = self.graph.tensors[op.output].params
        if limits is None or (np.ndim(limits[0]) == np.ndim(limits[1]) == 0 and limits == (y.qmin, y.qmax)):  # type: ignore[union-attr]
            return real
        if any(np.ndim(v) for v in limits):
            raise op.refuse("clamps each channel to limits of its own")
        names = [self.constant(f"{op.name}.limit{i}", np.float32((v - y.zero_point) * y.scale))
                 for i, v in enumerate(limits)]  # fmt: skip
        return self.node("Clip", [real, *names], f"{op.name}.clipped")

    def output(self, tensor: str) -> str:
        """The name of a real output of the file."""
        if tensor in self.real:
            return self.real[tensor]
        codes, order = self.places[tensor]
        if order is not None:
            codes = self.node("Transpose", [codes], f"{tensor}.ordered", perm=TO_HWC)
        if tensor in self._fixed or tensor in self.graph.inputs:
            raise AccelsimError(f"output {tensor!r} is an input, or a constant: nothing is computed")
        return self.node("DequantizeLinear", [codes, *self.scales(f"{tensor}.out", self.grid(tensor))], tensor)
