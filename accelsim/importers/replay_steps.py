"""Running a lowered file operator by operator, whole or one operator alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import accelsim_kernels
import numpy as np

from accelsim import execution
from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers.tflite import LoweredFile, lower_tflite
from accelsim.importers.tflite_file import FileOperator, TfliteFile
from accelsim.ops.base import Op
from accelsim.store import digest

Tensors = dict[str, np.ndarray]
BATCH = 64


def runtime_accumulators(graph: IntegerGraph) -> dict[str, dict[str, Any]]:
    """As runtimes have them: 32 bits that wrap, 64 where an operand has 16."""
    wide = {op.name: any(graph.tensors[name].bits > 8 for name in op.inputs) for op in graph.ops if op.accumulates}
    return {name: {"accumulator_bits": 64 if wide[name] else 32} for name in wide}


def run_ops(ops: tuple[Op, ...], given: Tensors, arrays: Mapping[str, Mapping[str, Any]]) -> Tensors:
    """All tensors: those given (batch first) and what the operators compute of them."""
    alive = dict(given)
    samples = len(next(iter(given.values())))
    for op in ops:
        alive[op.output] = _run(op, alive, arrays, samples)
    return alive


def _run(op: Op, alive: Tensors, arrays: Mapping[str, Mapping[str, Any]], samples: int) -> np.ndarray:
    try:
        values = op.run([alive[name] for name in op.inputs], accelsim_kernels, arrays.get(op.name, {})).values
    except (ValueError, OverflowError) as error:
        raise AccelsimError(f"layer {op.name!r}: {error}") from error
    return values if op.inputs else np.repeat(values, samples, axis=0)


def run_graph(
    graph: IntegerGraph,
    given: Tensors,
    arrays: Mapping[str, Mapping[str, Any]],
    room: Tensors | None = None,
) -> Tensors:
    """All tensors of a graph from its inputs, most operators in one native call.

    arrays: one object for all calls, or what is prepared for the graph is prepared again. room: arrays of an earlier
    call with as many samples, which are written to.
    """
    alive = dict(given)
    samples = len(next(iter(given.values())))
    for part in execution.parts(graph, arrays, samples, every_tensor=True):
        if isinstance(part, execution.Stretch) and part.accepts(alive, samples):
            alive.update(part.run(alive, arrays, room))
            continue
        for op in part.ops if isinstance(part, execution.Stretch) else (part,):
            alive[op.output] = _run(op, alive, arrays, samples)
    return alive


def in_batches(ops: tuple[Op, ...], given: Tensors, arrays: Mapping[str, Mapping[str, Any]]) -> Tensors:
    """As run_ops(), some samples at a time."""
    samples = len(next(iter(given.values())))
    if samples <= BATCH:
        return run_ops(ops, given, arrays)
    parts = [
        run_ops(ops, {name: x[start : start + BATCH] for name, x in given.items()}, arrays)
        for start in range(0, samples, BATCH)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class Variants:
    """An operator of a file by itself, under every profile that defines it."""

    def __init__(self, file: TfliteFile) -> None:
        self.file = file
        self.alone = lru_cache(maxsize=4096)(self._alone)

    def _alone(self, index: int, profile: str) -> tuple[LoweredFile, str] | None:
        """(the operator as a file of its own, a digest of its arithmetic); None where the profile lacks it."""
        op = self.file.operators[index]
        activations = tuple(i for i in dict.fromkeys(op.inputs) if i >= 0 and self.file.tensors[i].constant is None)
        single = dataclasses.replace(self.file, operators=(op,), inputs=activations, outputs=op.outputs)
        try:
            lowered = lower_tflite(single, profile)
        except AccelsimError:
            return None
        return lowered, digest([_plain(op) for op in lowered.graph.ops])

    def run(self, index: int, profile: str, given: Mapping[int, np.ndarray]) -> dict[int, np.ndarray] | None:
        """Outputs by tensor number of the operator alone; None where the profile lacks it.

        given: codes of its operands by tensor number, (samples, …).
        """
        found = self.alone(index, profile)
        if found is None:
            return None
        lowered, _ = found
        graph = lowered.graph
        inputs = {}
        for tensor in lowered.file.inputs:
            name = lowered.names.get(tensor)
            if name in graph.inputs:
                inputs[name] = given[tensor].reshape(-1, *graph.tensors[name].shape)
        tensors = in_batches(graph.ops, inputs, runtime_accumulators(graph))
        return {i: tensors[lowered.names[i]] for i in lowered.file.outputs if i in lowered.names}


def computes(op: FileOperator, lowered: LoweredFile) -> bool:
    """Whether an operator of the file is any operator of the graph: shapes and real numbers at the ends are not."""
    return op.index in set(lowered.sources.values())


def scheme_of(lowered: LoweredFile, index: int) -> str | None:
    """How the operator of the file rescales: scheme names, else the name of its form."""
    found: list[str] = []
    for op in lowered.graph.ops:
        if lowered.sources.get(op.name) != index:
            continue
        for name in ("requantizer", "tail"):
            if getattr(op, name, None) is not None:
                found.append(getattr(op, name).scheme)
        params = getattr(op, "params", None) or {}
        if "scheme" in params:
            found.append(params["scheme"])
        elif getattr(op, "requantizer", None) is None and hasattr(op, "arithmetic"):
            found.append(op.arithmetic)
    return " + ".join(dict.fromkeys(found)) or None


def _plain(value: Any) -> Any:
    """What digest() takes: of operators all but their names."""
    if dataclasses.is_dataclass(value):
        skipped = {"name", "inputs", "output"} if isinstance(value, Op) else set()
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name not in skipped}
        return [type(value).__name__, fields]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
