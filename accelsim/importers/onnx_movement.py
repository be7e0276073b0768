"""Operators of .onnx files that move codes, or choose among them: reshape, transpose, slice, pad, maximum pool."""

from __future__ import annotations

import math

import numpy as np

from accelsim.importers.onnx_file import FileNode
from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_mac import window_of
from accelsim.importers.onnx_resize import nearest_places
from accelsim.importers.onnx_values import (
    FILE,
    MOVES,
    NHWC,
    Codes,
    Real,
    Shape,
    graph_axis,
    refuse_unless,
    register,
    sample_axis,
)
from accelsim.ops.lookup import Gather
from accelsim.ops.pool import MaxPool2d
from accelsim.ops.shape import Pad, Reshape, Transpose
from accelsim.ops.slicing import Slice


def _emit(cls, node: FileNode, to: Lowering, x: Codes, layout: str, output: str | None = None, **fields) -> Codes:
    """A node on one tensor of codes, with the same grid behind it."""
    return to.emit(cls, node, [to.place(x, layout)], output or node.outputs[0], x.params, layout, **fields)


@register(MOVES, "MaxPool", "NhwcMaxPool")
def _max_pool(node: FileNode, to: Lowering, x: Codes) -> Codes:
    refuse_unless(len(x.shape) == 3, "only images are pooled: (N, C, H, W)")
    refuse_unless(len([name for name in node.outputs if name]) == 1, "the places of the maxima are asked for")
    last = node.kind == "NhwcMaxPool"
    size = x.shape[:2] if last else x.shape[1:]
    kernel, stride, dilation, pads = window_of(node.attributes, size)
    refuse_unless(dilation == (1, 1), f"dilations {dilation}")
    pads = _ceiled(pads, size, kernel, stride) if node.attributes.get("ceil_mode", 0) else pads
    return _emit(MaxPool2d, node, to, x, FILE if last else NHWC, window=kernel, stride=stride, padding=pads)


