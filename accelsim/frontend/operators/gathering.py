"""Places along axes in an order of their own: chosen, turned round, rolled on, repeated; on the grid of the input."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accelsim.frontend.batch_place import axis_of, place_of, rank_of
from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.operators.mask_inputs import rows_of_mask
from accelsim.frontend.operators.shape import Reshape
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.lookup import Gather

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


class _Gathered:
    """attributes: places, for each axis of the sample that is touched the places that it has of the input's."""

    tied = anywhere = True

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        for axis, places in node.attributes["places"]:
            x = x.index_select(axis + 1, torch.tensor(places, device=x.device))
        return x

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        (source,) = to.names(node, plain=True)["inputs"]
        *before, last = node.attributes["places"]
        for axis, places in before:
            name = f"{node.name}.{axis}"
            source = to.between(node, Gather(name, (source,), name, axis, np.array(places, np.int64)))
        axis, places = last
        to.add(node, Gather(node.name, (source,), node.name, axis, np.array(places, np.int64)), plain=True)


def _gathered(x: Ref, places: dict[int, list[int]]) -> Captured | Ref:
    """places: axis of the sample → places of the input, each inside it."""
    where, shape = place_of(x), list(x.shape)
    for axis, chosen in places.items():
        if where.axis - where.before <= axis < where.axis + where.after:
            raise Reject("it moves a dimension that is merged with the batch")
        if chosen and not (min(chosen) >= 0 and max(chosen) < x.shape[axis]):
            raise Reject(f"places {min(chosen)} .. {max(chosen)} of a dimension of {x.shape[axis]}")
        shape[axis] = len(chosen)
    moved = tuple((axis, tuple(chosen)) for axis, chosen in places.items() if chosen != list(range(x.shape[axis])))
    return Captured((x,), {"places": moved}, shape=tuple(shape), place=where) if moved else x


def _known(index: Any, size: int) -> list[int]:
    """Constant indices of a dimension, negative ones counted from its end."""
    if not isinstance(index, torch.Tensor) or index.dtype.is_floating_point or index.ndim > 1:
        raise Reject("only constant indices along one dimension")
    if index.dtype == torch.bool:
        return index.flatten().nonzero().flatten().tolist()
    return [int(i) + size * (int(i) < 0) for i in index.flatten()]


@lowers(aten.index_select.default)
class IndexSelect(_Gathered):
    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        axis = axis_of(x, arguments["dim"])
        return _gathered(x, {axis: _known(arguments["index"], x.shape[axis])})


@lowers(aten.index.Tensor)
class Index(_Gathered):
    """x[:, i] with a constant tensor or list of indices along one dimension."""

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        rows = rows_of_mask(arguments, value)
        if rows is not None:
            return replace(rows, operator=Reshape)
        x = tensor(arguments["self"], "the input")
        given = [(dim, index) for dim, index in enumerate(arguments["indices"]) if index is not None]
        if len(given) != 1 or getattr(given[0][1], "ndim", 0) != 1:
            raise Reject("only constant indices along one dimension")
        axis = axis_of(x, given[0][0])
        return _gathered(x, {axis: _known(given[0][1], x.shape[axis])})


@lowers(aten.flip.default)
class Flip(_Gathered):
    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        axes = [axis_of(x, dim) for dim in arguments["dims"]]
        return _gathered(x, {axis: list(range(x.shape[axis]))[::-1] for axis in axes})


@lowers(aten.roll.default)
class Roll(_Gathered):
    """Every place moved on by `shifts`, round the end (windows of Swin)."""

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        if not arguments["dims"]:
            raise Reject("it rolls the flattened tensor: give dims")
        places: dict[int, list[int]] = {}
        for dim, shift in zip(arguments["dims"], arguments["shifts"], strict=True):
            axis = axis_of(x, dim)
            size = x.shape[axis]
            places[axis] = [(i - shift) % size for i in range(size)]
        return _gathered(x, places)


@lowers(aten.repeat.default)
class Repeat(_Gathered):
    """The whole tensor several times along its dimensions."""

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        times = list(arguments["repeats"])
        if len(times) != rank_of(x) or any(not isinstance(n, int) for n in times):
            raise Reject(f"{rank_of(x)} dimensions repeated {times} times")
        if times[place_of(x).dimension] != 1:
            raise Reject("it repeats the batch")
        grown = {axis_of(x, dim): n for dim, n in enumerate(times) if n != 1}
        if any(n < 1 for n in grown.values()):
            raise Reject("nothing is left of it")
        return _gathered(x, {axis: list(range(x.shape[axis])) * n for axis, n in grown.items()})
