"""MAC layers under training: float weights, their grid, and batch norm folded, corrected or kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.operators.transpose_conv import ConvTranspose2d, exchanged
from accelsim.frontend.training.grids import SMALLEST_SCALE, LearnedGrid
from accelsim.frontend.training.projection import bounded_codes, budget_of
from accelsim.frontend.training.straight_through import IntegerMac, Replaced
from accelsim.quant import QTensor, QuantParams, quantize

#: how batch norm is trained (paper, section 5.2.2)
BATCH_NORM = ("folded", "double-forward", "per-channel")

_BIAS_LIMIT = 2.0**30  # biases stay well inside int32
_BIAS_SHARE = 15 / 16  # of an accumulator that bounds the weights: what is left is for weights and inputs


@dataclass(frozen=True)
class Effective:
    """What a layer computes with, this step.

    weight: codes and grid, torch's layout. bias: real, float32, detached; None where there is none.
    real: accumulators as real values → the same values with the gradients of the float layer.
    """

    weight: QTensor
    bias: torch.Tensor | None
    real: Callable[[torch.Tensor], torch.Tensor]


class BatchNorm(nn.Module):
    """The parameters and running statistics of a batch norm that is trained along with its layer."""

    def __init__(self, node: FloatNode) -> None:
        super().__init__()
        found = node.parameters
        self.eps = node.attributes["eps"]
        self.momentum = node.attributes["momentum"] or 0.1  # 0 stands in exported graphs of cumulative averages
        deviation = torch.sqrt(found["variance"].double() + self.eps)
        self.weight = nn.Parameter((found["scale"] * deviation).float())
        self.bias = nn.Parameter((found["offset"] + found["mean"].double() * found["scale"]).float())
        self.register_buffer("running_mean", found["mean"].detach().clone())
        self.register_buffer("running_var", found["variance"].detach().clone())

    @property
    def deviation(self) -> torch.Tensor:
        return torch.sqrt(self.running_var + self.eps)

    def statistics(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of this batch, with gradients; the running ones move, once for each step."""
        axes = [axis for axis in range(y.ndim) if axis != 1]
        variance, mean = torch.var_mean(y, dim=axes, correction=0)
        if not _recomputing():
            count = y.numel() // y.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        return mean, torch.sqrt(variance + self.eps)


