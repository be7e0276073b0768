"""Operators that move values: flatten, view, permute, concatenate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accelsim.frontend.batch_place import permuted, placed, rank_of, viewed
from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.registry import Captured, Reject, lowers, tensor

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


@lowers(
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten._unsafe_view.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
)
class Reshape:
    """Any change of shape that keeps the samples apart."""

    tied = anywhere = True

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        shape, place = viewed(x, value)
        return placed(x, place) if shape == x.shape else Captured((x,), shape=shape, place=place)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], *node.shape)

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        to.reshape(node)


@lowers(aten.permute.default, aten.transpose.int, aten.t.default)
class Permute:
    """Axes in another order. Moving the batch alone changes no sample: the operator vanishes."""

    tied = anywhere = True

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> Captured | Ref:
        x = tensor(arguments["self"], "the input")
        rank = rank_of(x)
        order = list(range(rank))
        if "dims" in arguments:
            order = [axis % rank for axis in arguments["dims"]]
        else:
            a, b = arguments.get("dim0", 0) % rank, arguments.get("dim1", 1) % rank
            order[a], order[b] = order[b], order[a]
        axes, place = permuted(x, order)
        if list(axes) == sorted(axes):
            return placed(x, place)
        shape = tuple(x.shape[axis] for axis in axes)
        return Captured((x,), {"order": (0, *(axis + 1 for axis in axes))}, shape=shape, place=place)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return x.permute(node.attributes["order"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        to.permute(node, tuple(axis - 1 for axis in node.attributes["order"][1:]))


@lowers(aten.cat.default)
class Concat:
    """Tensors joined along one axis; parts and result share one grid (TFLite requires it)."""

    takes_constants = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        parts = tuple(tensor(part, "every part") for part in arguments["tensors"])
        axis = arguments["dim"] % (len(shape) + 1)
        if axis == 0:
            raise Reject("it joins along the batch")
        return Captured(parts, {"axis": axis})

    @staticmethod
    def execute(node: FloatNode, *parts: torch.Tensor) -> torch.Tensor:
        samples = max(len(part) for part in parts)  # constants are a batch of one
        every = [part.expand(samples, *part.shape[1:]) for part in parts]
        return torch.cat(every, dim=node.attributes["axis"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        to.concat(node)
