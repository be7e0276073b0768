"""Masks that come with each sample: an input of 0 and 1 (or the tokens themselves) says which places count.

They stay codes on a grid of step 1 with zero point 0, so that a place is kept where its code is not 0; softmax reads
them as its second operand (E18). Float networks that add minus infinity to scores say the same: `masks.py` finds those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.constants import SAMPLES
from accelsim.frontend.float_graph import FloatGraph, FloatNode, Ref
from accelsim.frontend.operators.attention import MASKED, Softmax
from accelsim.frontend.operators.embedding import token_grids
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.constant import Constant as IntegerConstant
from accelsim.ops.pairwise import Mul as IntegerMul
from accelsim.quant import MIN_BITS, QuantParams

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten

MASK_GRID = QuantParams(1.0, 0, MIN_BITS, signed=False)


@lowers(aten.ne.Scalar, aten.gt.Scalar)
class Keeps:
    """1 where the tensor is not 0: of masks and tokens, whose codes say so themselves."""

    tied = follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        if arguments["other"] != 0:
            raise Reject(f"a comparison with {arguments['other']}; only with 0, of masks and tokens")
        return Captured((tensor(arguments["self"], "the mask"),))

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return (x != 0).float()

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        to.permute(node, tuple(range(len(node.shape))))  # the same codes under another name


@lowers(aten.__and__.Tensor, aten.bitwise_and.Tensor, aten.logical_and.default)
class Both:
    """1 where two masks keep; one may be constant (parameters: keep)."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured | Ref:
        a, b = arguments["self"], arguments["other"]
        constants = [x for x in (a, b) if isinstance(x, torch.Tensor)]
        if not constants:
            return Captured((tensor(a, "a mask"), tensor(b, "a mask")))
        (x,), (keep,) = [y for y in (a, b) if isinstance(y, Ref)], constants
        if keep.ndim > len(shape):
            if keep.shape[0] != 1:
                raise Reject("a constant mask that differs from sample to sample")
            keep = keep[0]
        return x if keep.all() else Captured((x,), {}, {"keep": keep.float()})

    @staticmethod
    def execute(node: FloatNode, a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        return ((a != 0) & ((node.parameters["keep"] if b is None else b) != 0)).float()

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        names = to.names(node, plain=True)
        if "keep" in node.parameters:
            keep, codes = f"{node.name}.keep", node.parameters["keep"].numpy().astype(np.uint8)
            names["inputs"] += (to.between(node, IntegerConstant(keep, (), keep, codes), params=MASK_GRID),)
        requantizer = to.requantizer(node, to.profile.operator("requantize"), (1.0, 1.0, 1.0))
        to.add(node, IntegerMul(**names, a_zero_point=0, b_zero_point=0, requantizer=requantizer), plain=True)


@lowers(aten.where.ScalarOther)
class MaskBias:
    """0 where a mask keeps, else a number so low that it masks: what is added to scores."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        kept, other = arguments["self"], arguments["other"]
        if not isinstance(arguments["condition"], Ref) or not isinstance(kept, torch.Tensor) or kept.any():
            raise Reject("only 0 where a mask keeps")
        if other > MASKED:
            raise Reject(f"{other} where a mask hides; only what masks, at most {MASKED:g}")
        return Captured((arguments["condition"],))

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x != 0, 0.0, MASKED)

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        raise AccelsimError("a mask is added to something else than the scores in front of a softmax")


def rows_of_mask(arguments: dict[str, Any], value: Any) -> Captured | None:
    """x[samples, places] where `samples` counts all samples: what transformers makes of x[:, None, None, :]."""
    x, given = arguments["self"], arguments["indices"]
    if not isinstance(x, Ref) or len(x.shape) != 1 or len(given) != 2:
        return None
    samples, places = given
    if not all(isinstance(index, torch.Tensor) for index in given) or samples.ndim != places.ndim:
        return None
    counted = torch.equal(samples.flatten(), torch.arange(SAMPLES)) and samples.shape[0] == SAMPLES
    whole = torch.equal(places.flatten(), torch.arange(x.shape[0])) and places.shape[-1] == x.shape[0]
    return Captured((x,), shape=tuple(places.shape[1:])) if counted and whole else None


def mask_grids(graph: FloatGraph, owners: Mapping[str, str]) -> dict[str, QuantParams]:
    """Grids of what softmax reads as a mask, by the tensor that owns the grid."""
    masks = [node.inputs[1] for node in graph.nodes if node.operator is Softmax and len(node.inputs) > 1]
    masks += [mask for node in graph.nodes if node.operator is Both for mask in node.inputs]
    return {owners[mask.name]: MASK_GRID for mask in masks}


def whole_grids(graph: FloatGraph, owners: Mapping[str, str]) -> dict[str, QuantParams]:
    """Grids whose codes are the numbers themselves: masks and tokens (which may be their own mask)."""
    return {**mask_grids(graph, owners), **token_grids(graph, owners)}
