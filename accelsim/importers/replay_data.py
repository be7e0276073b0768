"""Inputs and stored outputs of a replay, from arrays or .npz files, matched to the tensors of a file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import accelsim_kernels
import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers import litert
from accelsim.importers.replay_steps import Tensors
from accelsim.importers.tflite import LoweredFile
from accelsim.quant import dequantize
from accelsim.simulator import as_array, input_codes


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of numbers in an .npz file. AccelsimError naming it where it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise AccelsimError(f"{path} holds one array; an .npz file of named arrays is needed")
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise AccelsimError(f"no such file: {path}") from None
    except AccelsimError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise AccelsimError(f"{path} is not an .npz file of plain arrays ({error})") from error
    return {name: array for name, array in arrays.items() if array.dtype.kind in "iuf"}


def match(arrays: Mapping[str, np.ndarray], names: Sequence[str], what: str) -> dict[str, np.ndarray]:
    """An array for every tensor name: of that name, else whose own name is part of it, else the only one there.

    what: "input" or "output"; arrays called so (input, inputs, input0, x …) are looked at before all others. Where no
    tensor's name says more, input0, input1 … are the file's inputs in their order.
    """
    places = [f"{what}{index}" for index in range(len(names))]
    if all(place in arrays for place in places) and not any(key in name for key in arrays for name in names):
        return {name: arrays[place] for name, place in zip(names, places, strict=True)}
    short = {"input": ("x", "data"), "output": ("y",)}[what]
    likely = {k: v for k, v in arrays.items() if k.startswith(what) or k in short} or dict(arrays)
    found = {}
    for name in names:
        if name in arrays:
            found[name] = arrays[name]
            continue
        parts = [key for key in likely if key in name]
        if parts and (len(names) > 1 or len(likely) == 1):
            found[name] = likely[max(parts, key=len)]
        elif len(names) == 1 and len(likely) == 1:
            found[name] = next(iter(likely.values()))
        else:
            raise AccelsimError(
                f"which array is the {what} {name!r}? There are {', '.join(sorted(arrays)) or 'none'}; "
                "call it by the tensor's name"
            )
    return found


class Inputs:
    """Inputs of a replay as codes of the graph, and as what the file's own inputs take."""

    def __init__(self, lowered: LoweredFile, x: Any) -> None:
        self.lowered = lowered
        file, graph = lowered.file, lowered.graph
        self._tensor = {index: self._graph_tensor(index) for index in file.inputs}
        names = [file.tensors[index].name for index in file.inputs]
        if isinstance(x, Mapping):
            given = match({str(k): as_array(v) for k, v in x.items()}, names, "input")
        else:
            values = x if isinstance(x, tuple) else (x,)
            if len(values) != len(names):
                raise AccelsimError(f"{file.path} takes {len(names)} inputs, not {len(values)}")
            given = {name: as_array(value) for name, value in zip(names, values, strict=True)}
        self._given = {
            index: self._shaped(given[file.tensors[index].name], graph.tensors[tensor].shape)
            for index, tensor in self._tensor.items()
        }
        by_tensor = {self._tensor[index]: value for index, value in self._given.items()}
        #: codes by tensor of the graph
        self.codes: Tensors = input_codes(graph, by_tensor, accelsim_kernels)
        self.samples = len(next(iter(self.codes.values())))

    def for_runtime(self) -> dict[int, np.ndarray]:
        """Tensor number of the file → values in its own type."""
        values = {}
        for index, tensor in self._tensor.items():
            kind = self.lowered.file.tensors[index].type
            codes, given = self.codes[tensor], self._given[index]
            if kind == "FLOAT32":
                real = (
                    given if given.dtype.kind == "f" else dequantize(codes, self.lowered.graph.tensors[tensor].params)
                )
                values[index] = real.astype(np.float32)
            else:
                values[index] = codes.astype({"INT32": np.int32, "INT64": np.int64}.get(kind, codes.dtype))
        return values

    def _graph_tensor(self, index: int) -> str:
        if index in self.lowered.names:
            return self.lowered.names[index]
        quantizing = [op for op in self.lowered.file.operators if op.kind == "QUANTIZE" and index in op.inputs]
        return self.lowered.names[quantizing[0].outputs[0]]

    @staticmethod
    def _shaped(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return x[None] if x.shape == shape else x


def known_tensors(lowered: LoweredFile, values: Mapping[int, np.ndarray]) -> Tensors:
    """Codes by tensor of the graph, of what a runtime gave by tensor number; real outputs are brought to their grid."""
    known: Tensors = {}
    for index, array in values.items():
        name = lowered.names.get(index)
        if name is None:
            continue
        info = lowered.graph.tensors[name]
        if array.size % info.elements:
            raise AccelsimError(f"tensor {name!r} has {array.size} elements, not a multiple of {info.elements}")
        array = array.reshape(-1, *info.shape)
        if array.dtype.kind == "f":
            array = np.rint(array.astype(np.float64) / info.grid.scale).astype(np.int64) + info.grid.zero_point
        elif name in known:
            continue
        known[name] = array.astype(info.grid.dtype, copy=False)
    return known


def stored_tensors(lowered: LoweredFile, against: str | Path | Mapping[str, np.ndarray]) -> Tensors:
    """Codes by tensor of the graph of what replay() takes as `against`: the outputs at least."""
    names = [lowered.file.tensors[index].name for index in lowered.file.outputs]
    if isinstance(against, Mapping):
        arrays = {str(k): np.asarray(v) for k, v in against.items()}
    else:
        path, colon, key = str(against).rpartition(":")
        if not colon or not path.endswith(".npz"):
            path, key = str(against), ""
        if not path.endswith(".npz"):
            known = ", ".join(litert.RESOLVERS)
            raise AccelsimError(f"against {str(against)!r} is no .npz file and none of {known}")
        arrays = read_arrays(path)
        if key:
            if key not in arrays:
                raise AccelsimError(f"{path} holds no array {key!r}, but {', '.join(sorted(arrays))}")
            arrays = {"output": arrays[key]}
    found = match(arrays, names, "output")
    for tensor in lowered.file.tensors:  # intermediate tensors, by their own name
        if tensor.index in lowered.names and tensor.name in arrays:
            found[tensor.name] = arrays[tensor.name]
    by_index = {t.index: found[t.name] for t in lowered.file.tensors if t.name in found and t.index in lowered.names}
    return known_tensors(lowered, by_index)
