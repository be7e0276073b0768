"""Integer softmax over the last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.shape import elementwise_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """exp(x) / sum(exp(x)) of codes along the last axis (E18, E19).

    arithmetic: a name of accelsim_kernels.names.ARITHMETIC["softmax"]; params: what that form takes, multiplier
    and shift (of beta * input scale) among them. The output's grid belongs to the form.
    """

    kind = "softmax"

    arithmetic: str
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.softmax(inputs[0], arithmetic=self.arithmetic, **self.params))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if not shapes[0]:
            raise self.refuse("needs an axis after the batch")
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # maximum, difference, exponential, sum, product with the reciprocal
        return elementwise_nest(self, tensors, batch, operations_per_output=5.0)
