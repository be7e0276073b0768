"""A part of a tensor: regular places along each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.shape import movement_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class Slice(Op):
    """output[j] = input[starts + j * strides], 0 <= j < sizes: one entry per axis (without the batch).

    strides may be negative (they then walk back), never 0. Splits are slices, one for each part.
    """

    kind = "slice"

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        parts = [slice(None)]
        for start, size, stride in zip(self.starts, self.sizes, self.strides, strict=True):
            stop = start + size * stride
            parts.append(slice(start, stop if stop >= 0 else None, stride))
        return Computed(np.ascontiguousarray(inputs[0][tuple(parts)]))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if not len(shape) == len(self.starts) == len(self.sizes) == len(self.strides):
            raise self.refuse(f"starts, sizes and strides must have {len(shape)} entries, one for each axis")
        for axis, (start, size, stride) in enumerate(zip(self.starts, self.sizes, self.strides, strict=True)):
            last = start + (size - 1) * stride
            if size < 1 or stride == 0 or not (0 <= start < shape[axis] and 0 <= last < shape[axis]):
                raise self.refuse(f"{size} places from {start} by {stride} along axis {axis} of {shape}")
        return self.sizes

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return movement_nest(self, tensors, batch)
