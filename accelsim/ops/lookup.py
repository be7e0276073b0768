"""Look-ups: a function of one code as a table, and rows of a table chosen by an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.shape import elementwise_nest, movement_nest
from accelsim.shapes import ElementwiseNest

_MAX_ENTRIES = 1 << 16  # one per 16-bit code


@dataclass(frozen=True, eq=False)
class Lut(Op):
    """table[x - lowest]: any function of one code (E5).

    function: what the table holds, by name ("logistic", "tanh", "gelu" …), for readers and writers of files.
    table: output codes, 1-D, one per input code from `lowest` upwards, in the output's type.
    """

    kind = "lut"

    function: str
    table: np.ndarray
    lowest: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table.ndim != 1 or self.table.dtype.kind not in "iu" or not 1 <= self.table.size <= _MAX_ENTRIES:
            raise self.refuse(f"the table must be 1 to {_MAX_ENTRIES} integers, not {self.table.dtype} "
                              f"{self.table.shape}")  # fmt: skip

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.lut(inputs[0], self.table, lowest=self.lowest))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return elementwise_nest(self, tensors, batch, operations_per_output=1.0)


@dataclass(frozen=True, eq=False)
class Embedding(Op):
    """Rows of a table of codes: output[…, :] = table[x[…], :]. The input holds indices.

    table: codes (rows, …) in the output's type. An index outside the table is an error at run time.
    """

    kind = "embedding"

    table: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table.ndim < 1 or self.table.dtype.kind not in "iu" or self.table.size == 0:
            raise self.refuse(f"the table must be integers with rows, not {self.table.dtype} {self.table.shape}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        (index,) = inputs
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(self.table):
            raise ValueError(f"indices {index.min()} .. {index.max()} of a table of {len(self.table)} rows")
        return Computed(self.table[index])

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return (*shapes[0], *self.table.shape[1:])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return movement_nest(self, tensors, batch)


@dataclass(frozen=True, eq=False)
class Gather(Op):
    """Chosen places along an axis (0 is the first after the batch): numpy's take().

    indices: any shape, each 0 .. size of the axis - 1; the axis is replaced by their shape.
    """

    kind = "gather"

    axis: int
    indices: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.indices.dtype.kind not in "iu" or self.indices.size == 0:
            raise self.refuse(f"the indices must be integers, not {self.indices.dtype} {self.indices.shape}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(np.take(inputs[0], self.indices, axis=self.axis + 1))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if not 0 <= self.axis < len(shape):
            raise self.refuse(f"axis {self.axis} of a tensor of shape {shape}")
        if int(self.indices.min()) < 0 or int(self.indices.max()) >= shape[self.axis]:
            raise self.refuse(f"indices {self.indices.min()} .. {self.indices.max()} along {shape[self.axis]} places")
        return (*shape[: self.axis], *self.indices.shape, *shape[self.axis + 1 :])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return movement_nest(self, tensors, batch)
