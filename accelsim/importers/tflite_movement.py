"""Operators of .tflite files that move codes: reshape, transpose, pad, concatenate, slice, gather."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from accelsim.importers.lowering import Lowering, Shape
from accelsim.importers.registry import LOWERINGS, UnsupportedError, lowers
from accelsim.importers.tflite_file import FileOperator
from accelsim.importers.tflite_grids import clamp_codes
from accelsim.ops.arithmetic import Clamp
from accelsim.ops.concat import Concat
from accelsim.ops.lookup import Embedding, Gather
from accelsim.ops.shape import Pad, Reshape, Transpose
from accelsim.ops.slicing import Slice


def _same_grid(op: FileOperator, to: Lowering, source: int | None = None, output: int | None = None) -> None:
    x = to.params(op.inputs[0] if source is None else source)
    if x != to.params(op.outputs[0] if output is None else output):
        raise UnsupportedError("its input and output must share one grid")


@lowers("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(op: FileOperator, to: Lowering) -> None:
    """The shape is the one that the file records for the result, whoever computes it."""
    _same_grid(op, to)
    name = to.input(op, 0)
    shape = to.sample_shape(op.outputs[0])
    if math.prod(to.tensors[name].shape) != math.prod(shape):
        raise UnsupportedError(f"from {to.tensors[name].shape} to {shape}")
    to.emit(Reshape, op, [name], op.outputs[0], shape=shape)


def framed(op: FileOperator, to: Lowering, source: int) -> tuple[str, Shape]:
    """The tensor with every axis of the file, the batch as an axis of length 1 of the sample."""
    if to.batch > 1:
        raise UnsupportedError("moves the batch of a file with a fixed batch")
    shape = to.full_shape(source)
    position = op.inputs.index(source)
    return to.reshaped(op, to.input(op, position), shape), shape


@lowers("TRANSPOSE")
def transpose(op: FileOperator, to: Lowering) -> None:
    _same_grid(op, to)
    order = to.numbers(op, 1, "the order of the axes")
    _transpose(op, to, to.input(op, 0), op.inputs[0], order, op.outputs[0])


def _transpose(op: FileOperator, to: Lowering, name: str, source: int, order: list[int], output: int) -> None:
    shape = to.full_shape(source)
    if sorted(order) != list(range(len(shape))):
        raise UnsupportedError(f"order {order} of the axes of {shape}")
    if order[:1] == [0] and to.leads(source):
        to.emit(Transpose, op, [name], output, order=tuple(axis - 1 for axis in order[1:]))
        return
    name, _ = framed(op, to, source)
    to.emit(Transpose, op, [name], output, order=tuple(order))


@lowers("PAD", "PADV2")
def pad(op: FileOperator, to: Lowering) -> None:
    _same_grid(op, to)
    y = to.params(op.outputs[0])
    padding = _pairs(op, to)
    value = y.zero_point
    if op.kind == "PADV2" and to.optional(op, 2) is not None:
        if to.params(op.inputs[2]) != y:
            raise UnsupportedError("the value around it is on another grid")
        (value,) = to.numbers(op, 2, "the value around it")
    to.emit(Pad, op, [to.input(op, 0)], op.outputs[0], padding=padding, value=value)


@lowers("MIRROR_PAD")
def mirror_pad(op: FileOperator, to: Lowering) -> None:
    _same_grid(op, to)
    mode = to.options(op, "MirrorPadOptions").Mode()
    name, padding = to.input(op, 0), _pairs(op, to)
    if mode not in (0, 1):
        raise UnsupportedError(f"mode {mode}")
    padded = [(axis, pair) for axis, pair in enumerate(padding) if pair != (0, 0)]
    for position, (axis, (before, after)) in enumerate(padded):
        size = to.tensors[name].shape[axis]
        if max(before, after) > size - (mode == 0):
            raise UnsupportedError(f"mirrors {(before, after)} places of {size}")
        places = np.pad(np.arange(size), (before, after), mode="reflect" if mode == 0 else "symmetric")
        fields: dict[str, Any] = {"axis": axis, "indices": places.astype(np.int32)}
        if position == len(padded) - 1:
            to.emit(Gather, op, [name], op.outputs[0], **fields)
        else:
            name = to.between(Gather, op, [name], **fields)
    if not padded:
        to.alias(op, name, op.outputs[0])


def _pairs(op: FileOperator, to: Lowering) -> tuple[tuple[int, int], ...]:
    """Padding per axis of the sample."""
    numbers = to.numbers(op, 1, "the padding")
    full = to.full_shape(op.inputs[0])
    if len(numbers) != 2 * len(full) or min(numbers, default=0) < 0:
        raise UnsupportedError(f"padding {numbers} of a tensor of shape {full}")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if to.leads(op.inputs[0]):
        if pairs[0] != (0, 0):
            raise UnsupportedError("pads the batch")
        pairs = pairs[1:]
    return tuple(pairs)


@lowers("CONCATENATION")
def concatenation(op: FileOperator, to: Lowering) -> None:
    options = to.options(op, "ConcatenationOptions")
    y = to.params(op.outputs[0])
    for index in op.inputs:
        _same_grid(op, to, source=index)
    axis = to.axis(op.outputs[0], options.Axis())
    names = [to.input(op, position) for position in range(len(op.inputs))]
    rank = len(to.full_shape(op.outputs[0]))
    if axis == -1 or any(len(to.full_shape(index)) != rank for index in op.inputs):
        raise UnsupportedError("joins along the batch, or tensors of different rank")
    shapes = [_without_batch(to.full_shape(index), to.full_shape(op.outputs[0])) for index in op.inputs]
    names = [to.reshaped(op, name, shape) for name, shape in zip(names, shapes, strict=True)]
    if options.FusedActivationFunction():
        names = [to.between(Clamp, op, [n], **clamp_codes(options.FusedActivationFunction(), y)) for n in names]
    _concat(op, to, names, axis)


def _without_batch(shape: Shape, beside: Shape) -> Shape:
    """A shape of the same rank as another, without its first axis where the other leaves its own out."""
    return shape[1:] if beside[:1] == (1,) else shape


def _concat(op: FileOperator, to: Lowering, names: list[str], axis: int) -> None:
    zero_points = (to.params(op.outputs[0]).zero_point,) * len(names)
    fields = {"axis": axis, "zero_points": zero_points, "requantizers": (None,) * len(names)}
    to.emit(Concat, op, names, op.outputs[0], **fields)


@lowers("PACK")
def pack(op: FileOperator, to: Lowering) -> None:
    options = to.options(op, "PackOptions")
    for index in op.inputs:
        _same_grid(op, to, source=index)
    axis = to.axis(op.outputs[0], options.Axis())
    if axis == -1:
        raise UnsupportedError("stacks along the batch")
    shape = list(to.sample_shape(op.outputs[0]))
    shape[axis] = 1
    names = []
    for position in range(len(op.inputs)):
        name = to.input(op, position)
        if math.prod(to.tensors[name].shape) != math.prod(shape):
            raise UnsupportedError(f"stacks {to.tensors[name].shape} to {to.sample_shape(op.outputs[0])}")
        names.append(to.reshaped(op, name, tuple(shape)))
    _concat(op, to, names, axis)


@lowers("SLICE")
def slice_(op: FileOperator, to: Lowering) -> None:
    _same_grid(op, to)
    starts, sizes = to.numbers(op, 1, "the start"), to.numbers(op, 2, "the size")
    shape = to.full_shape(op.inputs[0])
    if not len(starts) == len(sizes) == len(shape):
        raise UnsupportedError(f"start {starts} and size {sizes} of a tensor of shape {shape}")
    sizes = [shape[a] - starts[a] if size == -1 else size for a, size in enumerate(sizes)]
    _slice(op, to, to.input(op, 0), op.inputs[0], (starts, sizes, [1] * len(shape)), op.outputs[0])


def _slice(op, to: Lowering, name: str, source: int, places: tuple[list[int], ...], output: int) -> None:
    """places: starts, sizes and strides for every axis of the file's tensor."""
    if to.leads(source):
        if (places[0][0], places[1][0]) != (0, 1):
            raise UnsupportedError("takes a part of the batch")
        places = tuple(numbers[1:] for numbers in places)
    starts, sizes, strides = map(tuple, places)
    to.emit(Slice, op, [name], output, starts=starts, sizes=sizes, strides=strides)


