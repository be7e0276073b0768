"""From the operators of a file to those of an IntegerGraph: what every operator's lowering can ask and emit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers.tflite_file import FileOperator, FileTensor, TfliteFile
from accelsim.ops.base import Op, TensorInfo
from accelsim.ops.constant import Constant
from accelsim.ops.function_parameters import fixed_point
from accelsim.ops.shape import Reshape
from accelsim.profiles import NumericProfile, OperatorNumerics, load_profile
from accelsim.quant import QuantParams
from accelsim.requant import Requantizer, effective_scale

Shape = tuple[int, ...]
_BITS = {"INT4": (4, True), "INT8": (8, True), "UINT8": (8, False), "INT16": (16, True), "UINT16": (16, False)}
#: fused activations by number: name, real range. Source: LiteRT schema.fbs, ActivationFunctionType
_CLAMPS = {0: ("NONE", None, None), 1: ("RELU", 0.0, None), 2: ("RELU_N1_TO_1", -1.0, 1.0), 3: ("RELU6", 0.0, 6.0)}
_MAX_NODES = 1 << 16
#: scales outside are no quantization: their products leave float32
_SCALES = (2.0**-40, 2.0**40)


class UnsupportedError(Exception):
    """An operator, or a use of one, that cannot be lowered; the text completes "operator 3 (FOO): …"."""


Lower = Callable[[FileOperator, "Lowering"], None]
#: operator of the file → its lowering; the modules tflite_* fill it
LOWERINGS: dict[str, Lower] = {}


def lowers(*kinds: str) -> Callable[[Lower], Lower]:
    """Registers a function as the lowering of operators of a file."""

    def register(function: Lower) -> Lower:
        LOWERINGS.update(dict.fromkeys(kinds, function))
        return function

    return register


#: operands that an operator cannot do without, where they are more than one
_OPERANDS = {
    "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3, "FULLY_CONNECTED": 2, "BATCH_MATMUL": 2, "ADD": 2,
    "SUB": 2, "MUL": 2, "MAXIMUM": 2, "MINIMUM": 2, "MEAN": 2, "SUM": 2, "TRANSPOSE": 2, "PAD": 2, "PADV2": 2,
    "MIRROR_PAD": 2, "SLICE": 3, "STRIDED_SLICE": 4, "SPLIT": 2, "SPLIT_V": 3, "GATHER": 2,
}  # fmt: skip


class Lowering:
    """The graph under construction.

    A sample is one invocation of the file: the leading axis of length 1 is the batch and is left out of shapes;
    a tensor whose leading axis is longer belongs to the sample as a whole (sample_shape()). A file of a larger
    fixed batch is read as one of batch 1, unless a sample is to be a whole invocation.
    """

    def __init__(self, file: TfliteFile, profile: NumericProfile, whole: bool = False) -> None:
        self.file = file
        self.profile = profile
        self.batch, self.shapes = (1, [tensor.shape for tensor in file.tensors]) if whole else _shapes(file)
        self.ops: list[Op] = []
        self.tensors: dict[str, TensorInfo] = {}
        self.sources: dict[str, int] = {}  # operator of the graph → operator of the file
        self._unique = _unique_names(file)
        self.names: dict[int, str] = {}  # tensor of the file → tensor of the graph
        self._unknown: set[int] = set()
        self._values: set[int] = set()  # shapes that are computed in the file
        self._operator: FileOperator | None = None
        self._part = 0

    def build(self, name: str, notes: Sequence[str]) -> IntegerGraph:
        """The whole graph. AccelsimError lists everything in the file that cannot be lowered."""
        problems: list[str] = []
        inputs = [self._input(index, problems) for index in self.file.inputs]
        for op in self.file.operators:
            self._operator, self._part = op, 0
            if op.kind not in LOWERINGS:
                problem = None if self._computes_shapes(op) else "is not supported"
            elif self._unknown & set(op.inputs):
                problem = None  # what follows an operator that failed
                self._unknown |= set(op.outputs)
            elif self._computes_shapes(op):
                problem = None
            else:
                problem = self._lower(op)
            if problem is not None:
                problems.append(f"{op.where}: {problem}")
                self._unknown |= set(op.outputs)
            if len(self.ops) > _MAX_NODES:
                raise AccelsimError(f"{self.file.path} asks for more than {_MAX_NODES} operators")
        outputs = []
        for index in self.file.outputs:
            if index in self.names:
                outputs.append(self.names[index])
            elif not problems:
                problems.append(f"output {self.file.tensors[index].name!r} is never computed as codes")
        if problems:
            unique = list(dict.fromkeys(problems))
            shown = "; ".join(unique[:20]) + (f"; and {len(unique) - 20} more" if len(unique) > 20 else "")
            raise AccelsimError(
                f"{self.file.path} under profile {self.profile.name!r} needs what is not there: {shown}"
            )
        used = {name for op in self.ops for name in (*op.inputs, op.output)} | set(outputs)
        return IntegerGraph(
            ops=tuple(self.ops),
            inputs=tuple(dict.fromkeys(name for name in inputs if name is not None)),
            outputs=tuple(dict.fromkeys(outputs)),
            tensors={name: info for name, info in self.tensors.items() if name in used or name in inputs},
            profile=self.profile.name,
            name=name,
            notes=tuple(notes),
        )

    def _lower(self, op: FileOperator) -> str | None:
        touched = {self.file.tensors[i].type for i in (*op.inputs, *op.outputs) if i >= 0}
        if op.kind not in ("QUANTIZE", "DEQUANTIZE") and touched & {"UINT8", "UINT16"}:
            return "computes with unsigned codes; those of signed 8 and 16 bits are known"
        before, wanted = len(self.ops), _OPERANDS.get(op.kind, 1)
        if len(op.inputs) < wanted or not op.outputs or min(*op.inputs[:wanted], *op.outputs, 0) < 0:
            return f"has operands {op.inputs} and results {op.outputs}; it needs {wanted} and at least 1"
        try:
            LOWERINGS[op.kind](op, self)
        except (UnsupportedError, AccelsimError) as error:
            del self.ops[before:]
            return str(error)
        except (ValueError, OverflowError) as error:  # parameters that no kernel takes
            del self.ops[before:]
            return str(error)
        return None

    def _input(self, index: int, problems: list[str]) -> str | None:
        tensor = self.file.tensors[index]
        if any(axis > 0 for axis in tensor.dynamic):
            problems.append(f"input {tensor.name!r}: axes {tensor.dynamic} of {tensor.shape} have no fixed length")
            self._unknown.add(index)
            return None
        if tensor.type == "FLOAT32":  # its QUANTIZE operator defines the input of the graph
            readers = [op for op in self.file.operators if index in op.inputs]
            grids = {op.outputs[0] for op in readers if op.kind == "QUANTIZE" and len(op.outputs) == 1}
            if len(grids) == 1 and all(op.kind == "QUANTIZE" for op in readers):
                (quantized,) = grids
                if self.file.tensors[quantized].type in _BITS:
                    return self._define_input(quantized, problems)
            problems.append(f"input {tensor.name!r} is FLOAT32, and not turned into codes by one QUANTIZE operator")
        elif tensor.type in ("INT32", "INT64"):
            return self._define_input(index, problems, QuantParams(1.0, 0, 16, False))
        elif tensor.type in _BITS:
            return self._define_input(index, problems)
        else:
            problems.append(f"input {tensor.name!r} is {tensor.type}")
        self._unknown.add(index)
        return None

    def _define_input(self, index: int, problems: list[str], params: QuantParams | None = None) -> str | None:
        name = self._unique[index]
        if index in self.names:
            return name
        try:
            self.tensors[name] = TensorInfo(self.sample_shape(index), params or self.params(index))
        except (UnsupportedError, AccelsimError) as error:
            problems.append(f"input {name!r}: {error}")
            self._unknown.add(index)
            return None
        self.names[index] = name
        return name

    def _computes_shapes(self, op: FileOperator) -> bool:
        """Whether an operator only computes with shapes: what it gives is recorded in the file already."""
        wide = all(self.file.tensors[index].type in ("INT32", "INT64") for index in op.outputs)
        known = all(i in self._values or i < 0 or self.file.tensors[i].constant is not None for i in op.inputs)
        if not op.outputs or not wide or not (known or op.kind == "SHAPE"):
            return False
        self._values |= set(op.outputs)
        return True

    # what lowerings ask

    def tensor(self, op: FileOperator, position: int, of: str = "inputs") -> FileTensor:
        """An operand; UnsupportedError where the operator has fewer."""
        numbers = getattr(op, of)
        if position >= len(numbers) or numbers[position] < 0:
            raise UnsupportedError(f"has no {of[:-1]} {position}")
        return self.file.tensors[numbers[position]]

    def output(self, op: FileOperator, position: int = 0) -> FileTensor:
        return self.tensor(op, position, "outputs")

    def optional(self, op: FileOperator, position: int) -> FileTensor | None:
        absent = position >= len(op.inputs) or op.inputs[position] < 0
        return None if absent else self.file.tensors[op.inputs[position]]

    def constant(self, op: FileOperator, position: int, what: str) -> np.ndarray:
        """Values that the file holds."""
        values = self.tensor(op, position).constant
        if values is None:
            raise UnsupportedError(f"{what} is computed while the network runs; only a constant is read")
        return values

    def numbers(self, op: FileOperator, position: int, what: str) -> list[int]:
        """A constant of integers (sizes, axes), flat."""
        values = self.constant(op, position, what)
        if values.dtype.kind not in "iu" or values.size > 64:
            raise UnsupportedError(f"{what} must be a few integers, not {values.dtype} {values.shape}")
        return [int(v) for v in values.reshape(-1)]

    def options(self, op: FileOperator, kind: str) -> Any:
        """The operator's options; UnsupportedError where they are missing or another operator's."""
        if type(op.options).__name__ != kind:
            raise UnsupportedError(f"has no {kind}")
        return op.options

    def params(self, index: int) -> QuantParams:
        """The grid of an activation."""
        return grid(self.file.tensors[index])

    def full_shape(self, index: int) -> Shape:
        """As recorded in the file, at batch 1."""
        return self.shapes[index]

    def sample_shape(self, index: int) -> Shape:
        """Without the batch."""
        shape = self.shapes[index]
        return shape[1:] if shape and shape[0] == 1 else shape

    def leads(self, index: int) -> bool:
        """Whether the first axis of the file's tensor is the batch, which samples do not have."""
        return self.shapes[index][:1] == (1,)

    def axis(self, index: int, axis: int, what: str = "axis") -> int:
        """An axis of the file's tensor as one of the sample, -1 for the batch; UnsupportedError outside its rank."""
        shape = self.shapes[index]
        if not -len(shape) <= axis < len(shape):
            raise UnsupportedError(f"{what} {axis} of a tensor of shape {shape}")
        return axis % len(shape) - self.leads(index)

    def input(self, op: FileOperator, position: int) -> str:
        """The graph's name of an operand; a constant becomes an operator of its own."""
        tensor = self.tensor(op, position)
        if tensor.index in self.names:
            return self.names[tensor.index]
        if tensor.constant is None:
            raise UnsupportedError(f"reads {tensor.name!r}, which nothing before it computes as codes")
        name = self._unique[tensor.index]
        shape = tensor.shape or (1,)
        while len(shape) > 1 and shape[0] == 1:  # right-aligned, leading axes of length 1 say nothing
            shape = shape[1:]
        params = grid(tensor)
        values = np.array(tensor.constant, dtype=params.dtype, order="C").reshape(shape)
        self.tensors[name] = TensorInfo(shape, params)
        self.ops.append(Constant(f"constant_{tensor.index}", (), name, values=values))
        self.sources[f"constant_{tensor.index}"] = op.index
        self.names[tensor.index] = name
        return name

    def numerics(self, operator: str, bits: int = 8, delegated: bool = True) -> OperatorNumerics:
        """The arithmetic of an operator; that of the fallback where a delegate leaves this use of it alone."""
        return self._whose(bits, delegated).operator(operator).for_activations(bits)

    def defines(self, operator: str, bits: int = 8, delegated: bool = True) -> bool:
        """Whether the profile that computes an operator has an arithmetic of its own for it."""
        return operator in self._whose(bits, delegated).operators

    def _whose(self, bits: int, delegated: bool) -> NumericProfile:
        leaves = self.profile.fallback is not None and (not delegated or not self.profile.has_width(bits))
        return load_profile(self.profile.fallback) if leaves else self.profile

    def requantizer(
        self, operator: OperatorNumerics, scales: tuple[Any, Any, Any], y: QuantParams, clamp: Mapping[str, int]
    ) -> Requantizer:
        """Of the product of three scales to the grid y, by the profile's arithmetic."""
        if operator.scheme is None:
            raise UnsupportedError(f"profile {self.profile.name!r} names no scheme for it")
        if operator.fraction_bits is not None:
            params = fixed_point(effective_scale(*scales, operator.product), operator.fraction_bits)
            return Requantizer(operator.scheme, params, y.zero_point, **clamp)
        found = Requantizer.from_scale(
            operator.scheme, scales, zero_point=y.zero_point, **clamp, product=operator.product
        )
        return replace(found, params={**found.params, **operator.options}) if operator.options else found

    # what lowerings emit

    def emit(self, cls: type[Op], op: FileOperator, inputs: Sequence[str], output: int, **fields: Any) -> None:
        """Append the operator that defines a tensor of the file."""
        name, params = self._unique[output], self.params(output)
        if name in self.tensors:
            raise UnsupportedError(f"defines {name!r} a second time")
        wanted = self.sample_shape(output)
        made = cls(self._op_name(op), tuple(inputs), name, **fields)
        shape = tuple(made.output_shape([self.tensors[n].shape for n in inputs]))
        if shape == wanted or not self.shapes[output]:
            self._append(op, made, TensorInfo(shape, params))
        elif [n for n in shape if n != 1] == [n for n in wanted if n != 1]:
            inner = f"{name}.unshaped"
            self._append(op, replace(made, output=inner), TensorInfo(shape, params))
            self._append(op, Reshape(self._op_name(op), (inner,), name, shape=wanted), TensorInfo(wanted, params))
        else:
            raise UnsupportedError(f"gives the shape {shape}, the file records {wanted}")
        self.names[output] = name

    def between(
        self, cls: type[Op], op: FileOperator, inputs: Sequence[str], params: QuantParams | None = None, **fields: Any
    ) -> str:
        """Append an operator whose tensor the file does not name; returns the tensor's name."""
        name = self._op_name(op)
        tensor = f"{self._unique[op.outputs[0]]}.{self._part}"
        made = cls(name, tuple(inputs), tensor, **fields)
        shape = tuple(made.output_shape([self.tensors[n].shape for n in inputs]))
        self._append(op, made, TensorInfo(shape, params or self.tensors[inputs[0]].params))
        return tensor

    def reshaped(self, op: FileOperator, source: str, shape: Shape) -> str:
        """The same codes in another shape; the tensor itself where it has it."""
        return source if self.tensors[source].shape == shape else self.between(Reshape, op, [source], shape=shape)

    def alias(self, op: FileOperator, source: str, output: int) -> None:
        """The output is the input under another name."""
        self.names[output] = source

    def _append(self, op: FileOperator, made: Op, info: TensorInfo) -> None:
        if info.elements > math.prod(self.shapes[op.outputs[0]]) + (1 << 28):
            raise UnsupportedError(f"asks for a tensor of {info.elements} elements")
        self.ops.append(made)
        self.tensors[made.output] = info
        self.sources[made.name] = op.index

    def _op_name(self, op: FileOperator) -> str:
        self._part += 1
        name = f"{op.kind.lower()}_{op.index}"
        return name if self._part == 1 else f"{name}.{self._part}"


