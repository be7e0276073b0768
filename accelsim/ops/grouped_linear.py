"""Fully connected layer whose weights have a scale for each group of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import TensorInfo
from accelsim.ops.mac import MacOp
from accelsim.shapes import LoopNest


@dataclass(frozen=True, eq=False)
class GroupedLinear(MacOp):
    """acc = bias + sum over groups of rescale_g(sum over the group of (x - z_x)(w - z_w)) over the last axis (A9).

    weight: codes (K, C); groups of group_size consecutive inputs, the last may be shorter. multiplier, shift,
    zero_points: (groups, K): what brings a group's partial sum to the common scale, and its weights' zero point.
    weight_params: the width of the weights, and as scale that of the common sums: the bias and raw accumulators are
    at s_x * weight_params.scale.
    """

    kind = "linear_grouped"

    group_size: int
    multiplier: np.ndarray
    shift: np.ndarray
    zero_points: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.ndim != 2 or self.group_size < 1:
            raise self.refuse(f"a weight of shape {self.weight.shape} in groups of {self.group_size}: (K, C)")
        wanted = -(-self.weight.shape[1] // self.group_size), self.weight.shape[0]
        for name in ("multiplier", "shift", "zero_points"):
            found = getattr(self, name)
            if found.shape != wanted or found.dtype.kind not in "iu":
                raise self.refuse(f"{name} must be {wanted[0]} x {wanted[1]} integers, not {found.dtype} {found.shape}")

    def _compute(self, x: np.ndarray, kernels: Any, **keywords: Any) -> tuple[np.ndarray, np.ndarray]:
        values, events = kernels.grouped_matmul(
            x.reshape(-1, x.shape[-1]),
            self._packed(kernels, lambda: self._operands(kernels)),
            group_size=self.group_size,
            multiplier=self.multiplier,
            shift=self.shift,
            bias=self.bias,
            a_zero_point=self.x_zero_point,
            b_zero_point=self.zero_points,
            return_events=True,
            **keywords,
        )
        shape = (*x.shape[:-1], self.weight.shape[0])
        return values.reshape(shape), events.reshape(shape)

    def _operands(self, kernels: Any) -> list[Any]:
        size = self.group_size
        parts = (self.weight[:, start : start + size].T for start in range(0, self.weight.shape[1], size))
        return [kernels.pack(np.ascontiguousarray(part)) for part in parts]

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if not shape or shape[-1] != self.weight.shape[1]:
            raise self.refuse(f"the input ends in {shape[-1:]} features, the weight has shape {self.weight.shape}")
        return (*shape[:-1], self.weight.shape[0])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> LoopNest:
        shape = tensors[self.output].shape
        return LoopNest(
            b=batch * int(np.prod(shape[:-1], dtype=np.int64)),
            k=shape[-1],
            c=self.weight.shape[1],
            partial_rescales=len(self.multiplier),
            **{**self._widths(tensors), "asymmetric_weights": bool(self.zero_points.any())},
        )
