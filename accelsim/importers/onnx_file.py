"""An .onnx file as plain values: nodes, constants, inputs and outputs. Nothing in it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers.onnx_tensors import tensor_values, type_name

MAX_NODES = 1 << 16
OLDEST_OPSET = 13
#: domains whose operators are known, and how they are written before an operator's name
DOMAINS = {"": "", "ai.onnx": "", "com.microsoft": ""}
#: Python types of the attributes that are read
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("axis", "group", "transA", "transB", "block_size", "output_dtype", "keepdims", "ceil_mode", "to",
                     "count_include_pad", "channels_last", "allowzero", "blocksize", "start", "end", "value_int",
                     "antialias"), int),
    **dict.fromkeys(("kernel_shape", "strides", "dilations", "pads", "perm", "axes", "value_ints", "activation_params",
                     "value_floats"), tuple),
    **dict.fromkeys(("auto_pad", "mode", "activation", "approximate", "keep_aspect_ratio_policy",
                     "coordinate_transformation_mode", "nearest_mode"), str),
    **dict.fromkeys(("alpha", "beta", "value_float"), float),
    "value": np.ndarray,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class FileNode:
    """An operator of the file. inputs: tensor names, "" where an optional one is left out."""

    index: int
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def where(self) -> str:
        return f"operator {self.index} {self.name!r} ({self.kind})"


@dataclass(frozen=True)
class FileValue:
    """A graph input or output. shape: None for a length that is not fixed; empty and type "" where not recorded."""

    name: str
    type: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """The main graph of a file. opset: of the standard domain. metadata: the file's own notes.

    four_bits: constants whose codes have 4 bits (they are held in 8).
    """

    path: str
    nodes: tuple[FileNode, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[FileValue, ...]
    outputs: tuple[FileValue, ...]
    opset: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    four_bits: frozenset[str] = frozenset()


def read_onnx(path: str | Path) -> OnnxFile:
    """Read and check an .onnx file. Raises AccelsimError naming it where it is missing, corrupt or absurd."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AccelsimError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_onnx(data, path)


def parse_onnx(data: bytes, path: str | Path = "model.onnx") -> OnnxFile:
    """As read_onnx(), from the bytes of a file; path: where values outside it are looked for."""
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError, UnicodeError) as error:
        raise AccelsimError(f"{path} is truncated, corrupt or no .onnx file: {error}") from error
    try:
        return _file(model, path)
    except AccelsimError as error:
        raise AccelsimError(f"{path}: {error}") from error


def outside_files(path: str | Path) -> set[Path]:
    """Files that hold values of constants of an .onnx file that can be read."""
    import onnx

    path = Path(path)
    graph = onnx.ModelProto.FromString(path.read_bytes()).graph
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    return {path.parent / entry.value for t in tensors for entry in t.external_data if entry.key == "location"}


def _file(model: Any, path: Path) -> OnnxFile:
    graph = model.graph
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    if not len(graph.node):
        raise AccelsimError("it holds no operators: truncated, or no .onnx file")
    if opset < OLDEST_OPSET:
        raise AccelsimError(f"opset {opset}: opset {OLDEST_OPSET} and later are read; convert it with "
                            "onnx.version_converter")  # fmt: skip
    if len(graph.node) > MAX_NODES:
        raise AccelsimError(f"{len(graph.node)} operators; at most {MAX_NODES} are read")
    if len(graph.sparse_initializer):
        raise AccelsimError("sparse constants are not read")
    constants: dict[str, np.ndarray] = {}
    for proto in graph.initializer:
        constants[proto.name] = tensor_values(proto, path.parent, f"constant {proto.name!r:.200}")
    nodes = tuple(_node(proto, index, path.parent) for index, proto in enumerate(graph.node))
    _check_names(nodes, graph, constants)
    return OnnxFile(
        path=str(path),
        nodes=nodes,
        constants=constants,
        inputs=tuple(_value(proto) for proto in graph.input if proto.name not in constants),
        outputs=tuple(_value(proto) for proto in graph.output),
        opset=opset,
        metadata={entry.key: entry.value for entry in model.metadata_props},
        four_bits=frozenset(p.name for p in graph.initializer if type_name(p.data_type) in ("INT4", "UINT4")),
    )


def _node(proto: Any, index: int, folder: Path) -> FileNode:
    prefix = DOMAINS.get(proto.domain, f"{proto.domain}.")
    kind = f"{prefix}{proto.op_type}"
    where = f"operator {index} ({kind:.100})"
    attributes = {a.name: _attribute(a, folder, f"{where}, attribute {a.name!r:.100}") for a in proto.attribute}
    for name, value in attributes.items():
        if name in _KINDS and not isinstance(value, _KINDS[name]):
            raise AccelsimError(f"{where}: attribute {name!r} must be {_KINDS[name].__name__}, not {value!r:.60}")
    return FileNode(index, kind, proto.name, tuple(proto.input), tuple(proto.output), attributes)


def _attribute(proto: Any, folder: Path, where: str) -> Any:
    """A number, text, tuple or array; the proto itself for what no supported operator has (graphs, types)."""
    kinds = proto.AttributeType
    if proto.type == kinds.INT:
        return proto.i
    if proto.type == kinds.FLOAT:
        return proto.f
    if proto.type == kinds.STRING:
        return proto.s.decode("utf-8", "replace")
    if proto.type == kinds.INTS:
        return tuple(proto.ints)
    if proto.type == kinds.FLOATS:
        return tuple(proto.floats)
    if proto.type == kinds.TENSOR:
        return tensor_values(proto.t, folder, where)
    return proto


def _value(proto: Any) -> FileValue:
    kind = proto.type.WhichOneof("value")
    if kind is None:
        return FileValue(proto.name, "", ())
    if kind != "tensor_type":
        return FileValue(proto.name, kind, ())
    tensor = proto.type.tensor_type
    shape = tuple(d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in tensor.shape.dim)
    return FileValue(proto.name, type_name(tensor.elem_type), shape)


def _check_names(nodes: tuple[FileNode, ...], graph: Any, constants: Mapping[str, np.ndarray]) -> None:
    """Every tensor is defined once, before it is read: no cycles."""
    inputs = {value.name for value in graph.input}
    defined = inputs | set(constants)
    outputs = {name for node in nodes for name in node.outputs if name}
    for node in nodes:
        for name in node.inputs:
            if name and name not in defined:
                why = "only a later operator, or itself, computes: a cycle, or operators out of order"
                raise AccelsimError(f"{node.where} reads {name!r:.200}, which " +
                                    (why if name in outputs else "nothing defines"))  # fmt: skip
        for name in node.outputs:
            if name in defined:
                raise AccelsimError(f"{node.where} defines {name!r:.200} a second time")
            if name:
                defined.add(name)
    for value in graph.output:
        if value.name not in defined:
            raise AccelsimError(f"output {value.name!r:.200} is never computed")
