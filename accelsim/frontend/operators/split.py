"""One tensor cut into several along an axis; every part is on the grid of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accelsim.frontend.batch_place import axis_of, place_of
from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.slicing import Slice as IntegerSlice

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


@lowers(aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default, aten.split.sizes)
class Part:
    """`size` places from `start` on along `axis` (of the sample, in torch's order)."""

    tied = anywhere = True

    @staticmethod
    def capture(arguments: dict[str, Any], value: Any) -> list[Captured]:
        x = tensor(arguments["self"], "the input")
        place, axis = place_of(x), axis_of(x, arguments["dim"])
        if place.axis - place.before <= axis < place.axis + place.after:
            raise Reject("it cuts a dimension that is merged with the batch")
        parts = []
        start = 0
        for size in _sizes(arguments, x.shape[axis]):
            part = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            parts.append(Captured((x,), {"axis": axis, "start": start, "size": size}, shape=part, place=place))
            start += size
        return parts

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        a = node.attributes
        return x.narrow(a["axis"] + 1, a["start"], a["size"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        axis, rank = node.attributes["axis"], len(node.shape)
        names = to.names(node, broadcast=True)
        image = rank == 3 and not to.is_plain(names["inputs"][0])
        stored = (1, 2, 0).index(axis) if image else axis
        sizes = (*node.shape[1:], node.shape[0]) if image else node.shape
        starts = tuple(node.attributes["start"] if i == stored else 0 for i in range(rank))
        to.add(node, IntegerSlice(**names, starts=starts, sizes=sizes, strides=(1,) * rank))


def _sizes(arguments: dict[str, Any], whole: int) -> list[int]:
    if "chunks" in arguments:
        each = -(-whole // arguments["chunks"])
    else:
        given = arguments.get("split_sizes", arguments.get("split_size"))
        if isinstance(given, list):
            return given
        each = given
    if not isinstance(each, int) or each < 1:
        raise Reject("its sizes depend on the input")
    return [min(each, whole - start) for start in range(0, whole, each)]
