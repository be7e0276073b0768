"""Replay of an .onnx file: run bit for bit beside ONNX Runtime, node by node, at a level of optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accelsim_kernels
import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers import onnx_runtime
from accelsim.importers.onnx import LoweredOnnx, lower_onnx
from accelsim.importers.onnx_file import read_onnx
from accelsim.importers.onnx_lowering import FLOAT_KERNELS, Codes
from accelsim.importers.replay_data import match, read_arrays
from accelsim.importers.replay_report import OperatorReplay, Replay, TensorComparison
from accelsim.importers.replay_steps import Tensors, in_batches, runtime_accumulators
from accelsim.quant import AccumulatorParams, dequantize
from accelsim.simulator import as_array, input_codes
from accelsim.versions import versions


def replay_onnx(model: str | Path, x: Any, against: Any = None, *, profile: str | None = None) -> Replay:
    """As replay(), for .onnx files. against: a name of onnx_runtime.LEVELS, an .npz file or a mapping of outputs.

    Beside the runtime, what is run is the file as the runtime itself has optimised it at that level: operators that
    it merged are integer kernels there, all others compute in float32 between quantizers.
    """
    kind = against if isinstance(against, str) and against in onnx_runtime.LEVELS else None
    found = dict(versions())
    if kind is None:
        lowered, data = lower_onnx(read_onnx(model), profile), b""
    else:
        found["onnxruntime"] = onnx_runtime.version()
        file, data = onnx_runtime.optimized(model, kind)
        lowered = lower_onnx(file, profile or FLOAT_KERNELS)
    graph = lowered.graph
    given = match(_arrays(x, graph.inputs), list(graph.inputs), "input")
    codes = input_codes(graph, {n: _batched(v, graph.tensors[n].shape) for n, v in given.items()}, accelsim_kernels)
    ours = in_batches(graph.ops, codes, runtime_accumulators(graph))
    seen: Mapping[str, np.ndarray] = {}
    if kind is not None:
        seen = onnx_runtime.run(data, _feeds(lowered, codes, given), model)
    elif against is not None:
        seen = match(_arrays(against, graph.outputs), list(graph.outputs), "output")
    shown = _shown(lowered, seen)
    sources = {op.output: lowered.sources.get(op.name) for op in graph.ops}
    rows = []
    for name, values in shown.items():
        tensor = lowered.codes[name].places[_layout(lowered, name)]
        source = sources.get(tensor)
        if source is not None and lowered.codes[name].tensor == name:
            node = lowered.file.nodes[source]
            compared_here = (_compare(name, ours[tensor], values),)
            rows.append(OperatorReplay(node.index, f"{node.kind} {node.name}", compared_here, None, None, None))
    rows.sort(key=lambda row: row.index)
    outputs = {name: ours[name] for name in graph.outputs}
    compared = tuple(
        _compare(name, outputs[name], _as_codes(seen[name], graph.tensors[name].params))
        for name in graph.outputs
        if name in seen
    )
    return Replay(
        model=str(model),
        profile=graph.profile,
        against=None if against is None else kind or ("arrays" if isinstance(against, Mapping) else str(against)),
        samples=len(next(iter(codes.values()))),
        outputs=outputs,
        compared=compared,
        operators=tuple(rows),
        detected=None,
        versions=found,
        notes=graph.notes,
    )


def _arrays(x: Any, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if isinstance(x, str | Path):
        return read_arrays(x)
    if isinstance(x, Mapping):
        return {str(k): as_array(v) for k, v in x.items()}
    values = x if isinstance(x, tuple) else (x,)
    if len(values) != len(names):
        raise AccelsimError(f"{len(names)} arrays are needed, not {len(values)}: {', '.join(names)}")
    return {name: as_array(value) for name, value in zip(names, values, strict=True)}


def _batched(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return x[None] if x.shape == shape else x


def _feeds(lowered: LoweredOnnx, codes: Tensors, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The file's inputs in their own types."""
    feeds = {}
    for value in lowered.file.inputs:
        if value.name not in codes:
            continue
        real = given[value.name]
        params = lowered.graph.tensors[value.name].params
        if value.type == "FLOAT":
            real = real if real.dtype.kind == "f" else dequantize(codes[value.name], params)
            feeds[value.name] = _batched(real, lowered.graph.tensors[value.name].shape).astype(np.float32)
        else:
            feeds[value.name] = codes[value.name]
    return feeds


def _layout(lowered: LoweredOnnx, tensor: str) -> str:
    """A layout in which the graph keeps the codes of a tensor of the file."""
    places = lowered.codes[tensor].places
    return next((layout for layout, name in places.items() if name in lowered.graph.tensors), "")


def _shown(lowered: LoweredOnnx, seen: Mapping[str, np.ndarray]) -> Tensors:
    """What the runtime showed of tensors of codes, in the order of axes of the graph's tensor."""
    found: Tensors = {}
    for name, values in seen.items():
        codes: Codes | None = lowered.codes.get(name)
        if codes is None or values.dtype.kind not in "iu" or not _layout(lowered, name):
            continue
        found[name] = np.moveaxis(values, 1, -1) if _layout(lowered, name) == "nhwc" and values.ndim == 4 else values
    return found


def _as_codes(values: np.ndarray, params: Any) -> np.ndarray:
    """Real outputs on their grid."""
    if values.dtype.kind != "f":
        return values
    scale = np.asarray(params.scale)
    if isinstance(params, AccumulatorParams) and scale.ndim:
        scale = scale.reshape([-1 if i == params.axis else 1 for i in range(values.ndim)])
    return np.rint(values.astype(np.float64) / scale).astype(np.int64) + params.zero_point


def _compare(name: str, a: np.ndarray, b: np.ndarray) -> TensorComparison:
    if a.shape != b.shape:
        raise AccelsimError(f"tensor {name!r} has shape {a.shape} here and {b.shape} there")
    distance = np.abs(a.astype(np.int64) - b.astype(np.int64))
    return TensorComparison(name, a.size, int(np.count_nonzero(distance)), int(distance.max(initial=0)))
