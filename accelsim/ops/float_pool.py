"""Average pooling computed in float32 between quantizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed
from accelsim.ops.pool import _Window


@dataclass(frozen=True, eq=False)
class FloatAveragePool(_Window):
    """Average of each window: dequantized, summed and divided in float32, quantized (E35).

    values: float32, for every code from `lowest` on, where a function of one code comes before; x_scale and
    x_zero_point then say nothing. divisor: "valid" (taps inside the image) or "window" (padding counts as real zeros).
    order: of the sum, "columns", "rows" or "vectors".
    """

    kind = "float_average_pool"

    divisor: str
    order: str
    x_zero_point: int
    zero_point: int
    qmin: int
    qmax: int
    x_scale: float
    scale: float
    values: np.ndarray | None = None
    lowest: int = 0

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(
            kernels.float_average_pool(
                inputs[0],
                window=self.window,
                stride=self.stride,
                padding=self.padding,
                divisor=self.divisor,
                order=self.order,
                x_scale=self.x_scale,
                scale=self.scale,
                x_zero_point=self.x_zero_point,
                zero_point=self.zero_point,
                qmin=self.qmin,
                qmax=self.qmax,
                values=self.values,
                lowest=self.lowest,
            )
        )
