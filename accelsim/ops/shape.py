"""Operators that move codes without computing: reshape, transpose, pad."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.ops.base import Computed, Op, Pair, TensorInfo
from accelsim.shapes import ElementwiseNest

if TYPE_CHECKING:
    from accelsim_kernels.step import Step

_FEW = 4  # channels of an image


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """The same codes in another shape (without the batch); free: memory order does not change."""

    kind = "reshape"

    shape: tuple[int, ...]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(inputs[0].reshape(inputs[0].shape[0], *self.shape))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if math.prod(shapes[0]) != math.prod(self.shape) or any(n < 1 for n in self.shape):
            raise self.refuse(f"{shapes[0]} and {self.shape} differ in their number of elements")
        return self.shape

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Transpose(Op):
    """Axes (without the batch) in another order: output axis i is input axis order[i]."""

    kind = "transpose"

    order: tuple[int, ...]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        axes = (0, *(axis + 1 for axis in self.order))
        moved = inputs[0].transpose(axes)
        if not 1 < moved.shape[-1] <= _FEW:
            return Computed(np.ascontiguousarray(moved))
        values = np.empty(moved.shape, moved.dtype)
        for index in range(moved.shape[-1]):  # plane by plane: four times as fast as short innermost runs
            values[..., index] = moved[..., index]
        return Computed(values)

    def step(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype], array: Mapping[str, Any], workers: int
    ) -> Step | None:
        from accelsim_kernels import steps

        return steps.interleave(shapes[0], dtypes[0]) if self.order == (1, 2, 0) else None

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if sorted(self.order) != list(range(len(shape))):
            raise self.refuse(f"order {self.order} does not permute the axes of {shape}")
        return tuple(shape[axis] for axis in self.order)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest | None:
        shape = tensors[self.inputs[0]].shape
        moved = [axis for axis in self.order if shape[axis] > 1]
        return None if moved == sorted(moved) else movement_nest(self, tensors, batch)


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """Places of `value` (the code of real zero, or another code) before and after each axis.

    padding: one pair for each axis (without the batch); axes at the end may be left out.
    """

    kind = "pad"

    padding: tuple[Pair, ...]
    value: int

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        rest = inputs[0].ndim - 1 - len(self.padding)
        around = ((0, 0), *self.padding, *(((0, 0),) * rest))
        return Computed(np.pad(inputs[0], around, constant_values=self.value))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if len(self.padding) > len(shape) or any(min(pair) < 0 for pair in self.padding):
            raise self.refuse(f"padding {self.padding} of a tensor of shape {shape}: a pair >= 0 for each axis")
        padded = tuple(size + sum(pair) for size, pair in zip(shape, self.padding, strict=False))
        return (*padded, *shape[len(padded) :])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return movement_nest(self, tensors, batch)


def movement_nest(op: Op, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
    """Codes read and written once, nothing computed."""
    return elementwise_nest(op, tensors, batch, operations_per_output=0.0)


def elementwise_nest(
    op: Op, tensors: Mapping[str, TensorInfo], batch: int, *, operations_per_output: float
) -> ElementwiseNest:
    """The vector unit's view of `op`: every input read once, the output written once."""
    output = tensors[op.output]
    return ElementwiseNest(
        kind=op.kind,
        inputs=tuple((tensors[name].elements * batch, tensors[name].bits) for name in op.inputs),
        output_elements=output.elements * batch,
        output_bits=output.bits,
        operations_per_output=operations_per_output,
    )
