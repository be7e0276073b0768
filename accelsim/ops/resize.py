"""Images of codes brought to another height and width; the grid of the codes stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, Pair, TensorInfo
from accelsim.ops.shape import elementwise_nest, movement_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class ResizeNearest(Op):
    """The nearest input pixel (E26). coordinates: "asymmetric", "align-corners" or "half-pixel"."""

    kind = "resize_nearest"

    output_size: Pair
    coordinates: str

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.resize_nearest(inputs[0], output_size=self.output_size, coordinates=self.coordinates))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if len(shape) != 3 or min(self.output_size) < 1:
            raise self.refuse(f"(H, W, C) to positive sizes is needed, not {shape} to {self.output_size}")
        return (*self.output_size, shape[2])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return movement_nest(self, tensors, batch)


@dataclass(frozen=True, eq=False)
class ResizeBilinear(ResizeNearest):
    """Bilinear interpolation (E25). rounding: "half_away" or "half_up"; positions: "fixed-point" or "float32"."""

    kind = "resize_bilinear"

    rounding: str
    positions: str = "fixed-point"

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        how = {"coordinates": self.coordinates, "rounding": self.rounding, "positions": self.positions}
        return Computed(kernels.resize_bilinear(inputs[0], output_size=self.output_size, **how))

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # four products, three sums, one rounding shift
        return elementwise_nest(self, tensors, batch, operations_per_output=8.0)
