"""Concatenation, each input requantized to the grid of the output where it is on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.shape import elementwise_nest
from accelsim.requant import Requantizer
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Tensors joined along `axis` (0 is the first axis after the batch), E7.

    requantizers: one per input, None where the input has the output's grid already; zero_points: of the inputs.
    """

    kind = "concat"
    arity = None

    axis: int
    zero_points: tuple[int, ...]
    requantizers: tuple[Requantizer | None, ...]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        # kernels give the narrowest type that holds a clamp: parts of one grid may come as int8 and as uint8
        widest = max((x.dtype for x in inputs), key=lambda dtype: (dtype.itemsize, dtype.kind == "u"))
        if not any(self.requantizers):
            inputs = [x.astype(widest, copy=False) for x in inputs]
        keywords = [None if r is None else r.kwargs() for r in self.requantizers]
        return Computed(kernels.concat(inputs, axis=self.axis + 1, requantize=keywords, zero_points=self.zero_points))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if not shapes:
            raise self.refuse("needs at least one input")
        rests = {(*shape[: self.axis], *shape[self.axis + 1 :]) for shape in shapes}
        if len(rests) != 1 or not 0 <= self.axis < len(shapes[0]):
            raise self.refuse(f"cannot join {', '.join(map(str, shapes))} along axis {self.axis}")
        joined = sum(shape[self.axis] for shape in shapes)
        return (*shapes[0][: self.axis], joined, *shapes[0][self.axis + 1 :])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        rescaled = sum(r is not None for r in self.requantizers) / len(self.requantizers)
        return elementwise_nest(self, tensors, batch, operations_per_output=rescaled)
