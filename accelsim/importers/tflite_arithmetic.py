"""Operators of .tflite files on pairs of tensors, windows, axes and images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from accelsim.importers.litert_vectors import Runs, operand_tables, runs
from accelsim.importers.lowering import Lowering
from accelsim.importers.registry import LOWERINGS, UnsupportedError, lowers
from accelsim.importers.tflite_file import FileOperator
from accelsim.importers.tflite_grids import clamp_codes, real_clamp
from accelsim.importers.tflite_mac import window_padding
from accelsim.ops.arithmetic import Add, Clamp
from accelsim.ops.float_forms import FloatReduce
from accelsim.ops.pairwise import Maximum, Minimum, Mul, Sub
from accelsim.ops.parameters import add_parameters, mean_scale_parameters
from accelsim.ops.pool import AveragePool2d, MaxPool2d, Mean
from accelsim.ops.resize import ResizeBilinear, ResizeNearest
from accelsim.ops.table_add import TableAdd
from accelsim.ops.tailed import TailedMean
from accelsim.quant import QuantParams, power_of_two_exponent
from accelsim.requant import Requantizer, decompose

_NARROW = 2**15 - 1


@lowers("ADD", "SUB")
def add(op: FileOperator, to: Lowering) -> None:
    operator = op.kind.lower()
    options = to.options(op, {"add": "AddOptions", "sub": "SubOptions"}[operator])
    a, b = (to.params(index) for index in op.inputs[:2])
    y = to.params(op.outputs[0])
    bits = max(a.bits, b.bits)
    if bits > 8 and options.PotScaleInt16() and all(power_of_two_exponent(p.scale) is not None for p in (a, b, y)):
        raise UnsupportedError("of 16-bit codes whose scales are marked as powers of two")
    clamp = clamp_codes(options.FusedActivationFunction(), y)
    numerics = to.numerics(operator, bits)
    if to.defines(f"{operator}_vector", bits):
        shapes = [to.full_shape(index) for index in op.inputs[:2]]
        walked = runs(*shapes)
        if walked is not None and not (bits > 8 and shapes[0] != shapes[1]):
            whole = walked.row * to.batch % walked.block == 0 and not walked.repeated
            parameters = add_parameters(numerics, a, b, y)
            tables = _operand_tables(a, b, parameters["left_shift"], walked.repeated)
            if any(not np.array_equal(*table) for table in tables):
                if not whole:
                    if to.batch > 1:
                        raise UnsupportedError("whose last elements this runtime rounds otherwise, of a fixed batch")
                    _add_by_tables(op, to, tables, walked, parameters, clamp)
                    return
                numerics = replace(numerics, scheme=to.numerics(f"{operator}_vector", bits).scheme)
    to.emit(
        Add if operator == "add" else Sub,
        op,
        [to.input(op, 0), to.input(op, 1)],
        op.outputs[0],
        a_zero_point=a.zero_point,
        b_zero_point=b.zero_point,
        zero_point=y.zero_point,
        **clamp,
        arithmetic=numerics.arithmetic,
        params=add_parameters(numerics, a, b, y),
    )


def _operand_tables(a: QuantParams, b: QuantParams, left_shift: int, repeated: bool) -> list[np.ndarray]:
    common = 2.0 * max(a.scale, b.scale)
    return [operand_tables(x, x.scale / common, left_shift, repeated) for x in (a, b)]


def _add_by_tables(
    op: FileOperator, to: Lowering, tables: list[np.ndarray], walked: Runs, parameters: dict, clamp: dict[str, int]
) -> None:
    y = to.params(op.outputs[0])
    scaling = {name: parameters[name] for name in ("multiplier", "shift")}
    to.emit(
        TableAdd,
        op,
        [to.input(op, 0), to.input(op, 1)],
        op.outputs[0],
        a_tables=tables[0],
        b_tables=tables[1],
        lowest=to.params(op.inputs[0]).qmin,
        row=walked.row,
        block=walked.block,
        requantizer=Requantizer(parameters["scheme"], scaling, y.zero_point, **clamp),
    )


def _reach(x: QuantParams) -> int:
    """Of the codes from the zero point."""
    return max(x.qmax - x.zero_point, x.zero_point - x.qmin)


@lowers("MUL")
def mul(op: FileOperator, to: Lowering) -> None:
    activation = to.options(op, "MulOptions").FusedActivationFunction()
    a, b = (to.params(index) for index in op.inputs[:2])
    y = to.params(op.outputs[0])
    bits = max(a.bits, b.bits)
    numerics = to.numerics("mul", bits)
    largest = a.scale * b.scale / y.scale * _reach(a) * _reach(b) + abs(y.zero_point)
    if bits <= 8 and largest > _NARROW and to.defines("narrow_mul", bits):
        raise UnsupportedError(f"gives up to {largest:.0f} codes, which this runtime wraps to 16 bits: not modeled")
    to.emit(
        Mul,
        op,
        [to.input(op, 0), to.input(op, 1)],
        op.outputs[0],
        a_zero_point=a.zero_point,
        b_zero_point=b.zero_point,
        requantizer=to.requantizer(numerics, (a.scale, b.scale, y.scale), y, clamp_codes(activation, y)),
    )


@lowers("MAXIMUM", "MINIMUM")
def extremum(op: FileOperator, to: Lowering) -> None:
    if not to.params(op.inputs[0]) == to.params(op.inputs[1]) == to.params(op.outputs[0]):
        raise UnsupportedError("its operands and its result must share one grid")
    to.emit(Maximum if op.kind == "MAXIMUM" else Minimum, op, [to.input(op, 0), to.input(op, 1)], op.outputs[0])


def _window(op: FileOperator, to: Lowering) -> tuple[str, int, dict[str, Any]]:
    options = to.options(op, "Pool2DOptions")
    x = to.input(op, 0)
    shape = to.tensors[x].shape
    if len(to.full_shape(op.inputs[0])) != 4 or len(shape) != 3:
        raise UnsupportedError(f"an input of shape {to.full_shape(op.inputs[0])}; (1, H, W, C) is needed")
    if to.params(op.inputs[0]) != to.params(op.outputs[0]):
        raise UnsupportedError("its input and output must share one grid")
    window = options.FilterHeight(), options.FilterWidth()
    stride = options.StrideH(), options.StrideW()
    padding = tuple(window_padding(options.Padding(), shape[a], window[a], stride[a]) for a in (0, 1))
    return x, options.FusedActivationFunction(), {"window": window, "stride": stride, "padding": padding}


@lowers("MAX_POOL_2D")
def max_pool2d(op: FileOperator, to: Lowering) -> None:
    x, activation, window = _window(op, to)
    clamp = clamp_codes(activation, to.params(op.outputs[0]))
    if activation:
        x = to.between(Clamp, op, [x], **clamp)  # the largest of clamped codes is the clamped largest
    to.emit(MaxPool2d, op, [x], op.outputs[0], **window)


@lowers("AVERAGE_POOL_2D")
def average_pool2d(op: FileOperator, to: Lowering) -> None:
    x, activation, window = _window(op, to)
    y = to.params(op.outputs[0])
    numerics = to.numerics("average_pool2d", y.bits)
    params: dict[str, Any] = dict(numerics.options)
    if numerics.arithmetic == "float32":
        params.update(input_scale=y.scale, scale=y.scale)
    elif numerics.arithmetic == "exact":
        params["shift"] = 0  # one grid in and out
    how = {"arithmetic": numerics.arithmetic, "params": params, "zero_point": y.zero_point}
    to.emit(AveragePool2d, op, [x], op.outputs[0], **window, divisor="valid", **clamp_codes(activation, y), **how)


@lowers("MEAN", "SUM")
def mean(op: FileOperator, to: Lowering) -> None:
    keep_dims = bool(to.options(op, "ReducerOptions").KeepDims())
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    name = to.input(op, 0)
    axes = {to.axis(op.inputs[0], axis) for axis in to.numbers(op, 1, "the axes")}
    if -1 in axes and to.batch > 1:
        raise UnsupportedError("reduces over the batch")
    axes -= {-1}
    shape = to.tensors[name].shape
    if not axes:
        name, axes = to.reshaped(op, name, (1, *shape)), {0}
        shape = (1, *shape)
    count = 1
    for axis in axes:
        count *= shape[axis]
    clamp = real_clamp(None, None, y)
    image = keep_dims and axes == {0, 1} and len(to.full_shape(op.inputs[0])) == 4
    if op.kind == "MEAN" and image and to.defines("mean_image", x.bits) and x.bits == 8:
        _image_mean(op, to, name, count)
        return
    if to.defines(f"float_{op.kind.lower()}", x.bits):
        _float_reduce(op, to, name, tuple(sorted(axes)), count if op.kind == "MEAN" else 1, count)
        return
    numerics = to.numerics(op.kind.lower(), x.bits)
    if op.kind == "MEAN" and numerics.arithmetic != "requantize":
        raise UnsupportedError(f"mean in the form {numerics.arithmetic!r}")
    scaling = mean_scale_parameters(numerics, x, y, count if op.kind == "MEAN" else 1)
    to.emit(
        Mean,
        op,
        [name],
        op.outputs[0],
        keep_dims=keep_dims,
        x_zero_point=x.zero_point,
        arithmetic="requantize",
        requantizer=Requantizer(numerics.rescaling, scaling, y.zero_point, **clamp),
        zero_point=y.zero_point,
        **clamp,
        params={},
        axes=tuple(sorted(axes)),
    )


def _float_reduce(op: FileOperator, to: Lowering, name: str, axes: tuple[int, ...], divisor: int, count: int) -> None:
    """Raw codes times a float32 scale; XNNPACK puts both zero points into the bias, LiteRT's own sum one."""
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    f = np.float32
    options = to.numerics(f"float_{op.kind.lower()}", x.bits).options
    scale = f(f(x.scale) / f(y.scale)) * (f(1) / f(divisor))
    if options["zero_point"] == "bias":
        bias, zero_point = f(-x.zero_point * count) * scale + f(y.zero_point), 0
    else:
        bias, zero_point = f(-x.zero_point) * scale * f(count), y.zero_point
    to.emit(
        FloatReduce,
        op,
        [name],
        op.outputs[0],
        axes=axes,
        keep_dims=bool(op.options.KeepDims()),
        scale=float(scale),
        bias=float(bias),
        rounding=options["rounding"],
        zero_point=zero_point,
        **real_clamp(None, None, y),
    )