@lowers("STRIDED_SLICE")
def strided_slice(op: FileOperator, to: Lowering) -> None:
    """Python's slices; an axis that is shrunk or new disappears in, or comes from, the recorded shape."""
    options = to.options(op, "StridedSliceOptions")
    _same_grid(op, to)
    if options.EllipsisMask() or options.NewAxisMask():
        raise UnsupportedError("an ellipsis or a new axis")
    begin, end, step = (to.numbers(op, i, w) for i, w in ((1, "the start"), (2, "the end"), (3, "the stride")))
    shape = to.full_shape(op.inputs[0])
    if not len(begin) == len(end) == len(step) <= len(shape) or 0 in step:
        raise UnsupportedError(f"start {begin}, end {end}, stride {step} of a tensor of shape {shape}")
    starts, sizes, strides = [0] * len(shape), list(shape), [1] * len(shape)
    for axis, stride in enumerate(step):
        first = None if options.BeginMask() >> axis & 1 else begin[axis]
        last = None if options.EndMask() >> axis & 1 else end[axis]
        if options.Offset() and last is not None:
            last += begin[axis]
        if options.ShrinkAxisMask() >> axis & 1:
            place = begin[axis] + (shape[axis] if begin[axis] < 0 else 0)
            starts[axis], sizes[axis] = place, 1
            continue
        places = range(shape[axis])[slice(first, last, stride)]
        starts[axis], sizes[axis], strides[axis] = places.start, len(places), stride
    _slice(op, to, to.input(op, 0), op.inputs[0], (starts, sizes, strides), op.outputs[0])


