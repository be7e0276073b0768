"""A .tflite file as plain values: tensors, constants, operators. Nothing of TensorFlow is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers.flatbuffer import CorruptError, verify
from accelsim.importers.tflite_layout import layout, options

MAX_ELEMENTS = 1 << 28  # of one tensor: what a file may claim without holding it
MAX_RANK = 8
_IDENTIFIER = b"TFL3"
_VERSION = 3
#: types whose values are read from buffers; INT4 is unpacked
_TYPES: dict[str, np.dtype[Any]] = {
    "FLOAT32": np.dtype("<f4"),
    "INT32": np.dtype("<i4"),
    "UINT8": np.dtype("u1"),
    "INT64": np.dtype("<i8"),
    "INT16": np.dtype("<i2"),
    "INT8": np.dtype("i1"),
    "BOOL": np.dtype("?"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
}


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor of the file. shape: as recorded (the batch included); dynamic: axes of unknown length.

    scale: float32, 1-D, empty where the tensor is not quantized; zero_point: int64 of the same length; axis: of
    the scales. constant: its values where the file holds them (4-bit codes as int8).
    """

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    dynamic: tuple[int, ...]
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int
    constant: np.ndarray | None


@dataclass(frozen=True, eq=False)
class FileOperator:
    """An operator of the file. inputs, outputs: tensor numbers, -1 where an optional input is left out."""

    index: int
    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any

    @property
    def where(self) -> str:
        return f"operator {self.index} ({self.kind})"


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """The main subgraph of a file."""

    path: str
    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(path: str | Path) -> TfliteFile:
    """Read and check a .tflite file. Raises AccelsimError naming it where it is missing, corrupt or absurd."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AccelsimError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_tflite(data, str(path))


def parse_tflite(data: bytes, path: str = "model.tflite") -> TfliteFile:
    """As read_tflite(), from the bytes of a file."""
    if data[4:8] != _IDENTIFIER:
        raise AccelsimError(f"{path} is no .tflite file: its identifier is {data[4:8]!r}, not {_IDENTIFIER!r}")
    try:
        verify(data, layout(), "Model")
        return _Reader(data, path).file()
    except CorruptError as error:
        raise AccelsimError(f"{path} is truncated or corrupt: {error}") from error


class _Reader:
    def __init__(self, data: bytes, path: str) -> None:
        import tflite

        self.data = data
        self.path = path
        self.model = tflite.Model.GetRootAsModel(data, 0)
        self.budget = 4 * len(data) + 1024  # bytes that constants may take: buffers can be shared

    def file(self) -> TfliteFile:
        model = self.model
        if model.Version() != _VERSION:
            raise CorruptError(f"schema version {model.Version()}, only {_VERSION} is known")
        if model.SubgraphsLength() == 0:
            raise CorruptError("it holds no graph")
        graph = model.Subgraphs(0)
        tensors = tuple(self.tensor(graph.Tensors(i), i) for i in range(graph.TensorsLength()))
        count = len(tensors)
        operators = tuple(self.operator(graph.Operators(i), i, count) for i in range(graph.OperatorsLength()))
        inputs, outputs = _numbers(graph, "Inputs"), _numbers(graph, "Outputs")
        for index in (*inputs, *outputs):
            if not 0 <= index < count:
                raise CorruptError(f"an input or output is tensor {index} of {count}")
        return TfliteFile(self.path, tensors, operators, inputs, outputs)

    def operator(self, operator: Any, index: int, tensors: int) -> FileOperator:
        number = operator.OpcodeIndex()
        if number >= self.model.OperatorCodesLength():
            raise CorruptError(f"operator {index} has code {number} of {self.model.OperatorCodesLength()}")
        code = self.model.OperatorCodes(number)
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = _operator_names().get(builtin, f"BUILTIN_{builtin}")
        if kind == "CUSTOM":
            kind = f"CUSTOM {(code.CustomCode() or b'').decode('utf-8', 'replace')!r}"
        inputs, outputs = _numbers(operator, "Inputs"), _numbers(operator, "Outputs")
        for tensor in (*inputs, *outputs):
            if not -1 <= tensor < tensors:
                raise CorruptError(f"operator {index} ({kind}) names tensor {tensor} of {tensors}")
        return FileOperator(index, kind, code.Version(), inputs, outputs, _options(operator))

    def tensor(self, tensor: Any, index: int) -> FileTensor:
        raw = tensor.Name()
        name = raw.decode("utf-8", "replace") if raw else f"tensor{index}"
        shape = _numbers(tensor, "Shape")
        signature = _numbers(tensor, "ShapeSignature")
        what = f"tensor {index} ({name!r:.80})"
        if len(shape) > MAX_RANK:
            raise CorruptError(f"{what} has {len(shape)} axes, at most {MAX_RANK} are read")
        if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise CorruptError(f"{what} has shape {shape}: negative, or more than {MAX_ELEMENTS} elements")
        kind = _type_names().get(tensor.Type(), f"type {tensor.Type()}")
        if tensor.Sparsity() is not None:
            kind = f"sparse {kind}"
        scale, zero_point, axis = self.quantization(tensor, what)
        return FileTensor(
            index=index,
            name=name,
            type=kind,
            shape=shape,
            dynamic=tuple(a for a, size in enumerate(signature[: len(shape)]) if size < 0),
            scale=scale,
            zero_point=zero_point,
            axis=axis,
            constant=self.constant(tensor, kind, shape, what),
        )

    def quantization(self, tensor: Any, what: str) -> tuple[np.ndarray, np.ndarray, int]:
        found = tensor.Quantization()
        if found is None or found.ScaleLength() == 0:
            return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        scale = np.array(found.ScaleAsNumpy(), np.float32)
        zero_point = np.zeros(len(scale), np.int64)
        if found.ZeroPointLength():
            zero_point = np.array(found.ZeroPointAsNumpy(), np.int64)
            if len(zero_point) == 1:
                zero_point = np.repeat(zero_point, len(scale))
        if len(zero_point) != len(scale):
            raise CorruptError(f"{what} has {len(scale)} scales and {len(zero_point)} zero points")
        return scale, zero_point, found.QuantizedDimension()

    def constant(self, tensor: Any, kind: str, shape: tuple[int, ...], what: str) -> np.ndarray | None:
        number = tensor.Buffer()
        if number >= self.model.BuffersLength():
            raise CorruptError(f"{what} has buffer {number} of {self.model.BuffersLength()}")
        buffer = self.model.Buffers(number)
        if buffer.Offset() > 1:  # stored behind the tables, as files above 2 GB are
            start, size = buffer.Offset(), buffer.Size()
            if start + size > len(self.data):
                raise CorruptError(f"{what}: bytes {start} to {start + size} of a file of {len(self.data)}")
            raw = np.frombuffer(self.data, np.uint8, size, start)
        elif buffer.DataLength():
            raw = np.frombuffer(buffer.DataAsNumpy(), np.uint8)
        else:
            return None
        self.budget -= raw.size
        if self.budget < 0:
            raise CorruptError("its constants add up to many times its size")
        count = math.prod(shape)
        if kind == "INT4":
            if raw.size != (count + 1) // 2:
                raise CorruptError(f"{what} of shape {shape} holds {raw.size} bytes")
            return _nibbles(raw, count).reshape(shape)
        if kind not in _TYPES:
            return np.zeros(0, np.uint8)  # a constant, of a type that no operator here reads
        if raw.size != count * _TYPES[kind].itemsize:
            raise CorruptError(f"{what} of shape {shape} and type {kind} holds {raw.size} bytes")
        return raw.view(_TYPES[kind]).reshape(shape)


def _numbers(table: Any, field: str) -> tuple[int, ...]:
    if getattr(table, f"{field}Length")() == 0:
        return ()
    return tuple(getattr(table, f"{field}AsNumpy")().tolist())


def _options(operator: Any) -> Any:
    """The operator's table of options, None where it has none that is read."""
    import tflite

    name, found = options().get(operator.BuiltinOptionsType()), operator.BuiltinOptions()
    if name is None or found is None:
        return None
    table = getattr(tflite, name)()
    table.Init(found.Bytes, found.Pos)
    return table


def _nibbles(raw: np.ndarray, count: int) -> np.ndarray:
    """Signed 4-bit codes: element 2k in the low half of byte k."""
    pairs = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[:count].astype(np.int8)
    return np.where(pairs > 7, pairs - 16, pairs).astype(np.int8)


@cache
def _operator_names() -> dict[int, str]:
    import tflite

    return _names(tflite.BuiltinOperator)


@cache
def _type_names() -> dict[int, str]:
    import tflite

    return _names(tflite.TensorType)


def _names(enumeration: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}
