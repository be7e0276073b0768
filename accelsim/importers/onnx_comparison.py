"""Codes of an .onnx file's nodes beside the runtime's: what differs, whose doing it is, and what would have matched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers.onnx import LoweredOnnx
from accelsim.importers.onnx_alone import Alone, matching
from accelsim.importers.onnx_values import Codes
from accelsim.importers.replay_report import OperatorReplay, TensorComparison
from accelsim.importers.replay_steps import Tensors
from accelsim.ops.base import Op
from accelsim.ops.float_mac import FloatBatchMatMul, FloatConv2d, FloatLinear
from accelsim.quant import AccumulatorParams

Arrays = Mapping[str, Mapping[str, Any]]


def rows(
    lowered: LoweredOnnx, ours: Tensors, codes: Tensors, seen: Mapping[str, np.ndarray], arrays: Arrays, detect: bool
) -> tuple[OperatorReplay, ...]:
    """One for each node whose codes were seen, in the file's order."""
    sources = {op.output: lowered.sources.get(op.name) for op in lowered.graph.ops}
    alone, others = Alone(lowered, arrays), None
    shown = {name: (lowered.codes[name].places[_layout(lowered, name)], v) for name, v in _shown(lowered, seen).items()}
    same = {name: np.array_equal(ours[tensor], values) for name, (tensor, values) in shown.items()}
    equal = all(same.values())
    found_rows = []
    for name, (tensor, values) in shown.items():
        index = sources.get(tensor)
        if index is None or lowered.codes[name].tensor != name:
            continue
        compared = TensorComparison(name, values.size, 0, 0) if same[name] else _compare(name, ours[tensor], values)
        by_itself = ours[tensor] if equal else alone.run(index, {**alone.tensors(seen), **codes})
        differs = not equal and by_itself is not None and not np.array_equal(by_itself, values)
        matches = None
        if detect or differs:
            others = matching(lowered, arrays) if others is None else others
            found = {p: other.run(index, {**other.tensors(seen), **codes}) for p, other in others.items()}
            matches = tuple(p for p, result in found.items() if result is not None and np.array_equal(result, values))
        node = lowered.file.nodes[index]
        own = compared if equal else None if by_itself is None else _compare(name, by_itself, values)
        scheme = next((_scheme(op) for op in lowered.graph.ops if op.output == tensor), None)
        found_rows.append(OperatorReplay(node.index, f"{node.kind} {node.name}", (compared,), own, scheme, matches))
    return tuple(sorted(found_rows, key=lambda row: row.index))


def _scheme(op: Op) -> str | None:
    """How an operator rescales, by name."""
    if isinstance(op, FloatConv2d | FloatLinear | FloatBatchMatMul):
        return "float32 sums"
    requantizer = getattr(op, "requantizer", None)
    return requantizer.scheme if requantizer is not None else getattr(op, "arithmetic", None)


def outputs(graph: IntegerGraph, ours: Tensors, seen: Mapping[str, np.ndarray]) -> tuple[TensorComparison, ...]:
    """Final outputs beside the other side's, on their grids."""
    return tuple(
        _compare(name, ours[name], _as_codes(seen[name], graph.tensors[name].params))
        for name in graph.outputs
        if name in seen
    )


def common(operators: tuple[OperatorReplay, ...]) -> tuple[str, ...]:
    """Profiles that explain every node that could be run by itself."""
    known = [row.matching or () for row in operators if row.alone is not None]
    return tuple(name for name in (known[0] if known else ()) if all(name in names for names in known))


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
