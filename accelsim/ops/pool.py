"""Pooling over windows, and the mean over axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.ops.base import Computed, Op, Pair, TensorInfo, window_outputs
from accelsim.ops.shape import elementwise_nest
from accelsim.requant import Requantizer
from accelsim.shapes import ElementwiseNest

if TYPE_CHECKING:
    from accelsim_kernels.step import Step


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

    def step(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype], array: Mapping[str, Any], workers: int
    ) -> Step | None:
        from accelsim_kernels import steps

        rows, cols, _ = self.output_shape([shapes[0][1:]])
        return steps.max_pool2d(shapes[0], dtypes[0], (rows, cols), self.window, self.stride, self.padding, (1, 1))


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arithmetic == "two-roundings" and self.divisor == "valid" and any(map(any, self.padding)):
            raise self.refuse(
                "NVDLA divides every window by its whole size: with padding, count the padding (divisor 'window', "
                "count_include_pad=True in torch), or choose another profile"
            )

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
    """Mean over axes, by default height and width, with an output grid of its own (E15).

    axes: of the tensor without the batch. keep_dims: whether they stay with length 1.
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
    axes: tuple[int, ...] = (0, 1)

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        keywords: dict[str, Any] = dict(self.params)
        if self.requantizer is not None:
            keywords["requantize"] = self.requantizer.kwargs()
        else:
            keywords.update(zero_point=self.zero_point, qmin=self.qmin, qmax=self.qmax)
        mean = kernels.mean(
            inputs[0],
            axes=tuple(axis + 1 for axis in self.axes),
            arithmetic=self.arithmetic,
            x_zero_point=self.x_zero_point,
            **keywords,
        )
        return Computed(mean if self.keep_dims else mean.squeeze(tuple(axis + 1 for axis in self.axes)))

    def step(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype], array: Mapping[str, Any], workers: int
    ) -> Step | None:
        from accelsim_kernels import steps

        if self.requantizer is None or self.arithmetic != "requantize" or len(shapes[0]) != 4 or self.axes != (0, 1):
            return None
        return steps.mean(shapes[0], dtypes[0], self.x_zero_point, self.requantizer.kwargs())

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if not self.axes or len(set(self.axes)) != len(self.axes) or not set(self.axes) <= set(range(len(shape))):
            raise self.refuse(f"cannot take the mean over axes {self.axes} of a tensor of shape {shape}")
        kept = [1 if axis in self.axes else size for axis, size in enumerate(shape)]
        return tuple(size for axis, size in enumerate(kept) if self.keep_dims or axis not in self.axes)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        shape = tensors[self.inputs[0]].shape
        count = math.prod(shape[axis] for axis in self.axes)
        return elementwise_nest(self, tensors, batch, operations_per_output=float(count + 1))
