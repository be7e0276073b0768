"""Operators that runtimes compute in float32 between codes: every step is rounded as they round it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.shape import elementwise_nest
from accelsim.shapes import ElementwiseNest

_F = np.float32
_ROUNDINGS = ("half_even", "half_away")


@dataclass(frozen=True, eq=False)
class FloatReduce(Op):
    """round(float32(sum of raw codes) * scale + bias) + zero_point, clamped, over axes of a sample.

    scale, bias: float32 values; product and sum are rounded to float32 one after the other. rounding: half_even or
    half_away. The zero point of the input is in the bias. Source: LiteRT optimized/reduce.h; XNNPACK's reductions.
    """

    kind = "float_reduce"

    axes: tuple[int, ...]
    keep_dims: bool
    scale: float
    bias: float
    rounding: str
    zero_point: int
    qmin: int
    qmax: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounding not in _ROUNDINGS:
            raise self.refuse(f"rounding {self.rounding!r} is none of {', '.join(_ROUNDINGS)}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        axes = tuple(axis + 1 for axis in self.axes)
        total = inputs[0].sum(axis=axes, dtype=np.int64, keepdims=self.keep_dims).astype(_F)
        real = (total * _F(self.scale) + _F(self.bias)).astype(np.float64)
        whole = np.rint(real) if self.rounding == "half_even" else np.trunc(real + np.copysign(0.5, real))
        return Computed(np.clip(whole + self.zero_point, self.qmin, self.qmax).astype(inputs[0].dtype))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if not self.axes or not set(self.axes) <= set(range(len(shape))):
            raise self.refuse(f"cannot reduce axes {self.axes} of a tensor of shape {shape}")
        kept = [1 if axis in self.axes else size for axis, size in enumerate(shape)]
        return tuple(size for axis, size in enumerate(kept) if self.keep_dims or axis not in self.axes)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        shape = tensors[self.inputs[0]].shape
        count = math.prod(shape[axis] for axis in self.axes)
        return elementwise_nest(self, tensors, batch, operations_per_output=float(count + 2))


@dataclass(frozen=True, eq=False)
class TableSoftmax(Op):
    """Softmax of codes over the last axis by a table of exponentials.

    table: float32, the exponential of every difference to the row's maximum, from 0 on. The table's values are added
    in order in float32; each is multiplied by 1 / (sum * scale), rounded with ties away, and moved by zero_point.
    The result has 8 or 16 bits, as qmin and qmax ask. Source: LiteRT optimized_ops.h, Softmax of 8-bit codes.
    """

    kind = "table_softmax"

    table: np.ndarray
    scale: float
    zero_point: int
    qmin: int
    qmax: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table.ndim != 1 or self.table.dtype != _F:
            raise self.refuse(f"the table must be float32 in one row, not {self.table.dtype} {self.table.shape}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        (x,) = inputs
        difference = x.max(axis=-1, keepdims=True).astype(np.int64) - x
        if difference.max(initial=0) >= len(self.table):
            raise ValueError(f"differences up to {difference.max()} of a table of {len(self.table)}")
        exponentials = self.table[difference]
        total = np.cumsum(exponentials, axis=-1, dtype=_F)[..., -1:]  # one after the other
        scaled = (exponentials * (_F(1) / (total * _F(self.scale)))).astype(np.float64)
        codes = np.trunc(scaled + 0.5) + self.zero_point
        wide = max(-self.qmin - 1, self.qmax) > 127
        return Computed(np.clip(codes, self.qmin, self.qmax).astype(np.int16 if wide else x.dtype))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if not shapes[0]:
            raise self.refuse("needs an axis after the batch")
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # maximum, difference, look-up, sum, product with the reciprocal
        return elementwise_nest(self, tensors, batch, operations_per_output=5.0)
