"""Functions of one code too wide for a table of its own: points with straight lines between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.function_tables import RealFunction
from accelsim.ops.shape import elementwise_nest
from accelsim.quant import QuantParams
from accelsim.shapes import ElementwiseNest

_SEGMENT_BITS = 9  # 512 segments, as TensorFlow Lite's tables of int16 codes have


@dataclass(frozen=True, eq=False)
class InterpolatedLut(Op):
    """A function of one code by a table of points, interpolated with ties up (E40).

    function: what the table holds, by name. table: int32, the points at the codes lowest, lowest + 2**fraction_bits,
    …, one more than there are segments; they may lie outside [qmin, qmax], to which the result is clamped.
    """

    kind = "interpolated_lut"

    function: str
    table: np.ndarray
    lowest: int
    fraction_bits: int
    qmin: int
    qmax: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table.ndim != 1 or self.table.dtype.kind not in "iu" or self.table.size < 2:
            raise self.refuse(f"the table must be two or more integers, not {self.table.dtype} {self.table.shape}")
        if not 0 <= self.fraction_bits <= 15 or self.qmin > self.qmax:
            raise self.refuse(f"{self.fraction_bits} fraction bits, codes {self.qmin} .. {self.qmax}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        limits = {"qmin": self.qmin, "qmax": self.qmax}
        how = {"lowest": self.lowest, "fraction_bits": self.fraction_bits, **limits}
        return Computed(kernels.interpolated_lut(inputs[0], self.table, **how))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # two look-ups, difference, product, rounding shift, sum
        return elementwise_nest(self, tensors, batch, operations_per_output=6.0)


def interpolated_table(function: RealFunction, x: QuantParams, y: QuantParams) -> tuple[np.ndarray, dict[str, int]]:
    """(points int32, lowest and fraction_bits) of a real function between two grids, in float64 (E40).

    Each point but the last is moved by half the error that a straight line makes at the middle of its segment, as
    TensorFlow Lite does for its int16 tables. The function is asked for codes up to one beyond the grid's last.
    """
    fraction_bits = max(x.bits - _SEGMENT_BITS, 0)
    segments = 1 << (x.bits - fraction_bits)
    width = 1 << fraction_bits

    def codes(first: float, count: int) -> np.ndarray:
        at = x.qmin + (first + np.arange(count)) * width
        real = np.asarray(function(x.scale * (at - x.zero_point))) / y.scale + y.zero_point
        return np.clip(real, -(2.0**30), 2.0**30)

    points = codes(0, segments + 1)
    if fraction_bits:
        points[:-1] -= ((points[:-1] + points[1:]) / 2 - codes(0.5, segments)) / 2
    return np.rint(points).astype(np.int32), {"lowest": x.qmin, "fraction_bits": fraction_bits}
