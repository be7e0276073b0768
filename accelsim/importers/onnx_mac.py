"""Operators of .onnx files with weights: convolution, fully connected, products of two activations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_values import (
    FILE,
    NHWC,
    UNITS,
    Codes,
    Real,
    RealKnown,
    Unit,
    UnsupportedError,
    refuse_unless,
    register,
)
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.float_mac import FloatBatchMatMul, FloatConv2d, FloatLinear
from accelsim.ops.mac import Conv2d, Linear
from accelsim.quant import AccumulatorParams, QuantParams

Pads = tuple[tuple[int, int], tuple[int, int]]


@register(UNITS, "Conv")
def conv(unit: Unit, to: Lowering) -> None:
    x, weights = unit.activation(0), _weights(unit, 1)
    refuse_unless(len(x.codes.shape) == 3 and weights.codes.ndim == 4, "only images are convolved: (N, C, H, W)")
    layout = images(unit.node.attributes)
    kernel, stride, dilation, pads = window(unit, image_size(x.codes, unit.node.attributes), weights.codes.shape[2:])
    refuse_unless(kernel == weights.codes.shape[2:], f"kernel_shape {kernel} of weights {weights.codes.shape}")
    groups = unit.node.attributes.get("group", 1)
    channels = len(weights.codes)
    refuse_unless(groups >= 1 and channels % groups == 0, f"{groups} groups of {channels} channels")
    depthwise = groups > 1 and weights.codes.shape[1] == 1
    fields, params = _accumulation(unit, to, "depthwise_conv2d" if depthwise else "conv2d", weights, 0, channels)
    to.emit(
        FloatConv2d if "real_bias" in fields else Conv2d,
        unit.node,
        [to.place(x.codes, layout)],
        unit.output,
        params(3),
        layout,
        weight=np.ascontiguousarray(weights.codes.transpose(0, 2, 3, 1)),
        stride=stride,
        padding=pads,
        dilation=dilation,
        groups=groups,
        **fields,
    )


@register(UNITS, "FusedConv")
def fused_conv(unit: Unit, to: Lowering) -> None:
    """A convolution with an activation, as ONNX Runtime merges them."""
    attributes = unit.node.attributes
    kind, params = attributes.get("activation", "Relu"), attributes.get("activation_params", ())
    refuse_unless(unit.optional(3) is None, "adds a tensor as well")
    if kind == "Relu":
        limits = (0.0, math.inf)
    elif kind == "Clip" and isinstance(params, tuple) and len(params) == 2:
        limits = params
    else:
        raise UnsupportedError(f"merged with {kind!r:.40} {params!r:.60}")
    conv(replace(unit, lower=max(limits[0], unit.lower), upper=min(limits[1], unit.upper)), to)


@register(UNITS, "Gemm")
def gemm(unit: Unit, to: Lowering) -> None:
    attributes = unit.node.attributes
    factors = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    refuse_unless(factors == (1.0, 1.0), f"alpha and beta {factors}; 1 is read")
    refuse_unless(not attributes.get("transA", 0), "transA")
    turned = bool(attributes.get("transB", 0))
    refuse_unless(len(unit.activation(0).codes.shape) == 1, "its first operand must be (N, K)")
    _linear(unit, to, turned)


@register(UNITS, "MatMul")
def matmul(unit: Unit, to: Lowering) -> None:
    known = [operand for operand in unit.operands if isinstance(operand, RealKnown)]
    if isinstance(unit.optional(1), RealKnown) and unit.operands[1].codes.ndim == 2:
        _linear(unit, to, False)
        return
    refuse_unless(len(unit.operands) == 2 and len(known) < 2, "multiplies constants")
    rank = max(len(o.codes.shape) for o in unit.operands if isinstance(o, Real))
    names, grids = [], []
    for index, operand in enumerate(unit.operands):
        if isinstance(operand, RealKnown):
            name, grid = to.constant_codes(unit.node, operand, FILE, rank)
        else:
            name, grid = to.place(unit.activation(index).codes, FILE), operand.params
        names.append(name)
        grids.append(grid)
    refuse_unless(all(len(to.tensors[name].shape) >= 2 for name in names), "multiplies vectors")
    a, b = grids
    numerics = to.numerics("linear", unit)
    sums = {"x_scale": a.scale, "b_scale": b.scale, "scale": unit.grid.scale} if to.literal(unit) else {}
    to.emit(
        FloatBatchMatMul if sums else BatchMatMul,
        unit.node,
        names,
        unit.output,
        unit.grid,
        a_zero_point=a.zero_point,
        b_zero_point=b.zero_point,
        transpose_a=False,
        transpose_b=False,
        requantizer=to.requantizer(unit, numerics, (a.scale, b.scale, unit.grid.scale)),
        **sums,
    )


def _linear(unit: Unit, to: Lowering, turned: bool) -> None:
    x, weights = unit.activation(0), _weights(unit, 1)
    refuse_unless(weights.codes.ndim == 2, f"weights of shape {weights.codes.shape}")
    channels = weights.codes.shape[0 if turned else 1]
    fields, params = _accumulation(unit, to, "linear", weights, 0 if turned else 1, channels)
    weight = weights.codes if turned else weights.codes.T
    literal = "real_bias" in fields
    sums = {"turned": turned, "at_once": to.fixed_batch} if literal else {}
    to.emit(
        FloatLinear if literal else Linear,
        unit.node,
        [to.place(x.codes, FILE)],
        unit.output,
        params(len(x.codes.shape)),
        weight=np.ascontiguousarray(weight),
        **fields,
        **sums,
    )


def _weights(unit: Unit, index: int) -> RealKnown:
    found = unit.optional(index)
    if not isinstance(found, RealKnown):
        raise UnsupportedError("its weights must be quantized constants")
    refuse_unless(found.codes.size > 0 and found.bits <= 16, f"weights {found.name!r} of shape {found.codes.shape}")
    return found


def _accumulation(unit: Unit, to: Lowering, operator: str, weights: RealKnown, axis: int, channels: int) -> tuple:
    """(fields that every operator with weights has, rank of a sample → grid of the result)."""
    x = unit.activation(0)
    per_channel = weights.scale.size > 1
    if per_channel and weights.axis % weights.codes.ndim != axis:
        raise UnsupportedError(f"weights {weights.name!r} have their scales along axis {weights.axis}, not {axis}")
    scale: Any = weights.scale.astype(np.float64) if per_channel else float(weights.scale.item())
    zero = weights.zero_point.astype(np.int64) if per_channel else int(weights.zero_point.reshape(-1)[0])
    grid = QuantParams(scale, zero, weights.bits, weights.signed, axis=0 if per_channel else None)
    requantizer = None
    if unit.y is not None:
        requantizer = to.requantizer(unit, to.numerics(operator, unit), (x.params.scale, scale, unit.y.scale))
    fields = {
        "weight_params": grid,
        "x_zero_point": x.params.zero_point,
        "bias": _bias(unit, to, x.params.scale * np.asarray(scale), channels),
        "requantizer": requantizer,
    }
    if unit.y is not None and to.literal(unit):
        fields |= {"x_scale": x.params.scale, "scale": unit.y.scale, "real_bias": _real_bias(unit, channels)}
    accumulators = np.float64(x.params.scale) * np.asarray(scale)

    def params(rank: int) -> QuantParams | AccumulatorParams:
        if unit.y is not None:
            return unit.y
        return AccumulatorParams(accumulators, rank if np.ndim(accumulators) else None)

    return fields, params


def _bias(unit: Unit, to: Lowering, scale: np.ndarray, channels: int) -> np.ndarray | None:
    """Integers at the scale of the accumulator; real numbers, or those at another scale, are rounded to it."""
    bias = unit.optional(2)
    if bias is None:
        return None
    if not isinstance(bias, RealKnown | np.ndarray):
        raise UnsupportedError("its bias is computed while the network runs; only a constant is read")
    if isinstance(bias, RealKnown):
        own = bias.scale.astype(np.float32)
        if bias.codes.dtype == np.int32 and np.array_equal(
            np.broadcast_to(own, channels), np.broadcast_to(scale.astype(np.float32), channels)
        ):
            return _spread(bias.codes, channels)
        bias = bias.values
    codes = np.rint(bias.reshape(-1).astype(np.float64) / scale)
    if not np.all(np.abs(codes) < 2.0**31):
        raise UnsupportedError("its bias does not fit 32 bits at the scale of the accumulator")
    to.notes.append(f"The bias of {unit.node.name or unit.node.index} is rounded to the scale of its accumulator.")
    return _spread(codes.astype(np.int32), channels)


def _real_bias(unit: Unit, channels: int) -> np.ndarray | None:
    """The bias as the file has it, in float32."""
    bias = unit.optional(2)
    if bias is None:
        return None
    return _spread((bias.values if isinstance(bias, RealKnown) else bias).astype(np.float32), channels)


def _spread(bias: np.ndarray, channels: int) -> np.ndarray:
    flat = bias.reshape(-1)
    refuse_unless(flat.size in (1, channels), f"a bias of shape {bias.shape} for {channels} channels")
    return np.array(np.broadcast_to(flat, channels))


def images(attributes: Any) -> str:
    """The layout that a node on images computes in: the file's own order where it says channels_last."""
    return FILE if attributes.get("channels_last", 0) else NHWC


