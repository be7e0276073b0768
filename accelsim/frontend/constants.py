"""What a captured program computes from nothing but parameters and numbers: positions, masks, class tokens.

Such values are computed once, at capture. A program knows its batch size only as a symbol, so they are computed for a
batch of `SAMPLES`; whoever uses one checks that it is the same for every sample.
"""

from __future__ import annotations

from typing import Any

import torch

from accelsim.frontend.batch_place import batched_shape
from accelsim.frontend.operators.quantized import is_quantizer, remember_codes
from accelsim.frontend.registry import Reject

SAMPLES = 3

#: operators that read and write nothing but their tensors; a file may name any other
_PURE = frozenset(
    word
    for line in (
        "__and__ __or__ _to_copy _unsafe_view abs add all any arange bitwise_and bitwise_not bitwise_or",
        "cat ceil chunk clamp clone constant_pad_nd contiguous cos cumsum detach diff div",
        "embedding eq exp expand eye fill flatten flip floor floor_divide full full_like",
        "gather ge gt index index_select isinf le lift_fresh_copy linspace log logical_and logical_not",
        "logical_or lt masked_fill matmul max maximum mean min minimum mm mul ne",
        "neg new_full new_ones new_zeros ones ones_like outer permute pow reciprocal remainder repeat",
        "repeat_interleave reshape rsqrt rsub scalar_tensor select sigmoid sin slice softmax split sqrt",
        "split_with_sizes chunk unbind narrow squeeze stack sub sum t tanh tile to transpose tril triu type_as",
        "unflatten unsqueeze view where zeros zeros_like",
    )
    for word in line.split()
)
_LARGEST = 1 << 28  # elements of one constant


def foldable(target: Any) -> bool:
    if not isinstance(target, torch._ops.OpOverload):
        return False
    return is_quantizer(target) or (target.namespace == "aten" and target._opname in _PURE)


def concrete(value: Any) -> Any:
    """Sizes that depend on the batch, for a batch of SAMPLES."""
    if isinstance(value, torch.SymInt):
        expression = value.node.expr
        return int(expression.subs(dict.fromkeys(expression.free_symbols, SAMPLES)))
    if isinstance(value, (list, tuple)):
        return [concrete(v) for v in value]
    return value


def evaluated(node: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """The constant result of an fx node. Raises Reject where it would be absurdly large."""
    result = node.meta.get("val")
    if isinstance(result, torch.Tensor) and torch.Size(concrete(list(result.shape))).numel() > _LARGEST:
        raise Reject("a constant of absurdly many elements")
    keywords = {name: concrete(value) for name, value in keywords.items()}
    with torch.no_grad():
        found = node.target(*concrete(arguments), **keywords)
    if is_quantizer(node.target) and node.target._opname.startswith("dequantize"):
        remember_codes(node, concrete(arguments), keywords, found)
    return found


def of_each_sample(constant: torch.Tensor, value: Any, rank: int, dimension: int) -> torch.Tensor:
    """A constant operand as every sample sees it: without the batch.

    constant: computed for SAMPLES; value: its fake tensor. rank, dimension: of the result it is broadcast to, and where
    the batch stands there.
    """
    if any(not isinstance(n, int) for n in value.shape):
        _, at, share = batched_shape(value)
        rows = constant.movedim(at, 0)
        if share != 1 or not torch.equal(rows, rows[:1].expand_as(rows)):
            raise Reject("a constant operand that differs from sample to sample")
        constant = constant.narrow(at, 0, 1)
    at = constant.ndim - (rank - dimension)
    if at < 0:
        return constant
    if constant.shape[at] != 1:
        raise Reject(f"a constant operand of shape {tuple(constant.shape)} along the batch")
    return constant.squeeze(at)
