"""Learned quantization grids: float parameters whose deployed values are exactly the ones that training uses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from accelsim.errors import AccelsimError
from accelsim.frontend.training.straight_through import Bounded, LearnedQuantizer, Slopes
from accelsim.quant import QuantParams

_SHRINKS_AT_MOST = 2.0**-10  # of its first value: a scale that an optimizer drives below zero can still come back
_ROUNDING = 2.0**-20  # of the largest code: a weight that set its own range is not clipped by float32's last bits
SMALLEST_SCALE = float(np.finfo(np.float32).tiny) * 2.0**24  # products of scales stay normal numbers


class LearnedGrid(nn.Module):
    """The quantizer of a tensor as parameters of training.

    scale: float32 parameter, scalar or one per output channel; the grid's step is the scale itself (a power-of-two
        grid: the nearest power of two), never less than 2^-10 of its first value.
    offset: float32 parameter, the real value of the grid's smallest code, so that
        zero_point = clamp(round(qmin - offset / step), qmin, qmax), as `choose_params` has it. Only where the zero
        point is learned; else `zero_point` is a buffer: symmetric grids, and outputs of ReLU and its relatives,
        whose smallest value stays zero.
    Gradients: see straight_through.LearnedQuantizer. `label` names the tensor in messages.
    """

    def __init__(
        self,
        params: QuantParams,
        *,
        label: str,
        elements: int,
        learn_scale: bool,
        learn_offset: bool,
        power_of_two: bool,
    ) -> None:
        super().__init__()
        self.label = label
        self.signed, self.axis, self.power_of_two = params.signed, params.axis, power_of_two
        step = torch.tensor(params.scale, dtype=torch.float32)
        zero_point = torch.tensor(params.zero_point, dtype=torch.int64)
        self.scale = nn.Parameter(step, requires_grad=learn_scale)
        self.register_buffer("smallest", step * _SHRINKS_AT_MOST)
        self.register_buffer("bits", torch.tensor(params.bits, dtype=torch.int64))
        if learn_offset:
            self.offset = nn.Parameter(step * (params.qmin - zero_point))
        else:
            self.offset = None
            self.register_buffer("zero_point", zero_point)
        symmetric = params.symmetric and not learn_offset
        levels = params.qmax if symmetric else params.qmax - params.qmin
        self.factor = 1.0 / math.sqrt(elements * levels)

    def params(self, floor: Any = 0.0) -> QuantParams:
        """The grid in use. floor: a step that it must reach (scalar or per channel), whatever was learned."""
        bits = int(self.bits)
        step = np.maximum(_float64(self.scale), _float64(self.smallest))
        if not np.isfinite(step).all():
            raise AccelsimError(f"the scale of {self.label} became {step}: training diverged, lower the learning rate")
        floor = np.maximum(np.asarray(floor, np.float64), SMALLEST_SCALE)
        if self.power_of_two:
            step, floor = np.exp2(np.rint(np.log2(step))), np.exp2(np.ceil(np.log2(floor)))
        step = np.maximum(step, floor).astype(np.float32).astype(np.float64)
        blank = QuantParams(step, np.zeros(np.shape(step), np.int64), bits, self.signed, self.axis)
        if self.offset is None:
            zero_point = self.zero_point.cpu().numpy()
        else:
            lowest = np.clip(_float64(self.offset), -step * (blank.qmax - blank.qmin), 0.0)
            zero_point = np.clip(np.rint(blank.qmin - lowest / step), blank.qmin, blank.qmax).astype(np.int64)
        return QuantParams(step, zero_point, bits, self.signed, self.axis)

    def quantized(
        self,
        y: torch.Tensor,
        codes: torch.Tensor,
        value: torch.Tensor,
        params: QuantParams,
        clamp: tuple[Any, Any] | None = None,
    ) -> torch.Tensor:
        """`value` with LSQ+ gradients to y and to this grid.

        params: the grid in use. clamp: codes of a fused clamp, integers or one per channel (dimension 1 of y).
        """
        ends = [_along(end, y, dimension=1) for end in clamp or (params.qmin, params.qmax)]
        moves = [end == limit for end, limit in zip(ends, (params.qmin, params.qmax), strict=True)]
        step, zero_point = (_along(entry, y, dimension=0) for entry in (params.scale, params.zero_point))
        origin = zero_point if self.offset is None else torch.full_like(zero_point, params.qmin)
        slack = _ROUNDING * max(abs(params.qmin), abs(params.qmax))
        edges = ends[0] - slack, ends[1] + slack
        slopes = Slopes(*edges, *((end - origin) * moved for end, moved in zip(ends, moves, strict=True)), *moves)
        offset = self.offset
        if offset is not None:
            lowest = -self.scale.detach() * (params.qmax - params.qmin)
            offset = Bounded.apply(offset, lowest, torch.zeros_like(lowest))
        return LearnedQuantizer.apply(y, self.scale, offset, codes, value, step, zero_point, slopes, self.factor)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Refuses a state of another width: its scales would mean something else."""
        found = state_dict.get(f"{prefix}bits")
        if found is not None and int(found) != int(self.bits):
            rest[-1].append(f"{prefix.rstrip('.')}: the state was trained at {int(found)} bits, not {int(self.bits)}")
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _float64(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _along(value: Any, y: torch.Tensor, dimension: int) -> torch.Tensor:
    """float32 scalar, or entries along a dimension of y, shaped to broadcast against it."""
    tensor = torch.as_tensor(value, dtype=torch.float32, device=y.device)
    return tensor.view(-1, *[1] * (y.ndim - dimension - 1)) if tensor.ndim else tensor
