"""Any function of a pair of 8-bit codes, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.broadcasting import aligned, broadcast_shape
from accelsim.ops.shape import elementwise_nest
from accelsim.shapes import ElementwiseNest

_MOST = 256


@dataclass(frozen=True, eq=False)
class PairLut(Op):
    """table[a - lowest, b - lowest], broadcast.

    function: what the table holds, by name. table: output codes in the output's type, a row for each code of a.
    """

    kind = "pair_lut"
    arity = 2

    function: str
    table: np.ndarray
    lowest: int

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.table.ndim == 2 and max(self.table.shape) <= _MOST and self.table.dtype.kind in "iu"
        if not fits:
            raise self.refuse(f"the table must be integers of up to {_MOST} × {_MOST}, not {self.table.shape}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        a, b = (x.astype(np.int32) - np.int32(self.lowest) for x in aligned(inputs))
        for codes, count in zip((a, b), self.table.shape, strict=True):
            if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < count:
                raise ValueError(f"codes {codes.min()} .. {codes.max()} of a table of {count}")
        return Computed(self.table[a, b])

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return broadcast_shape(self, shapes)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        return elementwise_nest(self, tensors, batch, operations_per_output=4.0)