class TrainedLayer(nn.Module):
    """A convolution or fully connected layer: weight, bias, weight_grid and, unless folded, batch_norm.

    accumulator_bits: width that no input may overflow (projection.py); None leaves the codes as they are.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        grid: LearnedGrid,
        norm: BatchNorm | None,
        *,
        mode: str,
        accumulator_bits: int | None,
        train_weight: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=train_weight)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.weight_grid = grid
        self.batch_norm = norm
        self.mode = mode
        self.accumulator_bits = accumulator_bits

    def effective(self, node: FloatNode, x: torch.Tensor | None, grid: QuantParams, live: bool) -> Effective:
        """This step's weights and bias.

        x: real input, None where only the integers are wanted. grid: the input's. live: batch norm takes the
        statistics of this batch and moves the running ones; else the running ones hold.
        """
        norm = self.batch_norm
        if norm is None:
            return self._folded(node, x, grid, self.weight, self.bias, None)
        if self.mode == "double-forward":
            mean, correction = norm.running_mean, None
            if live:
                mean, deviation = norm.statistics(float_layer(node, x, self.weight))
                correction = norm.deviation / deviation
            gain = norm.weight / norm.deviation
            weight = self.weight * _per_channel(gain, self.weight)
            bias = self._shifted(mean, gain if correction is None else gain * correction)
            return self._folded(node, x, grid, weight, bias, correction)
        return self._kept(node, x, grid, norm, live)

    def _folded(
        self,
        node: FloatNode,
        x: torch.Tensor | None,
        grid: QuantParams,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        correction: torch.Tensor | None,
    ) -> Effective:
        """correction: factor per output channel on the product of weights and input, behind the rounding.

        Weights are folded with the running statistics, so that their codes are the deployed ones; where a first,
        float convolution found the statistics of the batch, the result is rescaled to those.
        """
        factor = 1.0 if correction is None else _array(correction)
        floor = self._bias_floor(bias, grid.scale * factor)
        params = self.weight_grid.params(floor if self.weight_grid.axis == 0 else floor.max())
        used = params
        if correction is not None:
            scale = (params.scale * factor).astype(np.float32).astype(np.float64)
            zero_points = np.broadcast_to(params.zero_point, scale.shape)
            used = QuantParams(scale, zero_points, params.bits, params.signed, axis=0)
        codes = self._codes(node, _array(weight), params, grid, bias, used)
        real = self._real(weight, codes, params)
        if correction is not None:
            real = real * _per_channel(correction, real)
        return Effective(QTensor(codes, used), _detached(bias), _integer_mac(node, x, real, bias))

    def _kept(
        self, node: FloatNode, x: torch.Tensor | None, grid: QuantParams, norm: BatchNorm, live: bool
    ) -> Effective:
        """The unfolded weights are quantized; batch norm goes into the scale of each channel's requantization."""
        sign = torch.where(norm.weight.detach() < 0, -1.0, 1.0)  # scales are positive: the weights take the sign
        signed = self.weight * _per_channel(sign, self.weight)
        params = self.weight_grid.params()
        codes = self._codes(node, _array(signed), params)
        rounded = self._real(signed, codes, params)
        real = rounded * _per_channel(sign, rounded)
        if live:
            y = float_layer(node, x, real)
            mean, deviation = norm.statistics(y)
        else:
            mean, deviation = norm.running_mean, norm.deviation
        gain = norm.weight / deviation
        bias = self._shifted(mean, gain)
        scale = params.scale * np.abs(_array(gain))
        floor = np.maximum(self._bias_floor(bias, grid.scale), SMALLEST_SCALE)
        if np.any(scale < floor):  # a channel whose gain is next to nothing: its codes shrink instead of its scale
            shrunk = np.minimum(scale / floor, 1.0).reshape(-1, *[1] * (signed.ndim - 1))
            codes = self._codes(node, _array(signed) * shrunk, params)
        scale = np.maximum(scale, floor).astype(np.float32).astype(np.float64)
        weight = QTensor(codes, QuantParams(scale, params.zero_point, params.bits, params.signed, axis=0))
        if not live:
            mac = _integer_mac(node, x, real * _per_channel(gain, real), bias)
            return Effective(weight, _detached(bias), mac)

        def normalized(value: torch.Tensor) -> torch.Tensor:
            return Replaced.apply(y * _per_channel(gain, y, 1) + _per_channel(bias, y, 1), value)

        return Effective(weight, _detached(bias), normalized)

    def _shifted(self, mean: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return self.batch_norm.bias + (-mean if self.bias is None else self.bias - mean) * gain

    def _codes(
        self,
        node: FloatNode,
        values: np.ndarray,
        params: QuantParams,
        grid: QuantParams | None = None,
        bias: torch.Tensor | None = None,
        used: QuantParams | None = None,
    ) -> np.ndarray:
        """Weight codes on the grid `params`, within the accumulator where one is set.

        grid: of the input. bias: real; its codes are those at the scale of `used`.
        """
        if not np.isfinite(values).all():
            raise AccelsimError(f"layer {node.layer!r}: weights are NaN or infinite: lower the learning rate")
        codes = quantize(values, params)
        if self.accumulator_bits is None:
            return codes
        rows = (len(values), -1)
        scales = np.broadcast_to(params.scale, len(values))[:, None]
        start = np.zeros(len(values), np.int64)
        if bias is not None:
            start = np.rint(_array(bias) / (grid.scale * np.asarray(used.scale))).astype(np.int64)
        try:
            budget = budget_of(grid, self.accumulator_bits)
            found = bounded_codes(values.reshape(rows) / scales, codes.reshape(rows), start, params, budget)
        except AccelsimError as error:
            raise AccelsimError(f"layer {node.layer!r}: {error}") from error
        return found.reshape(codes.shape)

    def _real(self, weight: torch.Tensor, codes: np.ndarray, params: QuantParams) -> torch.Tensor:
        """The real values of codes, with gradients to the weights and their grid."""
        view = (-1, *[1] * (weight.ndim - 1)) if params.axis is not None else ()
        step, zero_point = (np.asarray(v, np.float32).reshape(view) for v in (params.scale, params.zero_point))
        real = torch.as_tensor((codes - zero_point) * step, device=weight.device)
        return self.weight_grid.quantized(weight, torch.as_tensor(codes, device=weight.device), real, params)

    def _bias_floor(self, bias: torch.Tensor | None, input_scale: np.ndarray | float) -> np.ndarray:
        """The smallest weight scales at which the bias codes stay inside 31 bits, or their share of the accumulator."""
        limit = _BIAS_LIMIT if self.accumulator_bits is None else _BIAS_SHARE * 2.0 ** (self.accumulator_bits - 1)
        return np.zeros(1) if bias is None else np.abs(_array(bias)) / (np.asarray(input_scale) * limit)


def float_layer(node: FloatNode, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The layer without its bias, in float."""
    return node.operator.execute(replace(node, parameters={"weight": weight}), x)


def _integer_mac(
    node: FloatNode, x: torch.Tensor | None, weight: torch.Tensor, bias: torch.Tensor | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    a = node.attributes

    def real(value: torch.Tensor) -> torch.Tensor:
        if node.operator is Linear:
            return IntegerMac.apply(x, weight, bias, value, None)
        if node.operator is ConvTranspose2d:
            geometry = (a["stride"], a["padding"], a["dilation"], True, a["output_padding"], a["groups"])
            return IntegerMac.apply(x, exchanged(weight, a["groups"]), bias, value, geometry)
        padded, padding = _padded(node, x)
        geometry = (a["stride"], padding, a["dilation"], False, (0, 0), a["groups"])
        return IntegerMac.apply(padded, weight, bias, value, geometry)

    return real


def _padded(node: FloatNode, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
    """(x, padding of both sides that is left to the convolution): x itself is padded where the sides differ."""
    (top, bottom), (left, right) = node.attributes["padding"]
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom)), (0, 0)


def _per_channel(value: torch.Tensor, like: torch.Tensor, axis: int = 0) -> torch.Tensor:
    return value.view(*[1] * axis, -1, *[1] * (like.ndim - axis - 1))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _detached(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach().cpu()


def _recomputing() -> bool:
    """Whether a backward pass is running this forward again, for gradient checkpointing."""
    return torch._C._current_graph_task_id() != -1
