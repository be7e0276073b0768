"""LiteRT's built-in optimized addition on x86: what its vector code and its scalar code make of an operand.

Vector code shifts an operand before it multiplies, and rounds once; scalar code rounds twice; vector code with one
operand repeated rounds the product and cuts off what it shifts out. Source: LiteRT optimized/integer_ops/add.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from accelsim.importers.fixed_point import divided, multiplied
from accelsim.importers.lowering import Shape
from accelsim.quant import QuantParams
from accelsim.requant import decompose

#: elements that fill a vector: of two tensors, of one tensor and a repeated element
ELEMENTWISE, REPEATED = 16, 8


@dataclass(frozen=True)
class Runs:
    """How a pair of tensors is walked: runs of `row` elements in blocks of `block`; repeated: one of them stands."""

    row: int
    block: int
    repeated: bool


def runs(a: Shape, b: Shape) -> Runs | None:
    """Of two shapes, the batch included; None where every element is computed alone.

    Source: LiteRT reference/process_broadcast_shapes.h: five loops at most.
    """
    rank = max(len(a), len(b))
    a, b = ((1,) * (rank - len(shape)) + tuple(shape) for shape in (a, b))
    if a == b:
        return Runs(math.prod(a), ELEMENTWISE, False)
    first = next((x for x, y in zip(reversed(a), reversed(b), strict=True) if x != y), 1)
    narrow, wide = (a, b) if first == 1 else (b, a)
    axes = list(zip(narrow, wide, strict=True))
    extents = []
    for belongs in (
        lambda x, y: x == y,
        lambda x, y: x == 1,
        lambda x, y: x == y,
        lambda x, y: y == 1,
        lambda x, y: x == y,
    ):
        extent = 1
        while axes and belongs(*axes[-1]):
            extent *= max(axes.pop())
        extents.append(extent)
    if axes:
        return None
    return Runs(extents[0], ELEMENTWISE, False) if extents[0] > 1 else Runs(extents[1], REPEATED, True)


def operand_tables(x: QuantParams, scale: float, left_shift: int, repeated: bool) -> np.ndarray:
    """int32 (2, codes): what every code counts in vector code and in scalar code.

    scale: of the operand in the sum, at most 1; left_shift: headroom that the operand is given first.
    """
    multiplier, shift = (decompose("tflite-double", scale)[name] for name in ("multiplier", "shift"))
    codes = np.arange(x.qmin, x.qmax + 1, dtype=np.int64) - x.zero_point
    twice = multiplied(codes << left_shift, multiplier, 0)
    rounded = divided(twice, -shift)
    if repeated:
        vector = twice >> -shift
    else:
        left = left_shift + shift
        vector = multiplied(codes << left if left >= 0 else codes >> -left, multiplier, 0)
    return np.stack([vector, rounded]).astype(np.int32)
