"""Each node of an .onnx file by itself, on operands that were seen: what an earlier node did does not count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers.onnx import LoweredOnnx, lower_onnx
from accelsim.importers.onnx_values import NHWC
from accelsim.importers.replay_steps import Tensors, run_ops
from accelsim.ops.base import Op

#: profiles that .onnx files are run under, the likeliest first
CANDIDATES = ("onnxruntime", "onnxruntime-float", "onnx-reference")


class Alone:
    """A lowered file whose nodes run one by one. arrays: operator → accumulator keywords."""

    def __init__(self, lowered: LoweredOnnx, arrays: Mapping[str, Mapping[str, Any]]) -> None:
        self.lowered = lowered
        self.arrays = arrays
        self._ops: dict[int, list[Op]] = {}
        self._plain = {op.output: op for op in lowered.graph.ops if op.name not in lowered.sources or not op.inputs}
        for op in lowered.graph.ops:
            index = lowered.sources.get(op.name)
            if index is not None:
                self._ops.setdefault(index, []).append(op)

    def tensors(self, seen: Mapping[str, np.ndarray]) -> Tensors:
        """Codes by tensor of the file → by tensor of the graph, in every order of axes that it has there."""
        found: Tensors = {}
        for name, values in seen.items():
            codes = self.lowered.codes.get(name)
            if codes is None or values.dtype.kind not in "iu":
                continue
            for layout, tensor in codes.places.items():
                image = layout == NHWC and values.ndim == 4
                found[tensor] = np.ascontiguousarray(np.moveaxis(values, 1, -1)) if image else values
        return found

    def run(self, index: int, seen: Tensors) -> np.ndarray | None:
        """The last result of a node, its operands as they were seen; None where they were not."""
        ops = self._ops.get(index, [])
        own = {op.output for op in ops}
        outside = [name for op in ops for name in op.inputs if name not in own]
        given = {name: seen[name] for name in outside if name in seen}
        constants = [self._plain[name] for name in dict.fromkeys(outside) if name in self._plain and name not in given]
        if not ops or not given or any(name not in given and name not in self._plain for name in outside):
            return None
        if any(name not in given for op in constants for name in op.inputs):
            return None
        try:
            return run_ops((*constants, *ops), given, self.arrays)[ops[-1].output]
        except AccelsimError:
            return None


def matching(lowered: LoweredOnnx, arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, Alone]:
    """Profile → the same file under it; without those that do not define all that it needs."""
    found = {}
    for name in CANDIDATES:
        try:
            found[name] = Alone(lower_onnx(lowered.file, name), arrays)
        except AccelsimError:
            continue
    return found