def grid(tensor: FileTensor) -> QuantParams:
    """The grid of a tensor with one scale; UnsupportedError where it has none or more."""
    if tensor.type not in _BITS:
        raise UnsupportedError(f"tensor {tensor.name!r} is {tensor.type}, not codes")
    if len(tensor.scale) != 1:
        raise UnsupportedError(f"tensor {tensor.name!r} has {len(tensor.scale)} scales, one is needed")
    if not _SCALES[0] <= tensor.scale[0] <= _SCALES[1]:
        raise UnsupportedError(f"tensor {tensor.name!r} has scale {tensor.scale[0]}, not finite and sane")
    bits, signed = _BITS[tensor.type]
    return QuantParams(float(tensor.scale[0]), int(tensor.zero_point[0]), bits, signed)


def weight_grid(tensor: FileTensor, axis: int, channels: int) -> QuantParams:
    """The grid of weights whose output channels run along `axis` of the file, along axis 0 in the graph."""
    if tensor.type not in _BITS or len(tensor.scale) not in (1, channels):
        raise UnsupportedError(f"weights {tensor.name!r} of type {tensor.type} with {len(tensor.scale)} scales")
    if not (tensor.scale <= _SCALES[1]).all():
        raise UnsupportedError(f"weights {tensor.name!r} have scales up to {tensor.scale.max()}")
    bits, signed = _BITS[tensor.type]
    if len(tensor.scale) == 1:
        return QuantParams(float(tensor.scale[0]), int(tensor.zero_point[0]), bits, signed)
    if tensor.axis != axis:
        raise UnsupportedError(f"weights {tensor.name!r} have their scales along axis {tensor.axis}, not {axis}")
    return QuantParams(tensor.scale.astype(np.float64), tensor.zero_point, bits, signed, axis=0)


