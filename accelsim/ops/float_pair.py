"""Sum, difference or product of two tensors of codes, computed in float32 between quantizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.broadcasting import aligned, broadcast_shape
from accelsim.ops.shape import elementwise_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class FloatPair(Op):
    """The code of a real function of two tensors, broadcast (E33, E34).

    operation: "add", "sub" or "mul"; arithmetic: a name of accelsim_kernels.names.ARITHMETIC["float_pair"]; params:
    a_scale, b_scale, scale.
    """

    kind = "float_pair"
    arity = 2

    operation: str
    arithmetic: str
    a_zero_point: int
    b_zero_point: int
    zero_point: int
    qmin: int
    qmax: int
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(
            kernels.float_pair(
                *aligned(inputs),
                operation=self.operation,
                arithmetic=self.arithmetic,
                a_zero_point=self.a_zero_point,
                b_zero_point=self.b_zero_point,
                zero_point=self.zero_point,
                qmin=self.qmin,
                qmax=self.qmax,
                **self.params,
            )
        )

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return broadcast_shape(self, shapes)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # two operands rescaled, one operation, one output rescaled
        return elementwise_nest(self, tensors, batch, operations_per_output=4.0)
