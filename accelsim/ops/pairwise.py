"""Elementwise operators on two tensors, broadcast against each other: difference, product, extrema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.arithmetic import Add
from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.broadcasting import aligned, broadcast_shape
from accelsim.ops.shape import elementwise_nest
from accelsim.requant import Requantizer
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class Sub(Add):
    """The code of the real difference a - b of two tensors on grids of their own (E8); fields as Add's.

    arithmetic: a name of accelsim_kernels.names.ARITHMETIC["sub"].
    """

    kind = "sub"

    def _kernel(self, kernels: Any) -> Any:
        return kernels.sub


@dataclass(frozen=True, eq=False)
class _Pair(Op):
    arity = 2

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return broadcast_shape(self, shapes)


@dataclass(frozen=True, eq=False)
class Mul(_Pair):
    """requantize((a - a_zero_point) * (b - b_zero_point)): the exact product rescaled (E17)."""

    kind = "mul"

    a_zero_point: int
    b_zero_point: int
    requantizer: Requantizer

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(
            kernels.mul(
                *aligned(inputs),
                a_zero_point=self.a_zero_point,
                b_zero_point=self.b_zero_point,
                requantize=self.requantizer.kwargs(),
            )
        )

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # one product, one rescaling
        return elementwise_nest(self, tensors, batch, operations_per_output=2.0)


@dataclass(frozen=True, eq=False)
class Maximum(_Pair):
    """The larger of two codes on one grid."""

    kind = "maximum"

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.maximum(*aligned(inputs)))

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return elementwise_nest(self, tensors, batch, operations_per_output=1.0)


@dataclass(frozen=True, eq=False)
class Minimum(Maximum):
    """The smaller of two codes on one grid."""

    kind = "minimum"

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.minimum(*aligned(inputs)))
