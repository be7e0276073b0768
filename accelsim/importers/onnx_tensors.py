"""Constants of an .onnx file as arrays: lengths are checked against the data before anything is made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError

MAX_ELEMENTS = 1 << 28  # of one constant
MAX_RANK = 8
_INT4, _UINT4 = "INT4", "UINT4"
_TYPES: dict[str, np.dtype] = {
    "FLOAT": np.dtype("<f4"), "DOUBLE": np.dtype("<f8"), "FLOAT16": np.dtype("<f2"), "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"), "INT8": np.dtype("i1"), "UINT16": np.dtype("<u2"), "INT16": np.dtype("<i2"),
    "UINT32": np.dtype("<u4"), "INT32": np.dtype("<i4"), "UINT64": np.dtype("<u8"), "INT64": np.dtype("<i8"),
    _INT4: np.dtype("i1"), _UINT4: np.dtype("u1"),
}  # fmt: skip
#: field of a TensorProto that holds the values where they are not raw bytes
_FIELDS = {"FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data", "UINT64": "uint64_data",
           "UINT32": "uint64_data"}  # fmt: skip


def type_name(number: int) -> str:
    """The name of a tensor's element type; the number itself where it has none."""
    import onnx

    try:
        return onnx.TensorProto.DataType.Name(number)
    except ValueError:
        return f"type {number}"


def tensor_values(proto: Any, folder: Path, where: str) -> np.ndarray:
    """The values of a TensorProto; 4-bit codes as int8 or uint8, one each.

    folder: of the model's file; values that are stored outside it must lie inside this folder.
    Raises AccelsimError naming `where` for types that are not numbers, and lengths that do not fit the shape.
    """
    kind = type_name(proto.data_type)
    if kind not in _TYPES:
        raise AccelsimError(f"{where} is {kind}; numbers of {', '.join(_TYPES)} are read")
    shape = tuple(proto.dims)
    count = math.prod(shape)
    if (
        min(shape, default=0) < 0
        or max(shape, default=0) > MAX_ELEMENTS
        or count > MAX_ELEMENTS
        or len(shape) > MAX_RANK
    ):
        raise AccelsimError(f"{where} claims the shape {shape}")
    packed = kind in (_INT4, _UINT4)
    dtype = _TYPES[kind]
    wanted = (count + 1) // 2 if packed else count * dtype.itemsize
    if proto.data_location == proto.EXTERNAL:
        data = np.frombuffer(_external(proto, folder, where, wanted), np.uint8)
    elif proto.HasField("raw_data"):
        data = np.frombuffer(proto.raw_data, np.uint8)
    else:
        return _typed(proto, kind, shape, where)
    if data.size != wanted:
        raise AccelsimError(f"{where} of shape {shape} and {kind} needs {wanted} bytes, the file has {data.size}")
    if packed:
        return _unpacked(data, kind, count).reshape(shape)
    return data.view(dtype).reshape(shape)


def _typed(proto: Any, kind: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    values = getattr(proto, _FIELDS.get(kind, "int32_data"))
    count = math.prod(shape)
    packed = kind in (_INT4, _UINT4)
    if len(values) != ((count + 1) // 2 if packed else count):
        raise AccelsimError(f"{where} of shape {shape} and {kind} has {len(values)} values in the file")
    if kind in ("FLOAT", "DOUBLE"):
        return np.array(values, _TYPES[kind]).reshape(shape)
    wide = np.array(values, np.uint64 if kind in ("UINT64", "UINT32") else np.int64)
    if packed:
        return _unpacked(wide.astype(np.uint8), kind, count).reshape(shape)
    if kind == "FLOAT16":
        return wide.astype(np.uint16).view(np.float16).reshape(shape)
    return wide.astype(_TYPES[kind]).reshape(shape)


def _unpacked(data: np.ndarray, kind: str, count: int) -> np.ndarray:
    """4-bit codes, the low half of a byte first."""
    nibbles = np.stack([data & 15, data >> 4], axis=-1).reshape(-1)[:count]
    return nibbles if kind == _UINT4 else ((nibbles ^ 8).astype(np.int8) - 8).astype(np.int8)


def _external(proto: Any, folder: Path, where: str, wanted: int) -> bytes:
    """Bytes that are stored beside the model."""
    fields = {entry.key: entry.value for entry in proto.external_data}
    location = fields.get("location", "")
    try:
        root = folder.resolve()
        path = (root / location).resolve()
        inside = bool(location) and not Path(location).is_absolute() and path.is_relative_to(root)
    except (OSError, ValueError, RuntimeError) as error:
        raise AccelsimError(f"{where}: the file {location!r:.100} of its values cannot be found: {error}") from None
    if not inside:
        raise AccelsimError(f"{where}: its values are in {location!r:.100}, which is not in the model's folder")
    try:
        offset, length = int(fields.get("offset") or 0), int(fields.get("length") or wanted)
    except ValueError:
        raise AccelsimError(f"{where}: offset and length of its values are no numbers") from None
    if length != wanted or offset < 0:
        raise AccelsimError(f"{where}: {length} bytes from {offset} of {location!r:.100}, {wanted} are needed")
    try:
        if not path.is_file() or offset + length > path.stat().st_size:
            raise AccelsimError(f"{where}: {path} is missing or shorter than {offset + length} bytes")
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)
    except OSError as error:
        raise AccelsimError(f"{where}: cannot read {path}: {error.strerror or error}") from error
