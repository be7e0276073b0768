"""Operators that move codes, or choose among them, as nodes on codes: shapes, parts, edges, tables of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from accelsim_kernels.resizing import resize_nearest

from accelsim.errors import AccelsimError
from accelsim.export.onnx_build import CHW, TO_HWC, Build, writes
from accelsim.export.onnx_nodes import finish, look_up, weights
from accelsim.ops.transpose_conv import walked_weight


@writes("reshape")
def _reshape(build: Build, op: Any) -> None:
    codes, order = build.places[op.inputs[0]]
    source = build.shape(op.inputs[0])
    if order is not None and 1 not in (source[2], source[0] * source[1]):
        codes = build.node("Transpose", [codes], f"{op.name}.moved", perm=TO_HWC)
    shape = build.constant(f"{op.name}.shape", np.array([-1, *op.shape], np.int64))
    build.keep(op.output, build.node("Reshape", [codes, shape], f"{op.output}.codes"))


@writes("transpose")
def _transpose(build: Build, op: Any) -> None:
    codes, order = build.places[op.inputs[0]]
    if op.order == (1, 2, 0) and order is None:
        build.keep(op.output, codes, CHW)
    elif op.order == (2, 0, 1) and order == CHW:
        build.keep(op.output, codes)
    else:
        perm = [0, *(axis + 1 for axis in op.order)]
        build.keep(op.output, build.node("Transpose", [build.codes(op)], f"{op.output}.codes", perm=perm))


@writes("concat")
def _concat(build: Build, op: Any) -> None:
    image = build.is_image(*op.inputs)
    axis = 1 + ((1, 2, 0)[op.axis] if image else op.axis)
    operands = [build.read(op, i, image) for i in range(len(op.inputs))]
    build.write(op, build.node("Concat", operands, f"{op.name}.real", axis=axis), image)


@writes("slice")
def _slice(build: Build, op: Any) -> None:
    image = build.is_image(op.inputs[0])
    rank = len(op.starts)
    axes = [1 + ((1, 2, 0)[axis] if image else axis) for axis in range(rank)]
    ends = [start + size * step for start, size, step in zip(op.starts, op.sizes, op.strides, strict=True)]
    ends = [end if end >= 0 else np.iinfo(np.int64).min for end in ends]
    values = {"starts": op.starts, "ends": ends, "axes": axes, "steps": op.strides}
    names = [build.constant(f"{op.name}.{key}", np.array(value, np.int64)) for key, value in values.items()]
    codes = build.node("Slice", [build.codes(op, 0, image), *names], f"{op.output}.codes")
    build.keep(op.output, codes, CHW if image else None)


@writes("pad")
def _pad(build: Build, op: Any) -> None:
    image = build.is_image(op.inputs[0])
    rank = len(build.shape(op.inputs[0]))
    pairs = [*op.padding, *[(0, 0)] * (rank - len(op.padding))]
    pairs = [pairs[axis] for axis in (2, 0, 1)] if image else pairs
    x = build.graph.tensors[op.inputs[0]].params
    pads = np.array([0, *(p[0] for p in pairs), 0, *(p[1] for p in pairs)], np.int64)
    around = build.constant(f"{op.name}.value", np.float32((op.value - x.zero_point) * x.scale))
    inputs = [build.read(op, 0, image), build.constant(f"{op.name}.pads", pads), around]
    build.write(op, build.node("Pad", inputs, f"{op.name}.real"), image)


@writes("gather")
def _gather(build: Build, op: Any) -> None:
    image = build.is_image(op.inputs[0]) and op.indices.ndim == 1
    axis = 1 + ((1, 2, 0)[op.axis] if image else op.axis)
    indices = build.constant(f"{op.name}.indices", op.indices.astype(np.int64))
    codes = build.node("Gather", [build.codes(op, 0, image), indices], f"{op.output}.codes", axis=axis)
    build.keep(op.output, codes, CHW if image else None)


@writes("resize_nearest")
def _resize_nearest(build: Build, op: Any) -> None:
    """The rows and columns that are chosen, whatever the rule."""
    height, width, _ = build.shape(op.inputs[0])
    codes = build.codes(op, 0, image=True)
    for axis, size in ((0, height), (1, width)):
        line = np.arange(size, dtype=np.int32).reshape((1, size, 1, 1) if axis == 0 else (1, 1, size, 1))
        target = (op.output_size[0], 1) if axis == 0 else (1, op.output_size[1])
        places = resize_nearest(line, output_size=target, coordinates=op.coordinates).reshape(-1)
        indices = build.constant(f"{op.name}.places{axis}", places.astype(np.int64))
        name = f"{op.name}.rows" if axis == 0 else f"{op.output}.codes"
        codes = build.node("Gather", [codes, indices], name, axis=2 + axis)
    build.keep(op.output, codes, CHW)


@writes("spread")
def _spread(build: Build, op: Any) -> None:
    codes = spread(build, op, build.codes(op, 0, image=True), op.stride)
    build.keep(op.output, codes, CHW)


@writes("transpose_conv2d", "transpose_conv2d_tailed")
def _transpose_conv2d(build: Build, op: Any) -> None:
    """The convolution of the spread input by the turned filter."""
    shape, label = build.shape(op.inputs[0]), op.name
    wide, pads = op.spread(np.zeros((1, *shape), build.graph.tensors[op.inputs[0]].grid.dtype))
    codes = spread(build, op, build.codes(op, 0, image=True), op.stride)
    ends = [(n - 1) * s + 1 for n, s in zip(shape[:2], op.stride, strict=True)]
    if list(wide.shape[1:3]) != ends:
        bounds = ([0, 0], list(wide.shape[1:3]), [2, 3])
        names = [build.constant(f"{label}.cut{i}", np.array(v, np.int64)) for i, v in enumerate(bounds)]
        codes = build.node("Slice", [codes, *names], f"{label}.cut")
    real = build.dequantize(codes, f"{label}.0", build.grid(op.inputs[0]))
    inputs = [real, *weights(build, op, walked_weight(op).transpose(0, 3, 1, 2))]
    (top, bottom), (left, right) = pads
    real = build.node(
        "Conv", inputs, f"{label}.real", kernel_shape=op.weight.shape[1:3], pads=[top, left, bottom, right]
    )
    finish(build, op, real, True)


def spread(build: Build, op: Any, codes: str, stride: tuple[int, int]) -> str:
    """Codes of real zero between the pixels of an image (C, H, W), none behind the last."""
    grid = build.grid(op.inputs[0])
    if grid.bits > 8:
        raise op.refuse("spreads codes of more than 8 bits")
    height, width, channels = build.shape(op.inputs[0])
    constant = lambda name, values: build.constant(f"{op.name}.{name}", np.array(values, np.int64))  # noqa: E731
    apart = build.node(
        "Reshape", [codes, constant("apart.shape", [0, channels, height, 1, width, 1])], f"{op.name}.apart"
    )
    pads = constant("pads", [0] * 6 + [0, 0, 0, stride[0] - 1, 0, stride[1] - 1])
    zero = build.constant(f"{op.name}.zero", np.array(grid.zero_point, grid.dtype))
    padded = build.node("Pad", [apart, pads, zero], f"{op.name}.padded")
    size = height * stride[0], width * stride[1]
    whole = build.node("Reshape", [padded, constant("whole.shape", [0, channels, *size])], f"{op.name}.whole")
    ends = [size[0] - stride[0] + 1, size[1] - stride[1] + 1]
    bounds = [constant("starts", [0, 0]), constant("ends", ends), constant("axes", [2, 3])]
    name = f"{op.output}.codes" if op.kind == "spread" else f"{op.name}.spread"
    return build.node("Slice", [whole, *bounds], name)


@writes("embedding")
def _embedding(build: Build, op: Any) -> None:
    x = build.graph.tensors[op.inputs[0]].params
    if x.signed or (x.scale, x.zero_point) != (1.0, 0):
        raise op.refuse(f"its indices must be unsigned whole numbers, not codes of scale {x.scale}")
    look_up(build, op, build.codes(op), op.table.astype(np.int64), False)


@writes("constant")
def _constant(build: Build, op: Any) -> None:
    if op.values.ndim < 1:
        raise AccelsimError(f"layer {op.name!r} ({op.kind}): a constant without axes has no form in an .onnx file")
    values = (op.values.astype(np.int64) + build.moved(op.output)).astype(build.grid(op.output).dtype)
    build.keep(op.output, build.constant(f"{op.output}.codes", values[None]), fixed=True)
