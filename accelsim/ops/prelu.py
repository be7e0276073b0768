"""Leaky ReLU with a slope for each channel."""

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
class PRelu(Op):
    """identity(d) where d = x - x_zero_point is not negative, else slope(sign d), channels along the last axis (E24).

    slope: the requantizer of abs(slope), one parameter per channel; signs: -1, 0 or 1 of each slope.
    """

    kind = "prelu"

    x_zero_point: int
    identity: Requantizer
    slope: Requantizer
    signs: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.signs.ndim != 1 or self.signs.dtype.kind != "i" or np.any(np.abs(self.signs.astype(np.int64)) > 1):
            raise self.refuse(f"signs must be -1, 0 or 1 for each channel, not {self.signs.dtype} {self.signs.shape}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        difference = inputs[0].astype(np.int32) - np.int32(self.x_zero_point)
        above = kernels.requantize(np.maximum(difference, 0), **self.identity.kwargs())
        below = kernels.requantize(np.minimum(difference, 0) * self.signs.astype(np.int32), **self.slope.kwargs())
        return Computed(np.where(difference >= 0, above, below))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if not shapes[0] or shapes[0][-1] != len(self.signs):
            raise self.refuse(f"{len(self.signs)} slopes for a tensor of shape {shapes[0]}, channels last")
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # one comparison, one rescaling
        return elementwise_nest(self, tensors, batch, operations_per_output=2.0)
