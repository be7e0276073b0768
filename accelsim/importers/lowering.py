"""From the operators of a file to those of an IntegerGraph: what every operator's lowering can ask and emit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from accelsim.importers.registry import UnsupportedError
from accelsim.importers.tflite_file import FileOperator, FileTensor, TfliteFile
from accelsim.importers.tflite_grids import CODES, grid
from accelsim.ops.base import Op, TensorInfo
from accelsim.ops.constant import Constant
from accelsim.ops.function_parameters import fixed_point
from accelsim.ops.shape import Reshape
from accelsim.profiles import NumericProfile, OperatorNumerics, load_profile
from accelsim.quant import QuantParams
from accelsim.requant import Requantizer, effective_scale

Shape = tuple[int, ...]
#: operators that compute row by row, whatever the first axis counts
_ROWS = {
    "RESHAPE", "FULLY_CONNECTED", "QUANTIZE", "DEQUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC",
    "TANH", "HARD_SWISH", "GELU", "ELU", "LEAKY_RELU", "SOFTMAX",
}  # fmt: skip
#: operators that align their operands' last axes
_BROADCASTS = {"ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "BATCH_MATMUL", "PRELU"}


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
        self.unique = _unique_names(file)
        self.names: dict[int, str] = {}  # tensor of the file → tensor of the graph
        self._part = 0

    def begin(self) -> None:
        """The next operator of the file: those that it becomes are numbered from one."""
        self._part = 0

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
        name = self.unique[tensor.index]
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

    def emit(
        self,
        cls: type[Op],
        op: FileOperator,
        inputs: Sequence[str],
        output: int,
        on: QuantParams | None = None,
        **fields: Any,
    ) -> None:
        """Append the operator that defines a tensor of the file; on: its grid where the file gives it none."""
        name, params = self.unique[output], on or self.params(output)
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
        tensor = f"{self.unique[op.outputs[0]]}.{self._part}"
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


def _shapes(file: TfliteFile) -> tuple[int, list[Shape]]:
    """The file's batch, and every tensor's shape at batch 1."""
    shapes = [tensor.shape for tensor in file.tensors]
    leading = {shapes[index][0] if len(shapes[index]) > 1 else 1 for index in file.inputs}
    batch = leading.pop() if len(leading) == 1 else 1
    moving = [tensor for tensor in file.tensors if tensor.constant is None and tensor.shape]
    if batch <= 1 or not _by_sample(file, batch):
        return 1, shapes  # something in it is not per sample: one sample is a whole invocation
    for tensor in moving:
        shapes[tensor.index] = (tensor.shape[0] // batch, *tensor.shape[1:])
    return batch, shapes


def _by_sample(file: TfliteFile, batch: int) -> bool:
    """Whether the first axis of all codes is the batch, or the batch's rows where every row is computed alone."""
    for op in file.operators:
        touched = [file.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
        codes = [tensor for tensor in touched if tensor.constant is None and tensor.type in CODES]
        if any(not tensor.shape or tensor.shape[0] % batch for tensor in codes):
            return False
        rows = all(len(tensor.shape) > 1 for tensor in codes)
        if any(tensor.shape[0] != batch for tensor in codes) and not (rows and op.kind in _ROWS):
            return False
        if len({len(tensor.shape) for tensor in codes}) > 1 and op.kind in _BROADCASTS:
            return False  # the first axis of the operand of lower rank is another one
    return True


def _unique_names(file: TfliteFile) -> list[str]:
    seen: set[str] = set()
    names = []
    for tensor in file.tensors:
        name = tensor.name if tensor.name not in seen else f"{tensor.name}#{tensor.index}"
        seen.add(name)
        names.append(name)
    return names
