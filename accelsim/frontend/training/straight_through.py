"""Autograd functions whose value comes from the integer simulation and whose gradient comes from the reals.

The value of each function is handed in, already computed by the kernels; backward treats rounding as the identity
(straight-through estimator) and learns the grid as LSQ does:
    Esser et al., Learned Step Size Quantization (2020), eq. 3 and section 2.2 (gradient scale);
    Bhalgat et al., LSQ+ (2020), eq. 3 to 6 (offset of asymmetric grids).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import Function


@dataclass(frozen=True)
class Slopes:
    """Where a quantizer clips, and how its ends move with its scale and offset; each broadcasts against the values.

    qmin, qmax: codes of the clamp, a fused activation included, as far as they count as inside.
    low, high: d(end) / d(scale), that is the code of the end less the zero point, or less the grid's smallest code
    where an offset is learned; 0 for an end that an activation (ReLU, ReLU6 …) holds at a fixed real value.
    low_moves, high_moves: whether the offset moves the end.
    """

    qmin: torch.Tensor
    qmax: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    low_moves: torch.Tensor
    high_moves: torch.Tensor


class LearnedQuantizer(Function):
    """Dequantized codes forward; backward d/dy, d/dscale and d/doffset by LSQ+.

    y: the real values before quantization. codes: integer tensor of y's shape, what the hardware made of them.
    value: their real values. scale, offset: parameters, scalars or one per index of dimension 0.
    step, zero_point: the grid in use, of a shape that broadcasts against y. factor: LSQ's gradient scale
    1 / sqrt(elements * levels), for scale and offset.
    With v = y / step + zero_point:   dy = g inside [qmin, qmax], 0 outside;
    dscale = sum g * (code - v) inside, g * low or g * high outside: the rounding error is the hardware's own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        y: torch.Tensor,
        scale: torch.Tensor,
        offset: torch.Tensor | None,
        codes: torch.Tensor,
        value: torch.Tensor,
        step: torch.Tensor,
        zero_point: torch.Tensor,
        slopes: Slopes,
        factor: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(y, codes, step, zero_point)
        ctx.slopes, ctx.factor, ctx.shape, ctx.learns_offset = slopes, factor, scale.shape, offset is not None
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        (g,) = gradients
        y, codes, step, zero_point = ctx.saved_tensors
        slopes: Slopes = ctx.slopes
        v = torch.div(y, step).add_(zero_point)
        # masks as numbers, added up where they are made: a third of the time of torch.where over the activations
        below = torch.lt(v, slopes.qmin).to(g.dtype).mul_(g)
        above = torch.gt(v, slopes.qmax).to(g.dtype).mul_(g)
        dy = (g - below).sub_(above)
        dscale = doffset = None
        if ctx.needs_input_grad[1]:
            inside = codes.to(v.dtype).sub_(v).mul_(dy)
            outside = _summed(below, ctx.shape, slopes.low) + _summed(above, ctx.shape, slopes.high)
            dscale = (_summed(inside, ctx.shape) + outside) * ctx.factor
        if ctx.learns_offset and ctx.needs_input_grad[2]:
            moved = _summed(below, ctx.shape, slopes.low_moves) + _summed(above, ctx.shape, slopes.high_moves)
            doffset = moved * ctx.factor
        return dy, dscale, doffset, None, None, None, None, None, None


class IntegerMac(Function):
    """Dequantized accumulators forward; backward the gradients of the convolution or product of the real operands.

    geometry: of a convolution, as aten.convolution takes it (stride, padding, dilation, transposed, output_padding,
    groups); None for a fully connected layer. A transpose convolution's weight comes as torch has it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        value: torch.Tensor,
        geometry: tuple[Any, ...] | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dx = dweight = dbias = None
        if ctx.geometry is not None:
            wanted = [needs_x, needs_weight, needs_bias]
            dx, dweight, dbias = torch.ops.aten.convolution_backward(g, x, weight, [g.shape[1]], *ctx.geometry, wanted)
        else:
            rows = g.reshape(-1, g.shape[-1])
            if needs_x:
                dx = g @ weight
            if needs_weight:
                dweight = rows.T @ x.reshape(-1, x.shape[-1])
            if needs_bias:
                dbias = rows.sum(0)
        return dx, dweight, dbias, None, None


class Replaced(Function):
    """`value` forward, the gradient of `y` backward."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        return gradients[0], None


class Bounded(Function):
    """clamp(x, lower, upper), whose gradient is stopped only where it pushes further out: x can always come back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, lower, upper)
        return torch.minimum(torch.maximum(x, lower), upper)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        (g,) = gradients
        x, lower, upper = ctx.saved_tensors
        outwards = ((x <= lower) & (g > 0)) | ((x >= upper) & (g < 0))  # a step goes against the gradient
        return torch.where(outwards, 0.0, g), None, None


def _summed(gradient: torch.Tensor, shape: torch.Size, factor: torch.Tensor | None = None) -> torch.Tensor:
    """Sum of gradient * factor: over all, or all but dimension 0 where there is a parameter for each of its indices."""
    if factor is not None and factor.ndim:
        gradient, factor = gradient * factor, None
    found = gradient.flatten(1).sum(1) if len(shape) else gradient.sum()
    return found if factor is None else found * factor