@lowers("SPLIT", "SPLIT_V")
def split(op: FileOperator, to: Lowering) -> None:
    source_at, axis_at = (1, 0) if op.kind == "SPLIT" else (0, 2)
    source = to.tensor(op, source_at).index
    shape = to.full_shape(source)
    (axis,) = to.numbers(op, axis_at, "the axis")
    axis = to.axis(source, axis) + to.leads(source)
    name = to.input(op, source_at)
    start = 0
    for output in op.outputs:
        _same_grid(op, to, source, output)
        size = to.full_shape(output)[axis] if len(to.full_shape(output)) == len(shape) else 0
        starts, sizes = [0] * len(shape), list(shape)
        starts[axis], sizes[axis] = start, size
        _slice(op, to, name, source, (starts, sizes, [1] * len(shape)), output)
        start += size


@lowers("UNPACK")
def unpack(op: FileOperator, to: Lowering) -> None:
    source = op.inputs[0]
    shape = to.full_shape(source)
    axis = to.axis(source, to.options(op, "UnpackOptions").Axis()) + to.leads(source)
    name = to.input(op, 0)
    for place, output in enumerate(op.outputs):
        _same_grid(op, to, source, output)
        starts, sizes = [0] * len(shape), list(shape)
        starts[axis], sizes[axis] = place, 1
        _slice(op, to, name, source, (starts, sizes, [1] * len(shape)), output)


@lowers("GATHER")
def gather(op: FileOperator, to: Lowering) -> None:
    """Constant places of an activation, or rows of a constant table."""
    options = to.options(op, "GatherOptions")
    if options.BatchDims():
        raise UnsupportedError("batch dimensions")
    table, indices = to.tensor(op, 0), to.tensor(op, 1)
    _same_grid(op, to)
    if indices.constant is not None:
        axis = to.axis(table.index, options.Axis())
        if axis == -1 or table.constant is not None:
            raise UnsupportedError("chooses from the batch or from a constant")
        to.emit(Gather, op, [to.input(op, 0)], op.outputs[0], axis=axis, indices=indices.constant)
    elif table.constant is not None:
        if options.Axis() % len(table.shape):
            raise UnsupportedError(f"chooses from axis {options.Axis()} of a constant")
        to.emit(Embedding, op, [to.input(op, 1)], op.outputs[0], table=table.constant)
    else:
        raise UnsupportedError("both the table and the indices are computed while the network runs")


def _blocks(op: FileOperator, to: Lowering, to_depth: bool) -> None:
    """Squares of pixels to channels or back: TensorFlow's order, block row, block column, channel."""
    options = to.options(op, "SpaceToDepthOptions" if to_depth else "DepthToSpaceOptions")
    _same_grid(op, to)
    name, block = to.input(op, 0), options.BlockSize()
    shape = to.tensors[name].shape
    divisible = len(shape) == 3 and block >= 1
    if not divisible or (any(n % block for n in shape[:2]) if to_depth else shape[2] % block**2):
        raise UnsupportedError(f"blocks of {block} in an image of shape {shape}")
    rows, columns, channels = shape
    if to_depth:
        inner, order = (rows // block, block, columns // block, block, channels), (0, 2, 1, 3, 4)
    else:
        inner, order = (rows, columns, block, block, channels // block**2), (0, 2, 1, 3, 4)
    name = to.between(Reshape, op, [name], shape=inner)
    name = to.between(Transpose, op, [name], order=order)
    to.emit(Reshape, op, [name], op.outputs[0], shape=to.sample_shape(op.outputs[0]))


LOWERINGS["SPACE_TO_DEPTH"] = partial(_blocks, to_depth=True)
LOWERINGS["DEPTH_TO_SPACE"] = partial(_blocks, to_depth=False)
