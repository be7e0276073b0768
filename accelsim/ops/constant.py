"""A constant tensor of the graph, for operators whose operand comes from the file instead of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo


@dataclass(frozen=True, eq=False)
class Constant(Op):
    """The same codes for every sample. values: shape without the batch; run() gives a batch of one."""

    kind = "constant"
    arity = 0

    values: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values.dtype.kind not in "iu":
            raise self.refuse(f"the values must be integers, not {self.values.dtype}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(self.values[None])

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return self.values.shape

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> None:
        return None  # its reader pays for reading it