def _ceiled(pads, size, kernel, stride):
    """Padding with which a window that begins inside the padded image counts, too (ceil_mode)."""
    found = []
    for axis in (0, 1):
        padded = size[axis] + sum(pads[axis])
        outputs = -(-(padded - kernel[axis]) // stride[axis]) + 1
        if (outputs - 1) * stride[axis] >= size[axis] + pads[axis][0]:
            outputs -= 1
        more = max(0, (outputs - 1) * stride[axis] + kernel[axis] - padded)
        found.append((pads[axis][0], pads[axis][1] + more))
    return tuple(found)


def _reshaped(node: FileNode, to: Lowering, x: Codes, full: list[int] | Shape) -> Codes:
    """To a shape with the batch; images go through the file's order unless height and width, or channels, are 1."""
    refuse_unless(bool(full) and full[0] == to.batch, f"to {tuple(full)}, which moves the batch of {to.batch}")
    shape = tuple(full[1:])
    refuse_unless(math.prod(shape) == math.prod(x.shape) and min(shape, default=1) > 0, f"from {x.shape} to {shape}")
    layout = FILE
    if len(x.shape) == 3 and x.layout == NHWC and (x.shape[0] == 1 or x.shape[1] * x.shape[2] == 1):
        layout = NHWC  # both orders are the same walk over the codes
    return to.emit(Reshape, node, [to.place(x, layout)], node.outputs[0], x.params, shape=shape)


@register(MOVES, "Reshape")
def _reshape(node: FileNode, to: Lowering, x: Codes) -> Codes:
    target = to.numbers(node, 1, "the shape")
    full = (to.batch, *x.shape)
    if not node.attributes.get("allowzero", 0):
        refuse_unless(all(n != 0 or i < len(full) for i, n in enumerate(target)), f"to {target}")
        target = [full[i] if n == 0 else n for i, n in enumerate(target)]
    if target.count(-1) == 1:
        rest = math.prod(n for n in target if n != -1)
        refuse_unless(rest > 0 and math.prod(full) % rest == 0, f"from {full} to {target}")
        target[target.index(-1)] = math.prod(full) // rest
    return _reshaped(node, to, x, target)


@register(MOVES, "Flatten")
def _flatten(node: FileNode, to: Lowering, x: Codes) -> Codes:
    full = (to.batch, *x.shape)
    axis = node.attributes.get("axis", 1)
    refuse_unless(-len(full) <= axis <= len(full), f"axis {axis}")
    axis = axis + len(full) if axis < 0 else axis
    return _reshaped(node, to, x, (math.prod(full[:axis]), math.prod(full[axis:])))


@register(MOVES, "Squeeze", "Unsqueeze")
def _squeeze(node: FileNode, to: Lowering, x: Codes) -> Codes:
    full = [to.batch, *x.shape]
    given = len(node.inputs) > 1 and bool(node.inputs[1])
    axes = to.numbers(node, 1, "the axes") if given else [i for i, n in enumerate(full) if n == 1 and i]
    rank = len(full) + (len(axes) if node.kind == "Unsqueeze" else 0)
    refuse_unless(all(-rank <= a < rank for a in axes) and rank <= 8, f"axes {axes} of {full}")
    chosen = {a % rank for a in axes}
    if node.kind == "Squeeze":
        refuse_unless(all(full[a] == 1 for a in chosen), f"axes {axes} of {full}")
        return _reshaped(node, to, x, [n for i, n in enumerate(full) if i not in chosen])
    rest = iter(full)
    return _reshaped(node, to, x, [1 if i in chosen else next(rest, 1) for i in range(rank)])


@register(MOVES, "Transpose")
def _transpose(node: FileNode, to: Lowering, x: Codes) -> Codes:
    rank = len(x.shape) + 1
    order = node.attributes.get("perm", tuple(range(rank))[::-1])
    refuse_unless(sorted(order) == list(range(rank)), f"order {order} of {rank} axes")
    refuse_unless(order[0] == 0, "moves the batch")
    return _emit(Transpose, node, to, x, FILE, order=tuple(axis - 1 for axis in order[1:]))


@register(MOVES, "Slice")
def _slice(node: FileNode, to: Lowering, x: Codes) -> Codes:
    starts, ends = to.numbers(node, 1, "the starts"), to.numbers(node, 2, "the ends")
    axes = to.numbers(node, 3, "the axes") if len(node.inputs) > 3 and node.inputs[3] else list(range(len(starts)))
    steps = to.numbers(node, 4, "the steps") if len(node.inputs) > 4 and node.inputs[4] else [1] * len(starts)
    refuse_unless(len(starts) == len(ends) == len(axes) == len(steps) and 0 not in steps, "starts, ends, axes, steps")
    places = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[sample_axis(axis, x)]
        last = None if step < 0 and end < -size else end
        chosen = range(size)[slice(start, last, step)]
        refuse_unless(len(chosen) > 0, f"{start} to {end} of {size} places")
        places[sample_axis(axis, x)] = (chosen.start, len(chosen), step)
    return _sliced(node, to, x, places)


def _sliced(node: FileNode, to: Lowering, x: Codes, places: dict, output: str | None = None) -> Codes:
    """places: axis of the sample → (start, size, step)."""
    layout, rank = x.layout, len(x.shape)
    parts = [(0, n, 1) for n in x.shape]
    for axis, part in places.items():
        parts[axis] = part
    ordered = sorted(range(rank), key=lambda axis: graph_axis(axis, rank, layout))
    starts, sizes, strides = (tuple(parts[axis][i] for axis in ordered) for i in range(3))
    return _emit(Slice, node, to, x, layout, output, starts=starts, sizes=sizes, strides=strides)


@register(MOVES, "Split")
def _split(node: FileNode, to: Lowering, x: Codes) -> Codes:
    axis = sample_axis(node.attributes.get("axis", 0), x)
    size, count = x.shape[axis], len(node.outputs)
    sizes = to.numbers(node, 1, "the sizes") if len(node.inputs) > 1 and node.inputs[1] else None
    if sizes is None:
        part = -(-size // count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
    refuse_unless(len(sizes) == count and sum(sizes) == size and min(sizes) > 0, f"{size} places into {sizes}")
    start, first = 0, None
    for output, length in zip(node.outputs, sizes, strict=True):
        made = _sliced(node, to, x, {axis: (start, length, 1)}, output)
        first = first or made
        start += length
    assert first is not None
    return first


@register(MOVES, "Gather")
def _gather(node: FileNode, to: Lowering, x: Codes) -> Codes:
    axis = sample_axis(node.attributes.get("axis", 0), x)
    indices = to.constant(node, 1, "indices")
    refuse_unless(indices.dtype.kind == "i" and 0 < indices.size <= 1 << 20, f"indices {indices.dtype} {indices.shape}")
    indices = np.where(indices < 0, indices + x.shape[axis], indices).astype(np.int32)
    return _emit(Gather, node, to, x, FILE, axis=axis, indices=indices)


@register(MOVES, "Pad")
def _pad(node: FileNode, to: Lowering, x: Codes) -> Codes:
    """With the code of the constant; reflected and repeated edges are chosen places."""
    rank = len(x.shape)
    pads = to.numbers(node, 1, "the padding")
    axes = to.numbers(node, 3, "the axes") if len(node.inputs) > 3 and node.inputs[3] else list(range(rank + 1))
    refuse_unless(len(pads) == 2 * len(axes), f"padding {pads} of axes {axes}")
    pairs = [(0, 0)] * rank
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if (before, after) != (0, 0):
            pairs[sample_axis(axis, x)] = (before, after)
    refuse_unless(all(0 <= n <= 1 << 20 for pair in pairs for n in pair), f"padding {pads}")
    layout = x.layout
    ordered = [pairs[a] for a in sorted(range(rank), key=lambda axis: graph_axis(axis, rank, layout))]
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        return _emit(Pad, node, to, x, layout, padding=tuple(ordered), value=_pad_code(node, to, x))
    refuse_unless(mode in ("reflect", "edge"), f"mode {mode!r:.60}")
    axes = [axis for axis, pair in enumerate(ordered) if pair != (0, 0)]
    name = to.place(x, layout)
    for axis in axes:
        size = to.tensors[name].shape[axis]
        refuse_unless(mode == "edge" or max(ordered[axis]) < size, f"reflects {ordered[axis]} places of {size}")
        places = np.pad(np.arange(size), ordered[axis], mode=mode)
        fields = {"axis": axis, "indices": places.astype(np.int32)}
        if axis == axes[-1]:
            return to.emit(Gather, node, [name], node.outputs[0], x.params, layout, **fields)
        name = to.between(Gather, node, [name], x.params, **fields)
    to.values[node.outputs[0]] = x
    return x


def _pad_code(node: FileNode, to: Lowering, x: Codes) -> int:
    real = isinstance(to.value(node.inputs[0]), Real)
    value = to.optional_constant(node, 2, "the value around it")
    if value is None:
        return x.params.zero_point if real else 0
    refuse_unless(value.size == 1, f"{value.size} values around it")
    number = float(value.item())
    if real:
        with np.errstate(over="ignore"):  # what is infinite is refused
            number = np.rint(np.float32(number) / np.float32(x.params.scale)) + x.params.zero_point
    refuse_unless(bool(np.isfinite(number)), f"{number} around it")
    return int(np.clip(number, x.params.qmin, x.params.qmax))


@register(MOVES, "DepthToSpace", "SpaceToDepth")
def _blocks(node: FileNode, to: Lowering, x: Codes) -> Codes:
    block, to_space = node.attributes.get("blocksize", 0), node.kind == "DepthToSpace"
    mode = node.attributes.get("mode", "DCR")
    refuse_unless(len(x.shape) == 3 and 1 <= block <= 1 << 10 and mode in ("DCR", "CRD"), f"{mode!r:.20} {block}")
    c, h, w = x.shape
    name = to.place(x, FILE)
    if to_space:
        refuse_unless(c % block**2 == 0, f"blocks of {block} in {x.shape}")
        inner = (block, block, c // block**2, h, w) if mode == "DCR" else (c // block**2, block, block, h, w)
        order, shape = ((2, 3, 0, 4, 1) if mode == "DCR" else (0, 3, 1, 4, 2)), (c // block**2, h * block, w * block)
    else:
        refuse_unless(h % block == 0 and w % block == 0, f"blocks of {block} in {x.shape}")
        inner, order = (c, h // block, block, w // block, block), (2, 4, 0, 1, 3)
        shape = (c * block**2, h // block, w // block)
    name = to.between(Reshape, node, [name], x.params, shape=inner)
    name = to.between(Transpose, node, [name], x.params, order=order)
    return to.emit(Reshape, node, [name], node.outputs[0], x.params, shape=shape)


@register(MOVES, "Resize")
def _resize(node: FileNode, to: Lowering, x: Codes) -> Codes:
    """Nearest places: rows and columns that are chosen."""
    refuse_unless(len(x.shape) == 3, "only images are resized: (N, C, H, W)")
    places = nearest_places(node, to, x)
    if not places:
        to.values[node.outputs[0]] = x
        return x
    layout = x.layout
    name, last = to.place(x, layout), max(places)
    for axis, indices in places.items():
        fields = {"axis": graph_axis(axis, 3, layout), "indices": indices}
        if axis == last:
            break
        name = to.between(Gather, node, [name], x.params, **fields)
    return to.emit(Gather, node, [name], node.outputs[0], x.params, layout, **fields)
