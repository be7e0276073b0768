"""Parts of a tensor, and copies of it: select, slice, unbind, expand; on the grid of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accelsim.frontend.batch_place import Place, axis_of, place_of, rank_of
from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.lookup import Gather
from accelsim.ops.shape import Reshape as IntegerReshape
from accelsim.ops.slicing import Slice as IntegerSlice

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


class _Cut:
    """attributes: axis of the sample, start, size, step, and `squeezed`: whether the axis vanishes."""

    tied = anywhere = True

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        a = node.attributes
        places = torch.arange(a["start"], a["start"] + a["size"] * a["step"], a["step"], device=x.device)
        y = x.index_select(a["axis"] + 1, places)
        return y.squeeze(a["axis"] + 1) if a["squeezed"] else y

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        a, names = node.attributes, to.names(node, plain=True)
        shape = node.inputs[0].shape
        chosen = [i == a["axis"] for i in range(len(shape))]
        part = IntegerSlice(
            **names,
            starts=tuple(a["start"] if here else 0 for here in chosen),
            sizes=tuple(a["size"] if here else n for here, n in zip(chosen, shape, strict=True)),
            strides=tuple(a["step"] if here else 1 for here in chosen),
        )
        if not a["squeezed"]:
            to.add(node, part, plain=True)
            return
        inner = f"{node.name}.slice"
        source = to.between(node, IntegerSlice(inner, part.inputs, inner, part.starts, part.sizes, part.strides))
        to.add(node, IntegerReshape(node.name, (source,), node.name, shape=node.shape), plain=True)


def _cut(x: Ref, axis: int, start: int, size: int, step: int = 1, squeezed: bool = False) -> Captured:
    place = place_of(x)
    if place.axis - place.before <= axis < place.axis + place.after:
        raise Reject("it cuts a dimension that is merged with the batch")
    shape = (*x.shape[:axis], *(() if squeezed else (size,)), *x.shape[axis + 1 :])
    if squeezed and axis < place.axis:
        place = Place(place.axis - 1, place.before, place.after)
    attributes = {"axis": axis, "start": start, "size": size, "step": step, "squeezed": squeezed}
    return Captured((x,), attributes, shape=shape, place=place)


@lowers(aten.select.int)
class Select(_Cut):
    """One place along a dimension, which vanishes."""

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured:
        x = tensor(arguments["self"], "the input")
        axis = axis_of(x, arguments["dim"])
        return _cut(x, axis, _place(arguments["index"]) % x.shape[axis], 1, squeezed=True)


@lowers(aten.slice.Tensor)
class Slice(_Cut):
    """Places along a dimension, by a step."""

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        start, stop, step = arguments["start"] or 0, arguments["end"], arguments["step"]
        if arguments["dim"] % rank_of(x) == place_of(x).dimension:
            # a slice of all samples is left in by x[:, …]
            if (start, step) != (0, 1) or not (stop is None or _is_everything(stop)):
                raise Reject("it cuts along the batch")
            return x
        axis = axis_of(x, arguments["dim"])
        start, stop, step = slice(_place(start), None if stop is None else _place(stop), step).indices(x.shape[axis])
        size = len(range(start, stop, step))
        return x if size == x.shape[axis] else _cut(x, axis, start, size, step)


@lowers(aten.unbind.int)
class Unbind(_Cut):
    """Every place along a dimension as a tensor of its own."""

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> list[Captured]:
        x = tensor(arguments["self"], "the input")
        axis = axis_of(x, arguments["dim"])
        return [_cut(x, axis, index, 1, squeezed=True) for index in range(x.shape[axis])]


@lowers(aten.expand.default)
class Expand:
    """Axes of length 1 repeated (grouped keys and values)."""

    tied = anywhere = True

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        place, sizes = place_of(x), list(value.shape)
        if len(sizes) != rank_of(x) or place.before or place.after:
            raise Reject(f"{rank_of(x)} dimensions expanded to {len(sizes)}")
        shape = tuple(n for i, n in enumerate(sizes) if i != place.dimension)
        if any(not isinstance(n, int) for n in shape):
            raise Reject("a dimension other than the batch is dynamic")
        return x if shape == x.shape else Captured((x,), shape=shape, place=place)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return x.expand(len(x), *node.shape)

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        (source,) = to.names(node, plain=True)["inputs"]
        shape = node.inputs[0].shape
        grown = [axis for axis, (old, new) in enumerate(zip(shape, node.shape, strict=True)) if old != new]
        for axis in grown:
            name = node.name if axis == grown[-1] else f"{node.name}.{axis}"
            op = Gather(name, (source,), name, axis, np.zeros(node.shape[axis], np.int64))
            if axis == grown[-1]:
                to.add(node, op, plain=True)
            else:
                source = to.between(node, op)


def _place(value: Any) -> int:
    if not isinstance(value, int):
        raise Reject("its places depend on the input")
    return value


def _is_everything(stop: Any) -> bool:
    return not isinstance(stop, int) or stop >= 2**62