def image_size(codes: Codes, attributes: Any) -> tuple[int, ...]:
    """Height and width of an image of the file."""
    return codes.shape[:2] if attributes.get("channels_last", 0) else codes.shape[1:]


def window(unit: Unit, size: tuple[int, ...], kernel: tuple[int, ...] | None = None) -> tuple:
    """(kernel, stride, dilation, padding) of a convolution or a pool over an image of that size."""
    return window_of(unit.node.attributes, size, kernel)


def window_of(attributes: Any, size: tuple[int, ...], kernel: tuple[int, ...] | None = None) -> tuple:
    """As window(), from a node's attributes."""
    shape = attributes.get("kernel_shape", kernel)
    stride, dilation = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    fits = all(isinstance(v, tuple) and len(v) == 2 for v in (shape, stride, dilation))
    if not fits or min(*shape, *stride, *dilation) < 1 or max(*shape, *stride, *dilation) > 1 << 20:
        raise UnsupportedError(f"kernel_shape {shape}, strides {stride}, dilations {dilation}")
    return shape, stride, dilation, _pads(attributes, size, shape, stride, dilation)


def _pads(attributes: Any, size: tuple[int, ...], kernel, stride, dilation) -> Pads:
    auto = attributes.get("auto_pad", "NOTSET") or "NOTSET"
    if auto == "NOTSET":
        pads = attributes.get("pads", (0, 0, 0, 0))
        if not isinstance(pads, tuple) or len(pads) != 4 or min(pads) < 0 or max(pads) > 1 << 20:
            raise UnsupportedError(f"pads {pads}")
        return (pads[0], pads[2]), (pads[1], pads[3])
    if auto == "VALID":
        return (0, 0), (0, 0)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedError(f"auto_pad {auto!r:.60}")
    pairs = []
    for axis in (0, 1):
        outputs = -(-size[axis] // stride[axis])
        total = max(0, (outputs - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 - size[axis])
        pairs.append((total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2))
    return pairs[0], pairs[1]