def _image_mean(op: FileOperator, to: Lowering, name: str, count: int) -> None:
    """Raw codes times a float32 scale, the zero points in a bias that is rounded by itself; one thread.

    Source: LiteRT optimized/integer_ops/mean.h.
    """
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    f = np.float32
    offset = f(f(x.zero_point) * f(x.scale)) / f(y.scale)
    bias = y.zero_point - int(offset + f(0.5) if offset > 0 else offset - f(0.5))
    clamp = real_clamp(None, None, y)
    scale = float(f(x.scale) / (f(count) * f(y.scale)))
    numerics = to.numerics("mean_image")
    main, tail = (
        Requantizer(scheme, decompose(scheme, scale), bias, **clamp)
        for scheme in (numerics.rescaling, numerics.tail_scheme or numerics.rescaling)
    )
    to.emit(
        TailedMean,
        op,
        [name],
        op.outputs[0],
        keep_dims=True,
        x_zero_point=0,
        arithmetic="requantize",
        requantizer=main,
        zero_point=bias,
        **clamp,
        params={},
        tail=tail,
        block=numerics.block,
    )


def _resize(op: FileOperator, to: Lowering, cls: type, kind: str) -> None:
    options = to.options(op, kind)
    size = to.full_shape(op.outputs[0])[1:3]
    if to.params(op.inputs[0]) != to.params(op.outputs[0]) or len(size) != 2:
        raise UnsupportedError("its input and output must be images on one grid")
    coordinates = "asymmetric"
    if options.AlignCorners():
        coordinates = "align-corners"
    if options.HalfPixelCenters():
        coordinates = "half-pixel" if coordinates == "asymmetric" else "half-pixel-corners"
    fields: dict[str, Any] = {"output_size": size, "coordinates": coordinates}
    if cls is ResizeBilinear:
        fields.update(to.numerics("resize_bilinear", to.params(op.inputs[0]).bits).options)
    to.emit(cls, op, [to.input(op, 0)], op.outputs[0], **fields)


LOWERINGS["RESIZE_BILINEAR"] = partial(_resize, cls=ResizeBilinear, kind="ResizeBilinearOptions")
LOWERINGS["RESIZE_NEAREST_NEIGHBOR"] = partial(_resize, cls=ResizeNearest, kind="ResizeNearestNeighborOptions")
