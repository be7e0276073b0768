"""Operators of .onnx files on one tensor that compute: activations as tables, average pools, mean, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from accelsim_kernels import mlas

from accelsim.importers.onnx_lowering import Lowering, limits
from accelsim.importers.onnx_mac import image_size, images, window
from accelsim.importers.onnx_values import (
    FILE,
    FLOAT_KERNELS,
    INTEGER_KERNELS,
    NHWC,
    UNITS,
    Unit,
    UnsupportedError,
    graph_axis,
    refuse_unless,
    register,
    sample_axis,
)
from accelsim.ops.float_pool import FloatAveragePool
from accelsim.ops.lookup import Lut
from accelsim.ops.parameters import mean_scale_parameters
from accelsim.ops.pool import AveragePool2d, Mean
from accelsim.ops.shape import Transpose
from accelsim.ops.softmax import Softmax
from accelsim.quant import QuantParams
from accelsim.requant import Requantizer

_F = np.float32
#: opset from which ONNX Runtime's AveragePool is plain code; before, images with such strides go through vectors
_PLAIN_POOLS, _VECTOR_STRIDE = 19, 2

#: float32 in, float32 out, as ONNX Runtime's CPU kernels compute them
_FLOAT: Mapping[str, Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]] = {
    "Identity": lambda x, a: x,
    "Relu": lambda x, a: np.maximum(x, _F(0)),
    "Clip": lambda x, a: x,  # its limits clamp the codes
    "Sigmoid": lambda x, a: mlas.logistic(x),
    "Tanh": lambda x, a: mlas.tanh(x),
    "LeakyRelu": lambda x, a: np.where(x >= 0, x, x * _F(a.get("alpha", 0.01))),
    "HardSigmoid": lambda x, a: np.clip(x * _F(a.get("alpha", 0.2)) + _F(a.get("beta", 0.5)), _F(0), _F(1)),
    "HardSwish": lambda x, a: x * np.clip(x * _F(1 / 6) + _F(0.5), _F(0), _F(1)),
    "Elu": lambda x, a: np.where(x > 0, x, _F(a.get("alpha", 1.0)) * np.expm1(x.astype(np.float64)).astype(_F)),
    "Softplus": lambda x, a: np.log1p(np.exp(x.astype(np.float64))).astype(_F),
    "Erf": lambda x, a: _each(math.erf, x),
    "Gelu": lambda x, a: _gelu(x, a.get("approximate", "none")),
    "Exp": lambda x, a: np.exp(x.astype(np.float64)).astype(_F),
    "Sqrt": lambda x, a: np.sqrt(np.maximum(x, _F(0))),
    "Abs": lambda x, a: np.abs(x),
    "Neg": lambda x, a: -x,
}
#: kind of a unit that stands for several float nodes
COMPOSED = "Composed"
#: what a table of each is called in the graph
_FUNCTION = {"Identity": "requantize", "Sigmoid": "logistic"}


def _each(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.array([function(float(v)) for v in x.flat], _F).reshape(x.shape)


def _gelu(x: np.ndarray, approximate: str) -> np.ndarray:
    if approximate != "none":
        raise UnsupportedError(f"Gelu by {approximate!r:.40}")
    return _each(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))), x)


def table(
    kind: str, attributes: Mapping[str, Any], x: QuantParams, y: QuantParams, clamp: Mapping[str, int]
) -> np.ndarray:
    """The code of every code of x: dequantized, the function in float32, quantized with ties to even (E31)."""
    return quantized(real_function(kind, attributes, real_codes(x)), y, clamp)


def real_codes(x: QuantParams) -> np.ndarray:
    """What every code of a grid stands for, in float32."""
    return (np.arange(x.qmin, x.qmax + 1) - x.zero_point).astype(_F) * _F(x.scale)


def real_function(kind: str, attributes: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """A float node on one tensor, float32 in and out."""
    with np.errstate(all="ignore"):
        return _FLOAT[kind](x, attributes).astype(_F)


def is_function(kind: str) -> bool:
    """Whether a float node computes one number from one."""
    return kind in _FLOAT and kind != "Clip"


def quantized(values: np.ndarray, y: QuantParams, clamp: Mapping[str, int]) -> np.ndarray:
    """Codes of float32 numbers, ties to even; a number that is none becomes the smallest code."""
    with np.errstate(all="ignore"):
        value = np.nan_to_num(values / _F(y.scale), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    low, high = y.qmin - y.zero_point, y.qmax - y.zero_point
    rounded = np.rint(np.clip(value, _F(low), _F(high))).astype(np.int64) + y.zero_point
    return np.clip(rounded, clamp["qmin"], clamp["qmax"]).astype(y.dtype)


@register(UNITS, *_FLOAT)
def function(unit: Unit, to: Lowering) -> None:
    x = unit.activation(0)
    if unit.kind == "Clip":
        lower, upper = limits(unit.node, to)
        unit = replace(unit, lower=max(lower, unit.lower), upper=min(upper, unit.upper))
    entries = table(unit.kind, unit.node.attributes, x.params, unit.grid, unit.clamp)
    layout = to.same_layout([x.codes])
    to.emit(Lut, unit.node, [to.place(x.codes, layout)], unit.output, unit.grid, layout,
            function=_FUNCTION.get(unit.kind, unit.kind.lower()), table=entries, lowest=x.params.qmin)  # fmt: skip


@register(UNITS, COMPOSED)
def composed(unit: Unit, to: Lowering) -> None:
    """Several float nodes that compute one function of one code."""
    x = unit.activation(0)
    assert unit.values is not None
    entries = quantized(unit.values, unit.grid, unit.clamp)
    layout = to.same_layout([x.codes])
    to.emit(Lut, unit.node, [to.place(x.codes, layout)], unit.output, unit.grid, layout, function="composed",
            table=entries, lowest=x.params.qmin)  # fmt: skip


@register(UNITS, "AveragePool")
def average_pool(unit: Unit, to: Lowering) -> None:
    x = unit.activation(0)
    refuse_unless(len(x.codes.shape) == 3, "only images are pooled: (N, C, H, W)")
    attributes = unit.node.attributes
    kernel, stride, dilation, pads = window(unit, image_size(x.codes, attributes))
    refuse_unless(dilation == (1, 1) and not attributes.get("ceil_mode", 0), "dilations or ceil_mode")
    divisor = "window" if attributes.get("count_include_pad", 0) else "valid"
    order = "columns" if to.file.opset < _PLAIN_POOLS and stride[1] <= _VECTOR_STRIDE else "rows"
    if (
        order == "columns"
        and kernel == tuple(image_size(x.codes, attributes))
        and stride == (1, 1)
        and not np.any(pads)
    ):
        order = "vectors"
    _pool(unit, to, {"window": kernel, "stride": stride, "padding": pads, "divisor": divisor}, order)


@register(UNITS, "GlobalAveragePool")
def global_average_pool(unit: Unit, to: Lowering) -> None:
    x = unit.activation(0)
    refuse_unless(len(x.codes.shape) == 3, "only images are pooled: (N, C, H, W)")
    if to.literal(unit) or unit.values is not None:
        size = image_size(x.codes, unit.node.attributes)
        _pool(unit, to, {"window": size, "stride": size, "padding": ((0, 0), (0, 0)), "divisor": "valid"}, "vectors")
    else:
        _mean(unit, to, (0, 1) if unit.node.attributes.get("channels_last", 0) else (1, 2), True)


@register(UNITS, "ReduceMean")
def reduce_mean(unit: Unit, to: Lowering) -> None:
    x = unit.activation(0)
    given = unit.optional(1)
    axes = given.reshape(-1).tolist() if isinstance(given, np.ndarray) else unit.node.attributes.get("axes", ())
    refuse_unless(bool(axes), "has no axes")
    chosen = tuple(sorted({sample_axis(int(axis), x.codes) for axis in axes}))
    _mean(unit, to, chosen, bool(unit.node.attributes.get("keepdims", 1)))


def _pool(unit: Unit, to: Lowering, geometry: dict[str, Any], order: str) -> None:
    """order: of the float node's sum."""
    x, y = unit.activation(0), unit.grid
    layout = images(unit.node.attributes)
    source = [to.place(x.codes, layout)]
    if to.literal(unit) or unit.values is not None:  # of a function of codes: what is averaged is real
        grids = {"x_zero_point": x.params.zero_point, "x_scale": x.params.scale, "zero_point": y.zero_point}
        to.emit(FloatAveragePool, unit.node, source, unit.output, y, layout, **geometry, **grids, **unit.clamp,
                order=order, scale=y.scale, values=unit.values, lowest=x.params.qmin)  # fmt: skip
        return
    numerics = to.numerics("average_pool2d", unit)
    if numerics.arithmetic == "float32":
        params = {"input_scale": x.params.scale, "scale": y.scale, "zero_point": y.zero_point}
    elif x.params != y:
        raise UnsupportedError(f"pools to another grid, which profile {to.profile.name!r} does not define")
    else:
        params = dict(numerics.options)
    to.emit(AveragePool2d, unit.node, source, unit.output, y, layout, **geometry, zero_point=x.params.zero_point,
            **unit.clamp, arithmetic=numerics.arithmetic, params=params)  # fmt: skip


