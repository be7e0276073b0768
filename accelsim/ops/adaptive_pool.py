"""Average pooling to a given size: windows that differ in size by one and may overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, Pair, TensorInfo
from accelsim.ops.shape import elementwise_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class AdaptiveAveragePool2d(Op):
    """Output (i, j) is the average of rows floor(i H / OH) … ceil((i + 1) H / OH) - 1 and columns likewise.

    Each window by the profile's average pool (E11 to E14); one grid in and out. Fields as AveragePool2d's.
    Source: PyTorch AdaptiveAveragePooling.cpp, start_index and end_index.
    """

    kind = "adaptive_average_pool2d"

    output_size: Pair
    zero_point: int
    qmin: int
    qmax: int
    arithmetic: str
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        (x,) = inputs
        out = np.empty((len(x), *self.output_size, x.shape[3]), x.dtype)
        for i, rows in enumerate(_windows(x.shape[1], self.output_size[0])):
            for j, columns in enumerate(_windows(x.shape[2], self.output_size[1])):
                window = np.ascontiguousarray(x[:, rows, columns])
                out[:, i, j] = kernels.average_pool2d(
                    window,
                    window=window.shape[1:3],
                    stride=window.shape[1:3],
                    divisor="window",
                    arithmetic=self.arithmetic,
                    x_zero_point=self.zero_point,
                    qmin=self.qmin,
                    qmax=self.qmax,
                    **self.params,
                )[:, 0, 0]
        return Computed(out)

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if len(shape) != 3 or min(self.output_size) < 1:
            raise self.refuse(f"(H, W, C) to positive sizes is needed, not {shape} to {self.output_size}")
        return (*self.output_size, shape[2])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        shape = tensors[self.inputs[0]].shape
        rows, columns = (
            sum(w.stop - w.start for w in _windows(shape[axis], self.output_size[axis])) for axis in (0, 1)
        )
        taps = rows * columns / (self.output_size[0] * self.output_size[1])
        return elementwise_nest(self, tensors, batch, operations_per_output=taps)


def _windows(size: int, outputs: int) -> Iterator[slice]:
    return (slice(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs))
