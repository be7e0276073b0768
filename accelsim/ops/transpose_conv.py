"""Transpose convolution: the convolution of an input that is spread out by the stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Pair, TensorInfo
from accelsim.ops.mac import MacOp
from accelsim.shapes import LoopNest


@dataclass(frozen=True, eq=False)
class TransposeConv2d(MacOp):
    """Input pixel (i, j) times tap (ky, kx) adds at (i * stride + ky - padding, …) (E28).

    weight (K, fy, fx, C); padding (top, left): taps cut off there; output_size: rows and columns.
    """

    kind = "transpose_conv2d"

    stride: Pair
    padding: Pair
    output_size: Pair

    def _compute(self, x: np.ndarray, kernels: Any, **keywords: Any) -> tuple[np.ndarray, np.ndarray]:
        return kernels.transpose_conv2d(
            x,
            self.weight,
            stride=self.stride,
            padding=self.padding,
            output_size=self.output_size,
            x_zero_point=self.x_zero_point,
            w_zero_point=self.weight_params.zero_point,
            bias=self.bias,
            return_events=True,
            **keywords,
        )

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if len(shape) != 3 or self.weight.ndim != 4 or shape[2] != self.weight.shape[3]:
            raise self.refuse(f"an input {shape} with a weight {self.weight.shape}: (H, W, C) and (K, fy, fx, C)")
        if min(self.stride) < 1 or min(self.output_size) < 1:
            raise self.refuse(f"stride {self.stride} and output size {self.output_size} must be positive")
        for axis in (0, 1):
            if not 0 <= self.padding[axis] < self.weight.shape[1 + axis]:
                raise self.refuse(f"padding {self.padding} cuts off a whole filter of {self.weight.shape[1:3]}")
            if self._spread(shape[axis], axis)[0] < 1:
                raise self.refuse(f"an output of {self.output_size} does not meet an input of {shape[:2]}")
        return (*self.output_size, len(self.weight))

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> LoopNest:
        """The convolution that is computed: the zeros between the spread pixels are multiplied, too."""
        shape = tensors[self.inputs[0]].shape
        (iy, rows), (ix, columns) = (self._spread(shape[axis], axis) for axis in (0, 1))
        return LoopNest(
            b=batch,
            k=len(self.weight),
            c=shape[2],
            oy=self.output_size[0],
            ox=self.output_size[1],
            fy=self.weight.shape[1],
            fx=self.weight.shape[2],
            padding=(rows, columns),
            iy=iy,
            ix=ix,
            **self._widths(tensors),
        )

    def _spread(self, size: int, axis: int) -> tuple[int, Pair]:
        """Pixels of the spread input that matter, and the real zeros before and after them."""
        spread = (size - 1) * self.stride[axis] + 1
        taps = self.weight.shape[1 + axis]
        before = taps - 1 - self.padding[axis]
        after = self.output_size[axis] - (spread + before - taps + 1)
        return spread + min(before, 0) + min(after, 0), (max(before, 0), max(after, 0))

    def spread(self, x: np.ndarray) -> tuple[np.ndarray, tuple[Pair, Pair]]:
        """The input as the convolution sees it, zeros between its pixels, and the padding around it."""
        (iy, rows), (ix, columns) = (self._spread(x.shape[1 + axis], axis) for axis in (0, 1))
        wide = np.full((len(x), iy, ix, x.shape[3]), self.x_zero_point, x.dtype)
        # padding < filter (output_shape), so nothing is cut off before the first pixel; what lies behind may be
        read = [-(-wide.shape[1 + axis] // self.stride[axis]) for axis in (0, 1)]
        wide[:, :: self.stride[0], :: self.stride[1]] = x[:, : read[0], : read[1]]
        return wide, (rows, columns)

    def source(self, output: int, tap: int, size: int, axis: int) -> int | None:
        """The input row (axis 0) or column that a tap of the walk reads for an output, None where it reads a zero."""
        spread = output - (self.weight.shape[1 + axis] - 1 - self.padding[axis]) + tap
        place, between = divmod(spread, self.stride[axis])
        return None if between or not 0 <= place < size else place


def walked_weight(op: MacOp) -> np.ndarray:
    """The weight in the order in which the accumulator takes its taps: a transpose convolution flips its filter."""
    return op.weight[:, ::-1, ::-1] if isinstance(op, TransposeConv2d) else op.weight
