"""Pooling over windows, and the mean over height and width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, Pair, TensorInfo, window_outputs
from accelsim.ops.shape import elementwise_nest
from accelsim.requant import Requantizer
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class _Window(Op):
    window: Pair
    stride: Pair
    padding: tuple[Pair, Pair]

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if len(shape) != 3:
            raise self.refuse(f"the input must be (H, W, C), not {shape}")
        rows, cols = (
            window_outputs(shape[axis], self.window[axis], self.stride[axis], self.padding[axis]) for axis in (0, 1)
        )
        if rows < 1 or cols < 1:
            raise self.refuse(f"a window of {self.window} does not fit an input of {shape[0]}×{shape[1]}")
        return rows, cols, shape[2]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        taps = self.window[0] * self.window[1]
        return elementwise_nest(self, tensors, batch, operations_per_output=float(taps))


@dataclass(frozen=True, eq=False)
class MaxPool2d(_Window):
    """Largest code of each window (E10); padded taps never win."""

    kind = "max_pool2d"

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.max_pool2d(inputs[0], window=self.window, stride=self.stride, padding=self.padding))


@dataclass(frozen=True, eq=False)
class AveragePool2d(_Window):
    """Average code of each window in the profile's arithmetic (E11 to E14); one grid in and out.

    divisor: "valid" (taps inside the image) or "window" (padding counts as real zeros).
    arithmetic: a name of accelsim_kernels.names.ARITHMETIC["average_pool2d"]; params: what that form takes.
    """

    kind = "average_pool2d"

    divisor: str
    zero_point: int
    qmin: int
    qmax: int
    arithmetic: str
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(
            kernels.average_pool2d(
                inputs[0],
                window=self.window,
                stride=self.stride,
                padding=self.padding,
                divisor=self.divisor,
                arithmetic=self.arithmetic,
                x_zero_point=self.zero_point,
                qmin=self.qmin,
                qmax=self.qmax,
                **self.params,
            )
        )


@dataclass(frozen=True, eq=False)
class Mean(Op):
    """Mean over height and width, with an output grid of its own (E15).

    requantizer: of the sum, its scale containing 1 / count; None for the arithmetic "exact", whose params,
    zero_point, qmin and qmax then hold.
    """

    kind = "mean"

    keep_dims: bool
    x_zero_point: int
    arithmetic: str
    requantizer: Requantizer | None
    zero_point: int
    qmin: int
    qmax: int
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        keywords: dict[str, Any] = dict(self.params)
        if self.requantizer is not None:
            keywords["requantize"] = self.requantizer.kwargs()
        else:
            keywords.update(zero_point=self.zero_point, qmin=self.qmin, qmax=self.qmax)
        mean = kernels.mean(
            inputs[0], axes=(1, 2), arithmetic=self.arithmetic, x_zero_point=self.x_zero_point, **keywords
        )
        return Computed(mean if self.keep_dims else mean.reshape(mean.shape[0], mean.shape[3]))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if len(shape) != 3:
            raise self.refuse(f"the input must be (H, W, C), not {shape}")
        return (1, 1, shape[2]) if self.keep_dims else (shape[2],)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        rows, cols, _ = tensors[self.inputs[0]].shape
        return elementwise_nest(self, tensors, batch, operations_per_output=float(rows * cols + 1))
