"""Elementwise integer operators: residual addition, and a change of grid with a clamp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.broadcasting import aligned, broadcast_shape
from accelsim.ops.shape import elementwise_nest
from accelsim.requant import Requantizer
from accelsim.shapes import ElementwiseNest

if TYPE_CHECKING:
    from accelsim_kernels.step import Step


@dataclass(frozen=True, eq=False)
class Add(Op):
    """The code of the real sum of two tensors on grids of their own, broadcast (equations E8, E9).

    arithmetic: a name of accelsim_kernels.names.ARITHMETIC["add"]; params: what that form takes.
    """

    kind = "add"
    arity = 2

    a_zero_point: int
    b_zero_point: int
    zero_point: int
    qmin: int
    qmax: int
    arithmetic: str
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(self._kernel(kernels)(*aligned(inputs), **self._keywords()))

    def step(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype], array: Mapping[str, Any], workers: int
    ) -> Step | None:
        from accelsim_kernels import steps

        if self.kind != Add.kind or shapes[0] != shapes[1]:
            return None
        return steps.add(shapes[0], *dtypes, **self._keywords())

    def _keywords(self) -> dict[str, Any]:
        return {
            "arithmetic": self.arithmetic,
            "a_zero_point": self.a_zero_point,
            "b_zero_point": self.b_zero_point,
            "zero_point": self.zero_point,
            "qmin": self.qmin,
            "qmax": self.qmax,
            **self.params,
        }

    def _kernel(self, kernels: Any) -> Any:
        return kernels.add

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return broadcast_shape(self, shapes)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # two operands rescaled, one addition, one output rescaled
        return elementwise_nest(self, tensors, batch, operations_per_output=4.0)


@dataclass(frozen=True, eq=False)
class Requantize(Op):
    """requantize(x - x_zero_point): another grid, a clamp, or both (E3)."""

    kind = "requantize"

    x_zero_point: int
    requantizer: Requantizer

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        keywords = self.requantizer.kwargs()
        return Computed(kernels.rescale(inputs[0], x_zero_point=self.x_zero_point, requantize=keywords))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return elementwise_nest(self, tensors, batch, operations_per_output=1.0)


@dataclass(frozen=True, eq=False)
class Clamp(Op):
    """min(max(x, qmin), qmax) on the grid of the input (E4)."""

    kind = "clamp"

    qmin: int
    qmax: int

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.clamp(inputs[0], qmin=self.qmin, qmax=self.qmax))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return elementwise_nest(self, tensors, batch, operations_per_output=2.0)
