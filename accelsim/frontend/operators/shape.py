"""Operators that move values: flatten, view, permute, concatenate, pad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from accelsim.frontend.batch_place import permuted, rank_of, viewed
from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.shape import Pad as IntegerPad

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
    def capture(arguments: dict[str, Any], value: Any) -> Captured:
        x = tensor(arguments["self"], "the input")
        shape, place = viewed(x, value)
        return Captured((x,), shape=shape, place=place)

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
    def capture(arguments: dict[str, Any], value: Any) -> Captured:
        x = tensor(arguments["self"], "the input")
        rank = rank_of(x)
        order = list(range(rank))
        if "dims" in arguments:
            order = [axis % rank for axis in arguments["dims"]]
        else:
            a, b = arguments.get("dim0", 0) % rank, arguments.get("dim1", 1) % rank
            order[a], order[b] = order[b], order[a]
        axes, place = permuted(x, order)
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


@lowers(aten.pad.default, aten.constant_pad_nd.default)
class Pad:
    """Zeros around height and width."""

    tied = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        counts = list(arguments["pad"])
        if arguments.get("mode", "constant") != "constant" or arguments.get("value") not in (None, 0, 0.0):
            raise Reject("only zeros can be padded")
        if len(x.shape) != 3 or len(counts) > 4 or any(not isinstance(n, int) or n < 0 for n in counts):
            raise Reject(f"padding {counts} of a {len(x.shape) + 1}-D tensor: only height and width grow")
        counts += [0] * (4 - len(counts))
        return Captured((x,), {"padding": ((counts[2], counts[3]), (counts[0], counts[1]))})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        (top, bottom), (left, right) = node.attributes["padding"]
        return F.pad(x, (left, right, top, bottom))

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        zero = to.params(node.inputs[0]).zero_point
        to.add(node, IntegerPad(**to.names(node), padding=node.attributes["padding"], value=zero))
