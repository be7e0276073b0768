"""Constant folding: nodes of an .onnx file whose inputs are all known, above all the arithmetic on shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from accelsim.importers.lowering import UnsupportedError
from accelsim.importers.onnx_file import FileNode
from accelsim.importers.onnx_tensors import MAX_RANK

MAX_FOLDED = 1 << 24  # elements of one folded tensor
#: ONNX's numbers of element types that Cast knows
_CASTS = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}

Fold = Callable[[FileNode, Sequence[Any]], Any]
FOLDS: dict[str, Fold] = {}


def fold(node: FileNode, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The outputs of a node of FOLDS. UnsupportedError for attributes or sizes that are not read."""
    try:
        with np.errstate(all="ignore"):
            found = FOLDS[node.kind](node, inputs)
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, MemoryError) as error:
        raise UnsupportedError(f"cannot be folded: {error}") from None
    outputs = [np.asarray(v) for v in (found if isinstance(found, list) else [found])]
    if any(v.size > MAX_FOLDED or v.ndim > MAX_RANK for v in outputs):
        raise UnsupportedError(f"folds to {[v.shape for v in outputs]}")
    return outputs


def _folds(*kinds: str) -> Callable[[Fold], Fold]:
    def put(function: Fold) -> Fold:
        FOLDS.update(dict.fromkeys(kinds, function))
        return function

    return put


def _few(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape, refused before anything of that size is made."""
    shape = tuple(int(n) for n in shape)
    if len(shape) > MAX_RANK or any(n < 0 for n in shape) or math.prod(shape) > MAX_FOLDED:
        raise ValueError(f"shape {shape}")
    return shape


@_folds("Constant")
def _constant(node, inputs):
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        if name in node.attributes:
            value = node.attributes[name]
            return value if name == "value" else np.array(value, np.int64 if "int" in name else np.float32)
    raise ValueError("it holds no number")


_PAIRS: dict[str, Callable] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Equal": np.equal, "Less": np.less, "Greater": np.greater,
    "And": np.logical_and, "Or": np.logical_or, "Min": np.minimum, "Max": np.maximum,
}  # fmt: skip


def _pair(node, inputs):
    _few(np.broadcast_shapes(*(x.shape for x in inputs)))
    result = inputs[0]
    for other in inputs[1:]:
        result = _PAIRS[node.kind](result, other)
    return result


FOLDS.update(dict.fromkeys(_PAIRS, _pair))


@_folds("Div")
def _div(node, inputs):
    a, b = inputs
    _few(np.broadcast_shapes(a.shape, b.shape))
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise ValueError("division by 0")
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)


_UNARY: dict[str, Callable] = {
    "Identity": lambda x: x, "Neg": np.negative, "Abs": np.abs, "Floor": np.floor, "Ceil": np.ceil, "Sqrt": np.sqrt,
    "Not": np.logical_not, "Round": np.rint, "Reciprocal": np.reciprocal,
}  # fmt: skip
FOLDS.update(dict.fromkeys(_UNARY, lambda node, inputs: _UNARY[node.kind](inputs[0])))


@_folds("Cast")
def _cast(node, inputs):
    return inputs[0].astype(_CASTS[node.attributes["to"]])


@_folds("Gather")
def _gather(node, inputs):
    data, index = inputs
    axis = node.attributes.get("axis", 0)
    _few((*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]) if data.ndim else ())
    return np.take(data, index.astype(np.int64), axis=axis)


@_folds("Concat")
def _concat(node, inputs):
    _few((sum(x.size for x in inputs),))
    return np.concatenate(inputs, axis=node.attributes["axis"])


@_folds("Unsqueeze")
def _unsqueeze(node, inputs):
    axes = tuple(int(a) for a in inputs[1].reshape(-1))
    return np.expand_dims(inputs[0], axes)


@_folds("Squeeze")
def _squeeze(node, inputs):
    axes = tuple(int(a) for a in inputs[1].reshape(-1)) if len(inputs) > 1 and inputs[1] is not None else None
    return np.squeeze(inputs[0], axes)


@_folds("Reshape")
def _reshape(node, inputs):
    data, target = inputs
    shape = [int(n) for n in target.reshape(-1)]
    if not node.attributes.get("allowzero", 0):
        shape = [data.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return data.reshape(shape)


@_folds("Flatten")
def _flatten(node, inputs):
    axis = node.attributes.get("axis", 1)
    return inputs[0].reshape(math.prod(inputs[0].shape[:axis]), -1)


@_folds("Transpose")
def _transpose(node, inputs):
    return inputs[0].transpose(node.attributes.get("perm"))


@_folds("Slice")
def _slice(node, inputs):
    data, starts, ends = (x for x in inputs[:3])
    axes = inputs[3] if len(inputs) > 3 and inputs[3] is not None else np.arange(starts.size)
    steps = inputs[4] if len(inputs) > 4 and inputs[4] is not None else np.ones(starts.size, np.int64)
    places = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes.flat, starts.flat, ends.flat, steps.flat, strict=True):
        last = None if step < 0 and end < -data.shape[axis] else int(end)
        places[int(axis)] = slice(int(start), last, int(step))
    return data[tuple(places)]


@_folds("ConstantOfShape")
def _constant_of_shape(node, inputs):
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return np.full(_few(inputs[0].reshape(-1)), value.reshape(-1)[0], value.dtype)


@_folds("Expand")
def _expand(node, inputs):
    return np.broadcast_to(inputs[0], _few(np.broadcast_shapes(inputs[0].shape, _few(inputs[1].reshape(-1)))))


@_folds("Range")
def _range(node, inputs):
    start, limit, delta = (x.item() for x in inputs)
    _few((max(0, math.ceil((limit - start) / delta)),))
    return np.arange(start, limit, delta, dtype=inputs[0].dtype)


@_folds("Where")
def _where(node, inputs):
    _few(np.broadcast_shapes(*(x.shape for x in inputs)))
    return np.where(*inputs)


@_folds("ReduceProd")
def _reduce_prod(node, inputs):
    axes = inputs[1] if len(inputs) > 1 and inputs[1] is not None else node.attributes.get("axes")
    axes = None if axes is None else tuple(int(a) for a in np.asarray(axes).reshape(-1))
    return np.prod(inputs[0], axis=axes, keepdims=bool(node.attributes.get("keepdims", 1)), dtype=inputs[0].dtype)