def _mean(unit: Unit, to: Lowering, axes: tuple[int, ...], keep_dims: bool) -> None:
    """axes: of the sample, in the file's order."""
    x, y = unit.activation(0), unit.grid
    numerics = to.numerics("mean", unit)
    rank = len(x.codes.shape)
    layout = to.same_layout([x.codes]) if keep_dims or rank != 3 else FILE
    layout = NHWC if rank == 3 and axes == (1, 2) else layout
    count = math.prod(x.codes.shape[axis] for axis in axes)
    requantizer = None
    if numerics.arithmetic == "requantize":
        how = mean_scale_parameters(numerics, x.params, y, count)
        requantizer = Requantizer(numerics.scheme, how, y.zero_point, **unit.clamp)
    fields = {
        "keep_dims": keep_dims,
        "x_zero_point": x.params.zero_point,
        "arithmetic": numerics.arithmetic,
        "requantizer": requantizer,
        "zero_point": y.zero_point,
        **unit.clamp,
        "params": {} if requantizer else dict(numerics.options),
        "axes": tuple(sorted(graph_axis(axis, rank, layout) for axis in axes)),
    }
    to.emit(Mean, unit.node, [to.place(x.codes, layout)], unit.output, y, layout if keep_dims else FILE, **fields)


@register(UNITS, "Softmax")
def softmax(unit: Unit, to: Lowering) -> None:
    x, y = unit.activation(0), unit.grid
    if to.profile.name not in (INTEGER_KERNELS, FLOAT_KERNELS):
        raise UnsupportedError(f"profile {to.profile.name!r} does not define softmax of ONNX")
    rank = len(x.codes.shape)
    axis = sample_axis(unit.node.attributes.get("axis", -1), x.codes)
    params = {"input_scale": x.params.scale, "scale": y.scale, "zero_point": y.zero_point}
    arithmetic = "dequantized" if to.literal(unit) else "onnx-table"
    if arithmetic == "dequantized":
        params |= {"input_zero_point": x.params.zero_point, **unit.clamp}
    else:
        refuse_unless(x.params.bits == y.bits == 8 and x.params.signed == y.signed, "only codes of one type of 8 bits")
        refuse_unless((unit.lower, unit.upper) == (-math.inf, math.inf), "an activation after softmax")
    fields = {"arithmetic": arithmetic, "params": params}
    layout = NHWC if rank == 3 and axis == 0 else FILE
    source = to.place(x.codes, layout)
    if axis == rank - 1 or layout == NHWC:
        to.emit(Softmax, unit.node, [source], unit.output, y, layout, **fields)
        return
    order = (*(a for a in range(rank) if a != axis), axis)
    source = to.between(Transpose, unit.node, [source], x.params, order=order)
    source = to.between(Softmax, unit.node, [source], y, **fields)
    to.emit(Transpose, unit.node, [source], unit.output, y, order=tuple(np.argsort(order).tolist()))
