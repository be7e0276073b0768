"""Real zeros between the pixels of an image: what a strided transpose convolution reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, Pair, TensorInfo
from accelsim.ops.shape import movement_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class Spread(Op):
    """output[i * stride] = input[i] along rows and columns, `value` (the code of real zero) between (E28)."""

    kind = "spread"

    stride: Pair
    value: int

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        (x,) = inputs
        wide = np.full((len(x), *self.output_shape([x.shape[1:]])), self.value, x.dtype)
        wide[:, :: self.stride[0], :: self.stride[1]] = x
        return Computed(wide)

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if len(shape) != 3 or min(self.stride) < 1:
            raise self.refuse(f"(H, W, C) and positive strides are needed, not {shape} and {self.stride}")
        return (*((n - 1) * s + 1 for n, s in zip(shape[:2], self.stride, strict=True)), shape[2])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return movement_nest(self, tensors, batch)
