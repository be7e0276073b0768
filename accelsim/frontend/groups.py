"""Weights of fully connected layers with a scale for each group of inputs.

A group's partial sum is at s_x s_g; it is rescaled to a common scale s_x s_c before it is added to the others, so that
the sum of groups is a sum of integers (kernels/README.md, A9). s_c is the largest scale of the channel's groups over
2^FRACTION_BITS: rounding a partial sum then costs at most 2^-(FRACTION_BITS + 1) of the coarsest product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.frontend.ranges import weight_limits
from accelsim.quant import QTensor, QuantParams, check_bits, choose_params, quantize
from accelsim.requant import decompose

FRACTION_BITS = 4
#: how a partial sum is rescaled: the scheme of accelsim_kernels.grouped_matmul
SCHEME = "tflite-single"


@dataclass(frozen=True, eq=False)
class GroupedParams(QuantParams):
    """Grids of a weight (K, C) by groups of inputs. scale, zero_point: one entry for each weight, (K, C).

    group_size: consecutive inputs of a group. common: (K,), the scale of each channel's sums over that of the input.
    """

    group_size: int = 1
    common: Any = 1.0

    def __post_init__(self) -> None:
        check_bits(self.bits, "bits")
        if np.ndim(self.scale) != 2 or np.shape(self.scale) != np.shape(self.zero_point) or self.axis is not None:
            raise AccelsimError(f"scales of shape {np.shape(self.scale)} for weights by group: one for each weight")

    def by_group(self, values: np.ndarray) -> np.ndarray:
        """(groups, K) of entries that are equal within a group."""
        return np.ascontiguousarray(values[:, :: self.group_size].T)

    def rescaling(self) -> dict[str, np.ndarray]:
        """multiplier and shift (groups, K) from each group's scale to the common one."""
        ratio = self.by_group(self.scale) / self.common
        rows = [decompose(SCHEME, row) for row in ratio]
        return {name: np.stack([np.broadcast_to(row[name], len(self.common)) for row in rows]).astype(np.int64)
                for name in ("multiplier", "shift")}  # fmt: skip


def sum_scale(params: QuantParams) -> Any:
    """The scale of a layer's sums over that of its input: scalar or per output channel."""
    return params.common if isinstance(params, GroupedParams) else params.scale


def sum_params(params: QuantParams) -> QuantParams:
    """The grid that an operator keeps: its scale is that of the sums."""
    if not isinstance(params, GroupedParams):
        return params
    return QuantParams(params.common, np.zeros(len(params.common), np.int64), params.bits, params.signed, 0)


def quantize_by_group(
    weight: np.ndarray, group_size: int, method: str, bits: int, *, symmetric: bool, percentile: float,
    per_channel: bool, power_of_two: bool, least_common: np.ndarray,
) -> QTensor:  # fmt: skip
    """Codes of a weight (K, C) with a grid for each group of inputs, and for each output channel if per_channel.

    least_common: (K,) the smallest common scale at which the layer's bias still fits its sums.
    """
    scale, zero_point = np.empty(weight.shape), np.empty(weight.shape, np.int64)
    for start in range(0, weight.shape[1], group_size):
        part = weight[:, start : start + group_size]
        rows = part if per_channel else part.reshape(1, -1)
        lower, upper = weight_limits(rows, method, bits, symmetric, percentile)
        tiny = np.finfo(np.float32).tiny * 2.0**24 * (1 << bits)
        upper = np.where(upper - lower < tiny, lower + tiny, upper)
        grid = choose_params(lower, upper, bits=bits, symmetric=symmetric, power_of_two=power_of_two, axis=0)
        scale[:, start : start + group_size] = np.reshape(grid.scale, (-1, 1))
        zero_point[:, start : start + group_size] = np.reshape(grid.zero_point, (-1, 1))
    common = np.maximum(scale.max(axis=1) * 2.0**-FRACTION_BITS, least_common)
    common = np.exp2(np.ceil(np.log2(common))) if power_of_two else common.astype(np.float32).astype(np.float64)
    params = GroupedParams(scale, zero_point, bits, True, None, group_size, common)
    return QTensor(quantize(weight, params), params)
