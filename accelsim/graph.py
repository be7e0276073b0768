"""IntegerGraph: a network as integer operators in SSA order, and the file that holds one."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.extras import needs_parts
from accelsim.files import write_atomically
from accelsim.ops import OPS
from accelsim.ops.base import Op, TensorInfo
from accelsim.ops.mac import MacOp
from accelsim.quant import AccumulatorParams, QuantParams
from accelsim.requant import Requantizer

FORMAT = "accelsim-graph"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """Operators in the order of execution, each tensor defined once.

    tensors: every tensor's shape (without the batch) and grid. inputs, outputs: tensor names.
    profile: the numeric profile whose arithmetic the operators follow.
    name: of the network. notes: what a reader of results must know, in plain sentences.
    Raises AccelsimError naming the operator or tensor that is inconsistent.
    """

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]
    profile: str
    name: str = "network"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Every tensor is defined once, before it is read, and has the shape its operator computes."""
        if not self.outputs or not self.inputs:
            raise AccelsimError(f"graph {self.name!r}: at least one input and one output are needed")
        defined = set(self.inputs)
        names: set[str] = set()
        for tensor in (*self.inputs, *self.outputs):
            if tensor not in self.tensors:
                raise AccelsimError(f"graph {self.name!r}: tensor {tensor!r} has no shape and grid")
        for op in self.ops:
            if op.name in names:
                raise AccelsimError(f"graph {self.name!r}: two operators are called {op.name!r}")
            names.add(op.name)
            if op.arity is not None and len(op.inputs) != op.arity:
                raise op.refuse(f"takes {op.arity} input(s), not {len(op.inputs)}")
            missing = [name for name in op.inputs if name not in defined]
            if missing:
                raise op.refuse(f"reads {missing[0]!r}, which no earlier operator defines")
            if op.output in defined:
                raise op.refuse(f"defines {op.output!r} a second time")
            if op.output not in self.tensors:
                raise op.refuse(f"its output {op.output!r} has no shape and grid")
            shape = op.output_shape([self.tensors[name].shape for name in op.inputs])
            if tuple(shape) != tuple(self.tensors[op.output].shape):
                raise op.refuse(f"computes {tuple(shape)}, recorded is {self.tensors[op.output].shape}")
            defined.add(op.output)
        undefined = [name for name in self.outputs if name not in defined]
        if undefined:
            raise AccelsimError(f"graph {self.name!r}: output {undefined[0]!r} is never computed")

    def op(self, name: str) -> Op:
        """The operator of that name; AccelsimError listing the names where there is none."""
        for op in self.ops:
            if op.name == name:
                return op
        raise AccelsimError(f"no layer {name!r}; layers: {', '.join(op.name for op in self.ops)}")

    @property
    def mac_ops(self) -> tuple[MacOp, ...]:
        return tuple(op for op in self.ops if isinstance(op, MacOp))

    @property
    def weight_bits(self) -> int:
        """The widest weights of the network."""
        return max((op.weight_params.bits for op in self.mac_ops), default=8)

    @property
    def activation_bits(self) -> int:
        """The widest activations that enter a MAC layer."""
        return max((self.tensors[op.inputs[0]].bits for op in self.mac_ops), default=8)

    @property
    def weight_size_bytes(self) -> int:
        """Weights packed to their bits, biases in their own width."""
        bits = sum(op.weight.size * op.weight_params.bits for op in self.mac_ops)
        biases = sum(op.bias.nbytes for op in self.mac_ops if op.bias is not None)
        return -(-bits // 8) + biases

    def save(self, path: str | Path) -> None:
        """Write the graph as one safetensors file: arrays, and the structure as JSON in its header."""
        from safetensors.numpy import save

        arrays: dict[str, np.ndarray] = {}
        structure = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "profile": self.profile,
            "notes": list(self.notes),
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "tensors": {name: _encode(info, arrays, f"tensors/{name}") for name, info in self.tensors.items()},
            "ops": [_encode(op, arrays, f"ops/{op.name}") for op in self.ops],
        }
        contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        write_atomically(Path(path), save(contiguous, metadata={FORMAT: json.dumps(structure)}))

    @needs_parts
    def to_onnx(self, path: str | Path, report: Any = None) -> Path:
        """Write a QDQ .onnx file that ONNX Runtime runs: accelsim.export.to_onnx(self, path, report)."""
        # by name: writers of other tools' files stand on a floor above the graph
        return importlib.import_module("accelsim.export").to_onnx(self, path, report)


def load(path: str | Path) -> IntegerGraph:
    """Read a graph that `IntegerGraph.save` wrote. Nothing in the file is executed.

    Raises AccelsimError naming the file where it is missing, truncated, corrupt or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise AccelsimError(f"no such graph file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if FORMAT not in metadata:
                raise AccelsimError(f"{path} is a safetensors file, but not a saved graph")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AccelsimError(f"{path} is truncated, corrupt or not a saved graph: {error}") from error
    try:
        structure = json.loads(metadata[FORMAT])
        if structure["format"] != FORMAT or structure["version"] != FORMAT_VERSION:
            raise AccelsimError(
                f"{path} has format {structure['format']!r} version {structure['version']}; this release reads "
                f"{FORMAT!r} version {FORMAT_VERSION}"
            )
        return IntegerGraph(
            ops=tuple(_decode(op, arrays) for op in structure["ops"]),
            inputs=tuple(structure["inputs"]),
            outputs=tuple(structure["outputs"]),
            tensors={name: _decode(info, arrays) for name, info in structure["tensors"].items()},
            profile=str(structure["profile"]),
            name=str(structure["name"]),
            notes=tuple(structure["notes"]),
        )
    except AccelsimError as error:
        raise AccelsimError(f"{path}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise AccelsimError(f"{path} is not a valid graph: {type(error).__name__}: {error}") from error


_VALUE_TYPES = {t.__name__: t for t in (TensorInfo, QuantParams, AccumulatorParams, Requantizer)}
_OP_TYPES = {op.__name__: op for op in OPS.values()}


def _encode(value: Any, arrays: dict[str, np.ndarray], key: str) -> Any:
    """JSON for a dataclass, with arrays moved to `arrays` under `key`."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: _encode(getattr(value, f.name), arrays, f"{key}/{f.name}") for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {"array": key}
    if isinstance(value, Mapping):
        return {"map": {k: _encode(v, arrays, f"{key}/{k}") for k, v in value.items()}}
    if isinstance(value, (tuple, list)):
        return [_encode(v, arrays, f"{key}/{i}") for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(v, arrays) for v in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "map" in value:
        return {k: _decode(v, arrays) for k, v in value["map"].items()}
    kind = value["type"]
    cls = _OP_TYPES.get(kind) or _VALUE_TYPES.get(kind)
    if cls is None:
        raise AccelsimError(f"unknown operator or value type {kind!r}: the file is from a newer release?")
    return cls(**{k: _decode(v, arrays) for k, v in value.items() if k != "type"})
