"""Integer softmax over the last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.broadcasting import aligned, broadcast_shape
from accelsim.ops.shape import elementwise_nest
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """exp(x) / sum(exp(x)) of codes along the last axis (E18, E19).

    arithmetic: a name of accelsim_kernels.names.ARITHMETIC["softmax"]; params: what that form takes, multiplier
    and shift (of beta * input scale) among them. The output's grid belongs to the form.
    """

    kind = "softmax"

    arithmetic: str
    params: Mapping[str, Any]

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(kernels.softmax(inputs[0], arithmetic=self.arithmetic, **self.params))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if not shapes[0]:
            raise self.refuse("needs an axis after the batch")
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # maximum, difference, exponential, sum, product with the reciprocal
        return elementwise_nest(self, tensors, batch, operations_per_output=5.0)


@dataclass(frozen=True, eq=False)
class MaskedSoftmax(Softmax):
    """Softmax over the places that a mask keeps; the others have probability 0 and count for nothing (E18, E19).

    keep: booleans that broadcast to a sample, or None where the mask is the second input (codes, not 0: kept).
    """

    kind = "masked_softmax"
    arity = None

    keep: np.ndarray | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.inputs) != (2 if self.keep is None else 1):
            raise self.refuse("takes one input and a mask: as the field `keep` or as a second input")
        if self.keep is not None and self.keep.dtype != bool:
            raise self.refuse(f"the mask must be booleans, not {self.keep.dtype}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        if self.keep is None:
            x, mask = aligned(inputs)
            keep = mask != 0
        else:
            (x,), keep = inputs, self.keep
        return Computed(kernels.softmax(x, arithmetic=self.arithmetic, keep=keep, **self.params))

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        mask = self.keep.shape if self.keep is not None else shapes[1]
        if not shapes[0] or broadcast_shape(self, [shapes[0], mask]) != tuple(shapes[0]):
            raise self.refuse(f"a mask of shape {mask} for a tensor of shape {shapes[0]}")
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        # as softmax, and one selection; a constant mask is read as bits
        nest = elementwise_nest(self, tensors, batch, operations_per_output=6.0)
        return nest if self.keep is None else replace(nest, inputs=(*nest.inputs, (self.keep.size, 1)))
