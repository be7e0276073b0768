"""Tensors of both sides beside each other: what differs, whose doing it is, and what would have matched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accelsim.importers.detection import Detective
from accelsim.importers.replay_report import OperatorReplay, TensorComparison
from accelsim.importers.replay_steps import Tensors, scheme_of
from accelsim.importers.tflite import LoweredFile


@dataclass(frozen=True)
class Compared:
    """Final outputs of ours, and each side's outputs and operators beside the other's."""

    outputs: Tensors
    compared: tuple[TensorComparison, ...]
    operators: tuple[OperatorReplay, ...]


def equal_throughout(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of as many codes hold the same, word by word where both lie in one piece."""
    if a.dtype != b.dtype or not (a.flags.c_contiguous and b.flags.c_contiguous):
        return bool(np.array_equal(a.reshape(-1), b.reshape(-1)))
    a, b = (x.reshape(-1).view(np.uint8) for x in (a, b))
    whole = len(a) & ~7
    same = np.array_equal(a[:whole].view(np.int64), b[:whole].view(np.int64))
    return bool(same and np.array_equal(a[whole:], b[whole:]))


def all_equal(lowered: LoweredFile, shown: set[str], samples: int, outputs: Tensors) -> Compared:
    """What is said where every tensor that the other side shows is equal."""
    graph = lowered.graph

    def equal(name: str) -> TensorComparison:
        return TensorComparison(name, samples * graph.tensors[name].elements, 0, 0)

    def row(index: int) -> OperatorReplay:
        op = lowered.file.operators[index]
        names = [lowered.names[i] for i in op.outputs if lowered.names.get(i) in shown]
        return OperatorReplay(index, op.kind, tuple(map(equal, names)), None, scheme_of(lowered, index), None)

    return Compared(
        outputs,
        tuple(equal(name) for name in graph.outputs if name in shown),
        tuple(map(row, sorted(set(lowered.sources.values())))),
    )


def details(
    lowered: LoweredFile,
    ours: Tensors,
    seen: Tensors,
    inputs: Tensors,
    matching: Mapping[int, tuple[str, ...]] | None,
    detect: bool,
) -> Compared:
    """Of some samples: counts, and for what differs its operator alone.

    ours: all tensors. seen: those of the other side. matching: profiles of the operators where they are known already.
    """
    graph = lowered.graph
    detective = Detective(lowered, {**seen, **inputs})
    found = _detected(detective) if detect else matching or {}
    return Compared(
        {name: ours[name] for name in graph.outputs},
        tuple(_compare(name, ours[name], seen[name]) for name in graph.outputs if name in seen),
        tuple(_row(i, lowered, ours, seen, detective, found.get(i)) for i in detective.indices),
    )


def merged(a: Compared, b: Compared) -> Compared:
    """Of more samples."""
    return Compared(
        {name: np.concatenate([values, b.outputs[name]]) for name, values in a.outputs.items()},
        tuple(map(TensorComparison.plus, a.compared, b.compared)),
        tuple(map(OperatorReplay.plus, a.operators, b.operators)),
    )


def _detected(detective: Detective) -> dict[int, tuple[str, ...]]:
    """For every operator from its own operands where they are known, else from the whole."""
    local = {index: detective.local(index) for index in detective.indices}
    if all(found is not None for found in local.values()):
        return {index: found or () for index, found in local.items()}
    whole = detective.by_substitution()
    return {index: whole[index] if found is None else found for index, found in local.items()}


def _row(
    index: int,
    lowered: LoweredFile,
    ours: Tensors,
    seen: Tensors,
    detective: Detective,
    matching: tuple[str, ...] | None,
) -> OperatorReplay:
    op = lowered.file.operators[index]
    names = [lowered.names[i] for i in op.outputs if i in lowered.names]
    shown = [name for name in names if name in seen]
    tensors = tuple(_compare(name, ours[name], seen[name]) for name in shown)
    alone = None
    if any(t.differing for t in tensors):
        matching = detective.local(index) if matching is None else matching
        operands = [i for i in dict.fromkeys(op.inputs) if lowered.names.get(i) in detective.known]
        given = {i: detective.known[lowered.names[i]] for i in operands}
        needed = [i for i in op.inputs if i >= 0 and lowered.file.tensors[i].constant is None]
        if set(needed) <= set(given):
            outputs = detective.variants.run(index, lowered.graph.profile, given) or {}
            parts = [_compare(lowered.names[i], y, seen[lowered.names[i]]) for i, y in outputs.items()
                     if lowered.names.get(i) in shown]  # fmt: skip
            alone = TensorComparison(
                ", ".join(p.tensor for p in parts), sum(p.elements for p in parts), sum(p.differing for p in parts),
                max((p.largest for p in parts), default=0),
            )  # fmt: skip
    return OperatorReplay(index, op.kind, tensors, alone, scheme_of(lowered, index), matching)


def _compare(name: str, a: np.ndarray, b: np.ndarray) -> TensorComparison:
    if np.array_equal(a, b):
        return TensorComparison(name, a.size, 0, 0)
    distance = np.abs(a.astype(np.int64) - b.astype(np.int64))
    return TensorComparison(name, a.size, int(np.count_nonzero(distance)), int(distance.max()))
