"""A tiny writer of .tflite files, so that the reader's tests need no file from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

TYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
         "FLOAT32": np.float32}  # fmt: skip


@dataclass
class Model:
    """Tensors and operators in the order they are added; build() gives the bytes of the file."""

    tensors: list[dict[str, Any]] = field(default_factory=list)
    operators: list[tuple[str, Sequence[int], Sequence[int], str | None, dict[str, Any]]] = field(default_factory=list)

    def tensor(self, name: str, shape: Sequence[int], kind: str = "INT8", scale: Any = None, zero_point: Any = 0,
               data: Any = None, axis: int = 0, signature: Sequence[int] | None = None) -> int:  # fmt: skip
        self.tensors.append(locals())
        return len(self.tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: str | None = None,
                 **fields: Any) -> None:  # fmt: skip
        """options: the table's name, e.g. Conv2DOptions; fields: in the schema's CamelCase."""
        self.operators.append((kind, inputs, outputs, options, fields))

    def build(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        b = flatbuffers.Builder(1024)
        buffers = [_table(b, "Buffer")]
        tensors = [self._tensor(b, t, buffers) for t in self.tensors]
        kinds = list(dict.fromkeys(kind for kind, *_ in self.operators))
        codes = []
        for kind in kinds:
            number = getattr(tflite.BuiltinOperator, kind) if isinstance(kind, str) else kind
            codes.append(_table(b, "OperatorCode", DeprecatedBuiltinCode=min(number, 127), Version=1,
                                BuiltinCode=number))  # fmt: skip
        operators = []
        for kind, ins, outs, options, fields in self.operators:
            made = {"OpcodeIndex": kinds.index(kind), "Inputs": _ints(b, ins), "Outputs": _ints(b, outs)}
            if options is not None:
                vectors = {k: _ints(b, v) if isinstance(v, (list, tuple)) else v for k, v in fields.items()}
                made["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options)
                made["BuiltinOptions"] = _table(b, options, **vectors)
            operators.append(_table(b, "Operator", **made))
        graph = _table(b, "SubGraph", Tensors=_offsets(b, tensors), Inputs=_ints(b, inputs),
                       Outputs=_ints(b, outputs), Operators=_offsets(b, operators))  # fmt: skip
        root = _table(b, "Model", Version=3, OperatorCodes=_offsets(b, codes), Subgraphs=_offsets(b, [graph]),
                      Buffers=_offsets(b, buffers))  # fmt: skip
        b.Finish(root, file_identifier=b"TFL3")
        return bytes(b.Output())

    def _tensor(self, b: flatbuffers.Builder, t: dict[str, Any], buffers: list[int]) -> int:
        number = 0
        if t["data"] is not None:
            data = np.asarray(t["data"])
            raw = pack_nibbles(data) if t["kind"] == "INT4" else data.astype(TYPES[t["kind"]]).tobytes()
            b.StartVector(1, len(raw), 16)
            b.head -= len(raw)
            b.Bytes[b.head : b.head + len(raw)] = raw
            buffers.append(_table(b, "Buffer", Data=b.EndVector()))
            number = len(buffers) - 1
        made = {"Shape": _ints(b, t["shape"]), "Type": getattr(tflite.TensorType, t["kind"]), "Buffer": number,
                "Name": b.CreateString(t["name"])}  # fmt: skip
        if t["signature"] is not None:
            made["ShapeSignature"] = _ints(b, t["signature"])
        if t["scale"] is not None:
            scales = np.atleast_1d(np.asarray(t["scale"], np.float32))
            zeros = np.broadcast_to(np.asarray(t["zero_point"], np.int64), scales.shape)
            made["Quantization"] = _table(
                b, "QuantizationParameters", Scale=b.CreateNumpyVector(scales),
                ZeroPoint=b.CreateNumpyVector(np.ascontiguousarray(zeros)), QuantizedDimension=t["axis"],
            )  # fmt: skip
        return _table(b, "Tensor", **made)


def pack_nibbles(codes: np.ndarray) -> bytes:
    flat = codes.reshape(-1).astype(np.int64) & 15
    flat = np.append(flat, np.zeros(len(flat) % 2, np.int64))
    return (flat[::2] | flat[1::2] << 4).astype(np.uint8).tobytes()


def _table(b: flatbuffers.Builder, name: str, **fields: Any) -> int:
    getattr(tflite, f"{name}Start")(b)
    for key, value in fields.items():
        getattr(tflite, f"{name}Add{key}")(b, value)
    return getattr(tflite, f"{name}End")(b)


def _ints(b: flatbuffers.Builder, numbers: Sequence[int]) -> int:
    return b.CreateNumpyVector(np.asarray(list(numbers), np.int32))


def _offsets(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()
