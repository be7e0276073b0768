"""Addition whose operands are rescaled by tables, those of vector code and those of scalar code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.broadcasting import aligned, broadcast_shape
from accelsim.ops.shape import elementwise_nest
from accelsim.requant import Requantizer
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class TableAdd(Op):
    """The code of the real sum of two tensors, broadcast: requantizer(a_tables[a] + b_tables[b]) (E5, E3).

    a_tables, b_tables: int32 of shape (2, codes), what a code from `lowest` on counts in the sum: in vector code, in
    scalar code. A sample is computed in runs of `row` elements; the last row % block of each are scalar code's.
    """

    kind = "table_add"
    arity = 2

    a_tables: np.ndarray
    b_tables: np.ndarray
    lowest: int
    row: int
    block: int
    requantizer: Requantizer

    def __post_init__(self) -> None:
        super().__post_init__()
        for tables in (self.a_tables, self.b_tables):
            if tables.ndim != 2 or len(tables) != 2 or tables.dtype != np.int32:
                raise self.refuse(f"the tables must be int32 of shape (2, codes), not {tables.dtype} {tables.shape}")
        if self.row < 1 or self.block < 1:
            raise self.refuse(f"runs of {self.row} elements in blocks of {self.block}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        operands = aligned(inputs)

        def sums(code: int) -> np.ndarray:
            tables = self.a_tables[code], self.b_tables[code]
            a, b = (kernels.lut(x, table, lowest=self.lowest) for x, table in zip(operands, tables, strict=True))
            return a + b

        values = sums(0)
        rest = self.row % self.block
        if rest:
            scalar = np.arange(math.prod(values.shape[1:])) % self.row >= self.row - rest
            values = np.where(scalar.reshape(values.shape[1:]), sums(1), values)
        return Computed(kernels.requantize(values, **self.requantizer.kwargs()))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return broadcast_shape(self, shapes)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # two operands rescaled, one addition, one output rescaled
        return elementwise_nest(self, tensors, batch, operations_per_output=4.0)
