"""Replay of an .onnx file: run bit for bit beside ONNX Runtime, node by node, at a level of optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accelsim_kernels
import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers import onnx_runtime
from accelsim.importers.onnx import LoweredOnnx, lower_onnx
from accelsim.importers.onnx_alone import Alone, matching
from accelsim.importers.onnx_file import OnnxFile, read_onnx
from accelsim.importers.onnx_values import FLOAT_KERNELS, Codes
from accelsim.importers.replay_data import match, read_arrays
from accelsim.importers.replay_report import OperatorReplay, Replay, TensorComparison
from accelsim.importers.replay_steps import BATCH, Tensors, run_graph, runtime_accumulators
from accelsim.ops.base import Op
from accelsim.ops.float_mac import FloatBatchMatMul, FloatConv2d, FloatLinear
from accelsim.quant import AccumulatorParams, dequantize
from accelsim.simulator import accumulation_orders, as_array, batch_bounds, input_codes
from accelsim.versions import versions

Arrays = Mapping[str, Mapping[str, Any]]


def replay_onnx(
    model: str | Path,
    x: Any,
    against: Any = None,
    *,
    profile: str | None = None,
    detect: bool = False,
    spec: Any = None,
) -> Replay:
    """As replay(), for .onnx files. against: a name of onnx_runtime.LEVELS, an .npz file or a mapping of outputs.

    Beside the runtime, what is run is the file as the runtime itself has optimised it at that level: operators that
    it merged are integer kernels there, all others compute in float32 between quantizers.
    """
    kind = against if isinstance(against, str) and against in onnx_runtime.LEVELS else None
    if isinstance(against, str | Path) and kind is None and Path(against).suffix != ".npz":
        known = ", ".join(onnx_runtime.LEVELS)
        raise AccelsimError(f"against {str(against)!r} is no .npz file and none of {known}")
    found = dict(versions())
    if kind is None:
        file, data = read_onnx(model), b""
        lowered = lower_onnx(file, profile)
    else:
        found["onnxruntime"] = onnx_runtime.version()
        file, data = onnx_runtime.optimized(model, kind)
        lowered = _as_optimized(file, profile, model, kind)
    graph = lowered.graph
    given = match(_arrays(x, graph.inputs), list(graph.inputs), "input")
    codes = input_codes(graph, {n: _batched(v, graph.tensors[n].shape) for n, v in given.items()}, accelsim_kernels)
    arrays = _accumulators(graph, spec)
    ours = _in_parts(graph, codes, arrays)
    seen: Mapping[str, np.ndarray] = {}
    if kind is not None:
        seen = onnx_runtime.run(data, _feeds(lowered, codes, given), model)
    elif against is not None:
        seen = match(_arrays(against, graph.outputs), list(graph.outputs), "output")
    rows = _rows(lowered, ours, codes, seen, arrays, detect)
    compared = _outputs(graph, ours, seen)
    explained = None
    if detect:
        explained = _common(rows) if kind is not None else _whole(lowered, codes, seen, spec)
    return Replay(
        model=str(model),
        profile=graph.profile,
        against=None if against is None else kind or ("arrays" if isinstance(against, Mapping) else str(against)),
        samples=len(next(iter(codes.values()))),
        outputs={name: ours[name] for name in graph.outputs},
        compared=compared,
        operators=rows,
        detected=explained,
        versions=found,
        notes=graph.notes,
    )


def _as_optimized(file: OnnxFile, profile: str | None, model: str | Path, kind: str) -> LoweredOnnx:
    """The file as the runtime runs it; where that cannot be read, the reason is first looked for in the file itself."""
    try:
        return lower_onnx(file, profile or FLOAT_KERNELS)
    except AccelsimError as error:
        lower_onnx(read_onnx(model), profile)
        lower = "onnxruntime-extended, onnxruntime-basic or onnxruntime-disable-all"
        raise AccelsimError(
            f"as ONNX Runtime optimises it for {kind!r}, {error} Compare at a lower level: {lower}."
        ) from (error)


def _in_parts(graph: IntegerGraph, codes: Tensors, arrays: Arrays) -> Tensors:
    """Every tensor, some samples at a time."""
    parts = [
        run_graph(graph, {name: x[start:end] for name, x in codes.items()}, arrays)
        for start, end in batch_bounds(len(next(iter(codes.values()))), BATCH)
    ]
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _accumulators(graph: IntegerGraph, spec: Any) -> Arrays:
    if spec is None:
        return runtime_accumulators(graph)
    from accelsim.hardware import load_spec

    return accumulation_orders(graph, load_spec(spec))


def _rows(
    lowered: LoweredOnnx, ours: Tensors, codes: Tensors, seen: Mapping[str, np.ndarray], arrays: Arrays, detect: bool
) -> tuple[OperatorReplay, ...]:
    """One for each node whose codes were seen, in the file's order."""
    sources = {op.output: lowered.sources.get(op.name) for op in lowered.graph.ops}
    alone, others = Alone(lowered, arrays), None
    shown = {name: (lowered.codes[name].places[_layout(lowered, name)], v) for name, v in _shown(lowered, seen).items()}
    equal = all(np.array_equal(ours[tensor], values) for tensor, values in shown.values())
    rows = []
    for name, (tensor, values) in shown.items():
        index = sources.get(tensor)
        if index is None or lowered.codes[name].tensor != name:
            continue
        compared = _compare(name, ours[tensor], values)
        by_itself = ours[tensor] if equal else alone.run(index, {**alone.tensors(seen), **codes})
        differs = by_itself is not None and not np.array_equal(by_itself, values)
        matches = None
        if detect or differs:
            others = matching(lowered, arrays) if others is None else others
            found = {p: other.run(index, {**other.tensors(seen), **codes}) for p, other in others.items()}
            matches = tuple(p for p, result in found.items() if result is not None and np.array_equal(result, values))
        node = lowered.file.nodes[index]
        own = None if by_itself is None else _compare(name, by_itself, values)
        scheme = next((_scheme(op) for op in lowered.graph.ops if op.output == tensor), None)
        rows.append(OperatorReplay(node.index, f"{node.kind} {node.name}", (compared,), own, scheme, matches))
    return tuple(sorted(rows, key=lambda row: row.index))


def _scheme(op: Op) -> str | None:
    """How an operator rescales, by name."""
    if isinstance(op, FloatConv2d | FloatLinear | FloatBatchMatMul):
        return "float32 sums"
    requantizer = getattr(op, "requantizer", None)
    return requantizer.scheme if requantizer is not None else getattr(op, "arithmetic", None)


def _outputs(graph: IntegerGraph, ours: Tensors, seen: Mapping[str, np.ndarray]) -> tuple[TensorComparison, ...]:
    return tuple(
        _compare(name, ours[name], _as_codes(seen[name], graph.tensors[name].params))
        for name in graph.outputs
        if name in seen
    )


def _common(rows: tuple[OperatorReplay, ...]) -> tuple[str, ...]:
    """Profiles that explain every node that could be run by itself."""
    known = [row.matching or () for row in rows if row.alone is not None]
    return tuple(name for name in (known[0] if known else ()) if all(name in names for names in known))


def _whole(lowered: LoweredOnnx, codes: Tensors, seen: Mapping[str, np.ndarray], spec: Any) -> tuple[str, ...]:
    """Profiles under which the whole network gives the stored outputs."""
    found = []
    for name, other in matching(lowered, {}).items():
        graph = other.lowered.graph
        ours = _in_parts(graph, codes, _accumulators(graph, spec))
        if not any(tensor.differing for tensor in _outputs(graph, ours, seen)):
            found.append(name)
    return tuple(found)


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
