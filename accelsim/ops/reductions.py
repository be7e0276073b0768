"""Largest and smallest codes along axes, and the place of the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.shape import elementwise_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class ReduceExtremum(Op):
    """The largest (or smallest) code over axes of a sample; the grid stays."""

    kind = "reduce_extremum"

    axes: tuple[int, ...]
    keep_dims: bool
    largest: bool

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        reduce = np.max if self.largest else np.min
        return Computed(reduce(inputs[0], axis=tuple(axis + 1 for axis in self.axes), keepdims=self.keep_dims))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if not self.axes or len(set(self.axes)) != len(self.axes) or not set(self.axes) <= set(range(len(shape))):
            raise self.refuse(f"cannot reduce axes {self.axes} of a tensor of shape {shape}")
        kept = [1 if axis in self.axes else size for axis, size in enumerate(shape)]
        return tuple(size for axis, size in enumerate(kept) if self.keep_dims or axis not in self.axes)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        shape = tensors[self.inputs[0]].shape
        count = math.prod(shape[axis] for axis in self.axes)
        return elementwise_nest(self, tensors, batch, operations_per_output=float(count))


@dataclass(frozen=True, eq=False)
class ArgMax(Op):
    """The place of the largest code along an axis of a sample, the first of several; as a code of 16 unsigned bits."""

    kind = "arg_max"

    axis: int

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(np.argmax(inputs[0], axis=self.axis + 1).astype(np.uint16))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if not 0 <= self.axis < len(shape) or shape[self.axis] > 1 << 16:
            raise self.refuse(f"along axis {self.axis} of a tensor of shape {shape}")
        return (*shape[: self.axis], *shape[self.axis + 1 :])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        count = tensors[self.inputs[0]].shape[self.axis]
        return elementwise_nest(self, tensors, batch, operations_per_output=float(count))
