"""Functions of one element that are computed, not tabulated: 16-bit logistic and tanh, leaky ReLU."""

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
class _Unary(Op):
    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return shapes[0]


@dataclass(frozen=True, eq=False)
class Logistic(_Unary):
    """1 / (1 + exp(-x)) (E21, E22).

    arithmetic: a name of accelsim_kernels.names.ARITHMETIC["logistic"]; params: what that form takes,
    multiplier and shift among them. 8-bit codes as a table of 256 entries are a Lut.
    """

    kind = "logistic"

    x_zero_point: int
    arithmetic: str
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        function = getattr(kernels, self.kind)
        return Computed(function(inputs[0], arithmetic=self.arithmetic, x_zero_point=self.x_zero_point, **self.params))

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # rescale, two look-ups, difference, product, sum, rounding shift
        return elementwise_nest(self, tensors, batch, operations_per_output=6.0)


@dataclass(frozen=True, eq=False)
class Tanh(Logistic):
    """tanh(x) (E21, E22); fields as Logistic's."""

    kind = "tanh"


@dataclass(frozen=True, eq=False)
class LeakyRelu(_Unary):
    """identity(x - x_zero_point) where it is not negative, else slope(x - x_zero_point) (E24)."""

    kind = "leaky_relu"

    x_zero_point: int
    identity: Requantizer
    slope: Requantizer

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        keywords = {"identity": self.identity.kwargs(), "slope": self.slope.kwargs()}
        return Computed(kernels.leaky_relu(inputs[0], x_zero_point=self.x_zero_point, **keywords))

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # one comparison, one rescaling
        return elementwise_nest(self, tensors, batch, operations_per_output=2.0)
