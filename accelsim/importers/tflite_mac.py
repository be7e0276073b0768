"""Operators of .tflite files that multiply and accumulate: convolutions, fully connected layers, matrix products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from accelsim.importers.lowering import Lowering
from accelsim.importers.registry import UnsupportedError, lowers
from accelsim.importers.tflite_file import FileOperator, FileTensor
from accelsim.importers.tflite_grids import clamp_codes, weight_grid
from accelsim.ops.base import Pair
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.mac import Conv2d, Linear
from accelsim.ops.tailed import TailedConv2d, TailedTransposeConv2d
from accelsim.ops.transpose_conv import TransposeConv2d
from accelsim.profiles import OperatorNumerics
from accelsim.quant import QuantParams

_SAME, _VALID = 0, 1
_INT32 = 2  # of TensorType


def window_padding(mode: int, size: int, window: int, stride: int, dilation: int = 1) -> Pair:
    """Padding before and after an axis by TensorFlow's SAME and VALID. Source: kernels/padding.h."""
    if mode not in (_SAME, _VALID):
        raise UnsupportedError(f"padding mode {mode}")
    if min(size, window, stride, dilation) < 1:
        raise UnsupportedError(f"a window of {window}, stride {stride}, dilation {dilation} on {size} places")
    if mode == _VALID:
        return 0, 0
    reach = (window - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


@lowers("CONV_2D")
def conv2d(op: FileOperator, to: Lowering) -> None:
    options = to.options(op, "Conv2DOptions")
    x, weight, shape = _image_and_weight(op, to)
    if weight.ndim != 4 or weight.shape[3] < 1 or shape[2] % weight.shape[3]:
        raise UnsupportedError(f"weights {weight.shape} for an input of shape {shape}")
    params = weight_grid(to.tensor(op, 1), 0, len(weight))
    groups = shape[2] // weight.shape[3]
    _convolution(op, to, options, options.FusedActivationFunction(), "conv2d", x, weight, params, groups)


@lowers("DEPTHWISE_CONV_2D")
def depthwise_conv2d(op: FileOperator, to: Lowering) -> None:
    options = to.options(op, "DepthwiseConv2DOptions")
    x, weight, shape = _image_and_weight(op, to)
    if weight.ndim != 4 or weight.shape[0] != 1 or weight.shape[3] % shape[2]:
        raise UnsupportedError(f"weights {weight.shape} for an input of shape {shape}")
    params = weight_grid(to.tensor(op, 1), 3, weight.shape[3])
    weight = np.ascontiguousarray(weight[0].transpose(2, 0, 1))[..., None]  # (C * multiplier, fy, fx, 1)
    activation = options.FusedActivationFunction()
    _convolution(op, to, options, activation, "depthwise_conv2d", x, weight, params, shape[2])


def _image_and_weight(op: FileOperator, to: Lowering) -> tuple[str, np.ndarray, tuple[int, ...]]:
    name = to.input(op, 0)
    shape = to.tensors[name].shape
    if len(to.full_shape(op.inputs[0])) != 4 or len(shape) != 3:
        raise UnsupportedError(f"an input of shape {to.full_shape(op.inputs[0])}; (1, H, W, C) is needed")
    return name, to.constant(op, 1, "the weight"), shape


def _convolution(op, to: Lowering, options, activation, operator, x, weight, params, groups) -> None:
    stride = options.StrideH(), options.StrideW()
    dilation = options.DilationHFactor(), options.DilationWFactor()
    shape = to.tensors[x].shape
    delegated = params.bits == 8
    if operator == "conv2d" and groups > 1 and to.defines("grouped_conv2d", to.params(op.inputs[0]).bits, delegated):
        operator = "grouped_conv2d"
    padding = tuple(
        window_padding(options.Padding(), shape[axis], weight.shape[1 + axis], stride[axis], dilation[axis])
        for axis in (0, 1)
    )
    fields = _accumulation(op, to, operator, activation, params, to.optional(op, 2), delegated=delegated)
    to.emit(
        TailedConv2d if "tail" in fields else Conv2d,
        op,
        [x],
        op.outputs[0],
        **fields,
        weight=weight,
        weight_params=params,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@lowers("TRANSPOSE_CONV")
def transpose_conv(op: FileOperator, to: Lowering) -> None:
    """Operands: output shape, weights (K, fy, fx, C), input, bias."""
    options = to.options(op, "TransposeConvOptions")
    x = to.input(op, 2)
    weight = to.constant(op, 1, "the weight")
    out = to.full_shape(op.outputs[0])
    if weight.ndim != 4 or len(out) != 4:
        raise UnsupportedError(f"weights {weight.shape} to an output of shape {out}")
    params = weight_grid(to.tensor(op, 1), 0, len(weight))
    stride = options.StrideH(), options.StrideW()
    # the padding is that of the convolution whose transpose this is: from the output to the input
    before = tuple(window_padding(options.Padding(), out[1 + a], weight.shape[1 + a], stride[a])[0] for a in (0, 1))
    activation, bias = options.FusedActivationFunction(), to.optional(op, 3)
    # XNNPACK leaves what would need negative padding
    delegated = options.Padding() == _VALID or all(weight.shape[1 + a] >= stride[a] for a in (0, 1))
    fields = _accumulation(op, to, "transpose_conv2d", activation, params, bias, x_at=2, delegated=delegated)
    to.emit(
        TailedTransposeConv2d if "tail" in fields else TransposeConv2d,
        op,
        [x],
        op.outputs[0],
        **fields,
        weight=weight,
        weight_params=params,
        stride=stride,
        padding=before,
        output_size=out[1:3],
    )


@lowers("FULLY_CONNECTED")
def fully_connected(op: FileOperator, to: Lowering) -> None:
    options = to.options(op, "FullyConnectedOptions")
    if options.WeightsFormat() != 0:
        raise UnsupportedError("shuffled weights")
    x = to.input(op, 0)
    weight = to.constant(op, 1, "the weight")
    if weight.ndim != 2:
        raise UnsupportedError(f"weights of shape {weight.shape}; (outputs, inputs) is needed")
    params = weight_grid(to.tensor(op, 1), 0, len(weight))
    # XNNPACK leaves 4-bit weights whose rows end inside a byte
    delegated = params.bits == 8 or weight.shape[1] % 2 == 0
    activation, bias = options.FusedActivationFunction(), to.optional(op, 2)
    fields = _accumulation(op, to, "linear", activation, params, bias, delegated=delegated)
    _linear(op, to, x, weight, params, fields)


def _linear(op: FileOperator, to: Lowering, x: str, weight: np.ndarray, params, fields: dict[str, Any]) -> None:
    """A layer over rows of as many codes as the weight has inputs, whatever the input's own shape."""
    shape, inputs = to.tensors[x].shape, weight.shape[1]
    elements = int(np.prod(shape, dtype=np.int64))
    if inputs < 1 or elements % inputs:
        raise UnsupportedError(f"weights {weight.shape} for an input of shape {shape}")
    wanted = to.sample_shape(op.outputs[0])
    rows = elements // inputs
    if not shape or shape[-1] != inputs:
        x = to.reshaped(op, x, (inputs,) if rows == 1 else (rows, inputs))
        shape = to.tensors[x].shape
    if (*shape[:-1], len(weight)) != wanted and rows * len(weight) == int(np.prod(wanted, dtype=np.int64)):
        if wanted[-1:] != (len(weight),):
            raise UnsupportedError(f"gives {len(weight)} outputs, the file records {wanted}")
        x = to.reshaped(op, x, (*wanted[:-1], inputs))
    to.emit(Linear, op, [x], op.outputs[0], **fields, weight=weight, weight_params=params)


@lowers("BATCH_MATMUL")
def batch_matmul(op: FileOperator, to: Lowering) -> None:
    options = to.options(op, "BatchMatMulOptions")
    a, b = (to.params(index) for index in op.inputs[:2])
    y = to.params(op.outputs[0])
    operator = "batch_matmul"
    if b.zero_point == 0 and to.defines(f"symmetric_{operator}", a.bits):  # what XNNPACK leaves has another arithmetic
        operator = f"symmetric_{operator}"
    numerics = _numerics(to, operator, a.bits, True, None)
    to.emit(
        BatchMatMul,
        op,
        [_matrices(op, to, 0), _matrices(op, to, 1)],
        op.outputs[0],
        a_zero_point=a.zero_point,
        b_zero_point=b.zero_point,
        transpose_a=bool(options.AdjX()),
        transpose_b=bool(options.AdjY()),
        requantizer=to.requantizer(numerics, (a.scale, b.scale, y.scale), y, clamp_codes(0, y)),
    )


def _matrices(op: FileOperator, to: Lowering, position: int) -> str:
    """An operand with the rows and columns that the file gives it, where the batch took an axis of length 1."""
    name, shape = to.input(op, position), to.full_shape(op.inputs[position])
    if len(shape) < 2:
        raise UnsupportedError(f"an operand of shape {shape}")
    return name if len(to.tensors[name].shape) >= 2 else to.reshaped(op, name, shape[-2:])


def _accumulation(
    op: FileOperator,
    to: Lowering,
    operator: str,
    activation: int,
    weights: QuantParams,
    bias: FileTensor | None,
    *,
    x_at: int = 0,
    delegated: bool = True,
) -> dict[str, Any]:
    """The fields that every operator with weights shares: bias, zero point, requantizer."""
    x, y = to.params(op.inputs[x_at]), to.params(op.outputs[0])
    values = None
    if bias is not None:
        if bias.constant is None or bias.type not in ("INT32", "INT64"):
            raise UnsupportedError(f"bias {bias.name!r} is {bias.type}; constants of INT32 or INT64 are read")
        values = bias.constant.reshape(-1)
    if bias is None:  # LiteRT's fully connected layers take the narrow way then
        narrow = op.options.QuantizedBiasType() == _INT32 or to.defines(f"{operator}_16x8", x.bits, delegated)
    else:
        narrow = bias.type == "INT32"
    numerics = _numerics(to, operator, x.bits, delegated, narrow)
    clamp = clamp_codes(activation, y)
    fields: dict[str, Any] = {"x_zero_point": x.zero_point, "bias": values}
    if numerics.tail_scheme is not None and x.bits <= 8:
        channels = to.full_shape(op.outputs[0])[-1]
        rest = channels % (numerics.block or 1)
        by_tail = replace(numerics, scheme=numerics.tail_scheme)
        if rest == channels:  # no block is full
            numerics = by_tail
        elif rest:
            last = weights.scale if np.ndim(weights.scale) == 0 else weights.scale[-rest:]
            fields["tail"] = to.requantizer(by_tail, (x.scale, last, y.scale), y, clamp)
            fields["block"] = numerics.block
    return {**fields, "requantizer": to.requantizer(numerics, (x.scale, weights.scale, y.scale), y, clamp)}


def _numerics(to: Lowering, operator: str, bits: int, delegated: bool, narrow: bool | None) -> OperatorNumerics:
    """TensorFlow Lite accumulates 16-bit activations in 64 bits unless the bias has 32, and rescales them so."""
    numerics = to.numerics(operator, bits, delegated)
    if bits <= 8:
        return numerics
    wide = f"{operator}_16x8" + ("_bias32" if narrow else "")
    if to.defines(wide, bits, delegated):
        return to.numerics(wide, bits, delegated)
    if narrow or not (numerics.scheme or "").startswith("tflite"):
        return numerics
    return replace(numerics, scheme="tflite-int16x8")