def clamp_codes(activation: int, y: QuantParams) -> dict[str, int]:
    """qmin, qmax of a fused activation: zero_point + round(limit / scale) in float32, ties away.

    Source: TensorFlow Lite kernel_util.cc, CalculateActivationRangeQuantized.
    """
    if activation not in _CLAMPS:
        raise UnsupportedError(f"fused activation {activation} is not a clamp")
    _, lower, upper = _CLAMPS[activation]
    return real_clamp(lower, upper, y)


def real_clamp(lower: float | None, upper: float | None, y: QuantParams) -> dict[str, int]:
    """qmin, qmax of a range of real numbers on a grid; see clamp_codes()."""
    qmin, qmax = y.qmin, y.qmax
    if lower is not None:
        qmin = max(qmin, y.zero_point + _round_away(np.float32(lower) / np.float32(y.scale)))
    if upper is not None:
        qmax = min(qmax, y.zero_point + _round_away(np.float32(upper) / np.float32(y.scale)))
    return {"qmin": min(qmin, y.qmax), "qmax": max(qmax, y.qmin)}


def _round_away(value: np.floating) -> int:
    magnitude = int(np.floor(min(abs(float(value)), 2.0**40) + 0.5))
    return -magnitude if value < 0 else magnitude


def _shapes(file: TfliteFile) -> tuple[int, list[Shape]]:
    """The file's batch, and every tensor's shape at batch 1."""
    shapes = [tensor.shape for tensor in file.tensors]
    leading = {shapes[index][0] if len(shapes[index]) > 1 else 1 for index in file.inputs}
    batch = leading.pop() if len(leading) == 1 else 1
    if batch <= 1:
        return 1, shapes
    moving = [tensor for tensor in file.tensors if tensor.constant is None and tensor.shape]
    if any(tensor.shape[0] % batch for tensor in moving if tensor.type in _BITS):
        return 1, shapes  # something in it is not per sample: one sample is a whole invocation
    for tensor in moving:
        shapes[tensor.index] = (tensor.shape[0] // batch, *tensor.shape[1:])
    return batch, shapes


def _unique_names(file: TfliteFile) -> list[str]:
    seen: set[str] = set()
    names = []
    for tensor in file.tensors:
        name = tensor.name if tensor.name not in seen else f"{tensor.name}#{tensor.index}"
        seen.add(name)
        names.append(name)
    return names
