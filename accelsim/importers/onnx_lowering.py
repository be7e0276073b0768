"""From the nodes of an .onnx file to the operators of an IntegerGraph: what every lowering can ask and emit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from accelsim.importers.onnx_file import FileNode, FileValue, OnnxFile
from accelsim.importers.onnx_values import (
    BITS,
    FILE,
    FLOAT_KERNELS,
    INTEGER_KERNELS,
    NHWC,
    TO,
    Codes,
    RealKnown,
    Shape,
    Unit,
    file_order,
)
from accelsim.importers.registry import SCALES, UnsupportedError
from accelsim.ops.base import Op, TensorInfo
from accelsim.ops.constant import Constant
from accelsim.ops.shape import Transpose
from accelsim.profiles import NumericProfile, OperatorNumerics, load_profile
from accelsim.quant import AccumulatorParams, QuantParams
from accelsim.requant import Requantizer

_MAX_OPS = 1 << 17
_MAX_ELEMENTS = 1 << 30  # of one tensor of one sample


def check_scales(scale: np.ndarray) -> None:
    """UnsupportedError where a scale is so large that what codes stand for leaves float32, or not a number."""
    if not (scale <= SCALES[1]).all():
        raise UnsupportedError(f"scales up to {scale.max():g}, not finite and sane")


class Lowering:
    """The graph under construction, and what is known of every tensor of the file."""

    def __init__(self, file: OnnxFile, profile: NumericProfile) -> None:
        self.file = file
        self.profile = profile
        self.fixed_batch = _batch(file)
        self.batch = self.fixed_batch or 1
        self.ops: list[Op] = []
        self.tensors: dict[str, TensorInfo] = {}
        self.sources: dict[str, int] = {}  # operator of the graph → node of the file
        self.known: dict[str, np.ndarray] = dict(file.constants)
        self.values: dict[str, Any] = {}  # tensor of the file → Codes, Real, RealKnown, Pending, FileValue
        self.inputs: list[str] = []
        self.notes: list[str] = []
        self._names = _public_names(file)
        self._op_names: set[str] = set()

    # what lowerings ask

    def value(self, name: str) -> Any:
        """What is known of a tensor: a constant array or a value; None for a left out input."""
        if not name:
            return None
        return self.known[name] if name in self.known else self.values.get(name)

    def constant(self, node: FileNode, position: int, what: str) -> np.ndarray:
        found = self.optional_constant(node, position, what)
        if found is None:
            raise UnsupportedError(f"has no {what}")
        return found

    def optional_constant(self, node: FileNode, position: int, what: str) -> np.ndarray | None:
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        found = self.value(node.inputs[position])
        if isinstance(found, RealKnown):
            return found.values
        if not isinstance(found, np.ndarray):
            raise UnsupportedError(f"{what} is computed while the network runs; only a constant is read")
        return found

    def numbers(self, node: FileNode, position: int, what: str) -> list[int]:
        """A constant of integers (sizes, axes), flat."""
        values = self.constant(node, position, what)
        if values.dtype.kind not in "iu" or values.size > 64:
            raise UnsupportedError(f"{what} must be a few integers, not {values.dtype} {values.shape}")
        return [int(v) for v in values.reshape(-1)]

    def grid(self, node: FileNode, scale_at: int, zero_at: int, like: np.dtype | None = None) -> QuantParams:
        """The grid of an activation from its constants."""
        scale, zero, bits, signed = self.quantizer(node, scale_at, zero_at, like)
        if scale.size != 1 or zero.size != 1:
            raise UnsupportedError(f"an activation with {scale.size} scales; one is needed")
        if not SCALES[0] <= scale.item() <= SCALES[1]:
            raise UnsupportedError(f"an activation with a scale of {scale.item():g}, not finite and sane")
        return QuantParams(float(scale.item()), int(zero.item()), bits, signed)

    def quantizer(
        self, node: FileNode, scale_at: int, zero_at: int, like: np.dtype | None = None
    ) -> tuple[np.ndarray, np.ndarray, int, bool]:
        """(scale, zero point, bits, signed) of constants; like: type of the codes where there is no zero point."""
        scale = self.constant(node, scale_at, "scale")
        zero = self.optional_constant(node, zero_at, "zero point")
        if scale.dtype.kind != "f" or scale.ndim > 1:
            raise UnsupportedError(f"a scale of {scale.dtype} {scale.shape}; float32, one or one per channel, is read")
        name = node.inputs[zero_at] if zero is not None else ""
        if zero is None:
            zero = np.zeros(scale.shape, like if like is not None else np.uint8)
        check_scales(scale)
        if zero.dtype not in BITS or (zero.shape != scale.shape and zero.size != scale.size):
            raise UnsupportedError(f"a zero point of {zero.dtype} {zero.shape} for a scale of {scale.shape}")
        bits, signed = BITS[zero.dtype]
        return scale.astype(np.float32), zero, 4 if name in self.file.four_bits else bits, signed

    def numerics(self, operator: str, unit: Unit) -> OperatorNumerics:
        profile = self.profile
        if unit.integer and profile.name == FLOAT_KERNELS:
            profile = load_profile(INTEGER_KERNELS)
        return profile.operator(operator).for_activations(unit.grid.bits if unit.y else 8)

    def literal(self, unit: Unit) -> bool:
        """Whether the float node itself is what is computed."""
        return self.profile.name == FLOAT_KERNELS and not unit.integer

    def requantizer(self, unit: Unit, numerics: OperatorNumerics, scales: tuple) -> Requantizer:
        found = Requantizer.from_scale(
            numerics.rescaling, scales, zero_point=unit.grid.zero_point, **unit.clamp, product=numerics.product
        )
        return replace(found, params={**found.params, **numerics.options}) if numerics.options else found

    def place(self, codes: Codes, layout: str) -> str:
        """The graph's tensor of codes in a layout; an explicit transpose where they are in the other one."""
        if len(codes.shape) != 3:
            return codes.places[codes.layout]
        if layout not in codes.places:
            source = codes.places[codes.layout]
            name = self._tensor_name(codes.tensor, layout, len(codes.shape), first=False)
            self._append(Transpose(self.op_name(f"{name}.order"), (source,), name, order=TO[layout]), codes.params)
            codes.places[layout] = name
        return codes.places[layout]

    def same_layout(self, operands: Sequence[Codes]) -> str:
        """The layout in which operands meet with the fewest transposes."""
        images = [c for c in operands if len(c.shape) == 3]
        return NHWC if any(c.layout == NHWC for c in images) else FILE

    # what lowerings emit

    def emit(
        self,
        cls: type[Op],
        node: FileNode,
        inputs: Sequence[str],
        output: str,
        params: QuantParams | AccumulatorParams,
        layout: str = FILE,
        /,
        **fields: Any,
    ) -> Codes:
        """Append the operator that defines a tensor of the file."""
        shape = cls("", tuple(inputs), "", **fields).output_shape([self.tensors[n].shape for n in inputs])
        name = self._tensor_name(output, layout, len(shape), first=True)
        self._append(cls(self.op_name(node.name or f"{node.kind}_{node.index}"), tuple(inputs), name, **fields), params)
        self.sources[self.ops[-1].name] = node.index
        codes = Codes(output, file_order(shape, layout), params, {layout: name})
        self.values[output] = codes
        return codes

    def between(
        self, cls: type[Op], node: FileNode, inputs: Sequence[str], params: QuantParams, /, **fields: Any
    ) -> str:
        """Append an operator whose tensor the file does not name; returns the tensor's name."""
        name = self.op_name(node.name or f"{node.kind}_{node.index}")
        tensor = self._unique(f"{name}.codes")
        self._append(cls(name, tuple(inputs), tensor, **fields), params)
        self.sources[name] = node.index
        return tensor

    def define_input(self, name: str, tensor: str, shape: Shape, params: QuantParams) -> Codes:
        """A graph input of codes; name: of the file's input, tensor: of its codes."""
        self.tensors[name] = TensorInfo(shape, params)
        self.inputs.append(name)
        return Codes(tensor, shape, params, {FILE: name})

    def constant_codes(self, node: FileNode, known: RealKnown, layout: str, rank: int) -> tuple[str, QuantParams]:
        """A constant operand as a tensor of the graph, in the layout of operands of that rank."""
        if known.scale.size != 1:
            raise UnsupportedError(f"the constant {known.name!r} has {known.scale.size} scales")
        values = known.codes
        while values.ndim > rank and values.shape[0] == 1:
            values = values[0]
        if values.ndim > rank:
            raise UnsupportedError(f"the constant {known.name!r} of shape {known.codes.shape} has a batch")
        if layout == NHWC and rank == 3:
            values = values.reshape((1,) * (3 - values.ndim) + values.shape).transpose(TO[NHWC])
        params = QuantParams(float(known.scale.item()), int(known.zero_point.item()), known.bits, known.signed)
        tensor = self._unique(known.name)
        self._append(Constant(self.op_name(f"{known.name}.constant"), (), tensor,
                              values=np.ascontiguousarray(values, params.dtype)), params)  # fmt: skip
        self.sources[self.ops[-1].name] = node.index
        return tensor, params

    def op_name(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._op_names:
            count += 1
            name = f"{wanted}.{count}"
        self._op_names.add(name)
        return name

    def graph_name(self, tensor: str) -> str:
        """What the graph calls the codes of a tensor of the file."""
        return self._names.get(tensor, tensor)

    def _tensor_name(self, tensor: str, layout: str, rank: int, first: bool) -> str:
        plain = self.graph_name(tensor)
        outside = plain in self._outputs and rank == 3  # what leaves is in the file's order
        if (layout == FILE) if outside else first:
            return self._unique(plain)
        return self._unique(f"{plain}.{layout}")

    @property
    def _outputs(self) -> set[str]:
        return {value.name for value in self.file.outputs}

    def _unique(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.tensors:
            count += 1
            name = f"{wanted}#{count}"
        return name

    def _append(self, op: Op, params: QuantParams | AccumulatorParams) -> None:
        shape = tuple(op.output_shape([self.tensors[name].shape for name in op.inputs]))
        if math.prod(shape) > _MAX_ELEMENTS or len(self.ops) >= _MAX_OPS:
            raise UnsupportedError(f"asks for a tensor of shape {shape}, or more than {_MAX_OPS} operators")
        self.ops.append(op)
        self.tensors[op.output] = TensorInfo(shape, params)


def _batch(file: OnnxFile) -> int | None:
    """The file's fixed batch; None where it is not fixed."""
    leading = {value.shape[0] for value in file.inputs if value.shape}
    batch = leading.pop() if len(leading) == 1 else None
    return batch if batch and 0 < batch <= 1 << 20 else None


def _public_names(file: OnnxFile) -> dict[str, str]:
    """Codes that stand for a real input or output of the file carry its name."""
    inputs = {value.name for value in file.inputs}
    outputs = {value.name for value in file.outputs}
    names: dict[str, str] = {}
    for node in file.nodes:
        if not node.inputs or not node.outputs:
            continue
        if node.kind == "DequantizeLinear" and node.outputs[0] in outputs and node.inputs[0] not in outputs:
            names.setdefault(node.inputs[0], node.outputs[0])
        if node.kind == "QuantizeLinear" and node.inputs[0] in inputs:
            names.setdefault(node.outputs[0], node.inputs[0])
    return names


def input_shape(value: FileValue, batch: int) -> Shape:
    """Shape of one sample; UnsupportedError where it is not recorded or not fixed."""
    if not value.shape:
        raise UnsupportedError("has no recorded shape, or no batch")
    if any(size is None or size < 1 for size in value.shape[1:]):
        raise UnsupportedError(f"shape {value.shape}: only the batch may be left open; fix the others with "
                               "onnxruntime.tools.make_dynamic_shape_fixed")  # fmt: skip
    shape = tuple(int(size or 0) for size in value.shape[1:])
    if math.prod(shape) > _MAX_ELEMENTS or len(shape) > 7:
        raise UnsupportedError(f"shape {value.shape}")
    return shape


def limits(node: FileNode, to: Lowering) -> tuple[float, float]:
    """The real range of Relu or Clip."""
    if node.kind == "Relu":
        return 0.0, math.inf
    low, high = (to.optional_constant(node, place, "limit") for place in (1, 2))
    if any(v is not None and v.size != 1 for v in (low, high)):
        raise UnsupportedError("clips by more than one number")
    return -math.inf if low is None else float(low.item()), math.inf if high is None else float(high.item())
