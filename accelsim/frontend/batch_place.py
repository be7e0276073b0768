"""Where the batch stands among a torch tensor's dimensions.

Samples never mix, so the captured network stores every tensor with its batch first. torch code moves the batch about
(sequence-first attention) and merges it with neighbours ((batch · heads, length, depth), (batch · length, width)).
Both change nothing within a sample: they are followed here, at capture, and cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accelsim.frontend.float_graph import Ref
from accelsim.frontend.registry import Reject

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """The batch between the axes of a sample.

    axis: how many axes of the sample stand before it. before, after: how many of the axes next to it form one torch
    dimension with it. The default is torch's custom: the batch is dimension 0 alone.
    """

    axis: int = 0
    before: int = 0
    after: int = 0

    @property
    def dimension(self) -> int:
        """The torch dimension that holds the batch."""
        return self.axis - self.before

    def rank(self, shape: Shape) -> int:
        """torch's number of dimensions of a tensor whose samples have this shape."""
        return len(shape) + 1 - self.before - self.after

    def axis_of(self, dimension: int) -> int:
        """The axis of the sample behind a torch dimension."""
        if dimension == self.dimension:
            raise Reject("it works along the batch")
        return dimension if dimension < self.dimension else dimension - 1 + self.before + self.after


FIRST = Place()


@dataclass(frozen=True)
class Placed(Ref):
    """A tensor whose batch does not stand first."""

    place: Place = FIRST


def placed(ref: Ref, place: Place) -> Ref:
    """The same tensor with its batch elsewhere."""
    return Ref(ref.name, ref.shape) if place == FIRST else Placed(ref.name, ref.shape, place)


def place_of(ref: Ref) -> Place:
    return getattr(ref, "place", FIRST)


def rank_of(ref: Ref) -> int:
    """torch's number of dimensions."""
    return place_of(ref).rank(ref.shape)


def axis_of(ref: Ref, dimension: int) -> int:
    """The axis of a sample behind a torch dimension, which may be negative."""
    return place_of(ref).axis_of(dimension % rank_of(ref))


def batched_shape(value: Any) -> tuple[Shape, int, int]:
    """(sizes, dimension of the batch, samples' share in its size) of a fake tensor; the batch's own size is left out.

    Its size is `share` times the number of samples. In a program exported for one batch it stands first. Raises Reject
    where another dimension is dynamic too.
    """
    shape = tuple(value.shape)
    dynamic = [i for i, n in enumerate(shape) if not isinstance(n, int)]
    if not dynamic and _one_batch(value):
        return tuple(int(n) for n in shape[1:]), 0, 1
    if not dynamic:
        raise Reject(f"its batch became the number {shape[0]}: in forward(), take x.shape[0], not len(x) or int(…)")
    if len(dynamic) != 1:
        raise Reject(f"a dimension other than the batch is dynamic: {shape}")
    at = dynamic[0]
    share = _share(shape[at])
    return tuple(int(n) for i, n in enumerate(shape) if i != at), at, share


def _one_batch(value: Any) -> bool:
    """Whether the program was exported for one batch: no size in it was ever a symbol."""
    sizes = value.fake_mode.shape_env
    return sizes is None or not sizes.var_to_range


def _share(size: Any) -> int:
    expression = size.node.expr
    symbols = expression.free_symbols
    if len(symbols) == 1:
        (symbol,) = symbols
        share = expression.subs(symbol, 1)
        if share.is_Integer and share > 0 and expression == share * symbol:
            return int(share)
    raise Reject(f"a dimension of size {size} is no multiple of the batch")


def viewed(ref: Ref, value: Any) -> tuple[Shape, Place]:
    """Shape of a sample and place of the batch after a view whose result is `value`.

    The elements before and behind the batch keep their order, so that the view is one of each sample.
    """
    if place_of(ref) != FIRST and _one_batch(value):
        raise Reject("it views a batch that does not stand first: export the program with a dynamic batch")
    sizes, at, share = batched_shape(value)
    ahead, outer = math.prod(ref.shape[: place_of(ref).axis]), math.prod(sizes[:at])
    if math.prod(sizes) * share != math.prod(ref.shape) or ahead % outer or share % (ahead // outer):
        raise Reject("it mixes the batch with other dimensions")
    left, right = ahead // outer, share // (ahead // outer)
    inside = (*([left] if left > 1 else []), *([right] if right > 1 else []))
    return (*sizes[:at], *inside, *sizes[at:]), Place(at + (left > 1), int(left > 1), int(right > 1))


def permuted(ref: Ref, order: Sequence[int]) -> tuple[Shape, Place]:
    """(order of a sample's axes, place of the batch) after torch's permutation; axis 0 is a sample's first."""
    place = place_of(ref)
    axes: list[int] = []
    moved = place
    for dimension in order:
        if dimension == place.dimension:
            moved = Place(len(axes) + place.before, place.before, place.after)
            axes += range(place.axis - place.before, place.axis + place.after)
        else:
            axes.append(place.axis_of(dimension))
    return tuple(axes), moved


def followed(ref: Ref, value: Any) -> Shape:
    """Shape of a sample of a result whose batch stands where that of `ref` does, merged with the same axes."""
    place = place_of(ref)
    sizes, at, share = batched_shape(value)
    inside = ref.shape[place.dimension : place.axis + place.after]
    if at != place.dimension or share != math.prod(inside):
        raise Reject("it mixes the batch with other dimensions")
    return (*sizes[:at], *inside, *sizes[at:])
