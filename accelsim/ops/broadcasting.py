"""Shapes of operators on two tensors: broadcast against each other, the batch apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accelsim.ops.base import Op

Shape = tuple[int, ...]


def aligned(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays (batch first) with axes of length 1 after the batch, so that their last axes meet."""
    rank = max(x.ndim for x in inputs)
    return [x if x.ndim == rank else x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in inputs]


def broadcast_shape(op: Op, shapes: Sequence[Shape]) -> Shape:
    """The shape (without the batch) of the result; AccelsimError naming the operator where they do not fit."""
    rank = max(map(len, shapes), default=0)
    result = []
    for sizes in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise op.refuse(f"operands of shape {' and '.join(map(str, shapes))} do not broadcast")
        result.append(wide.pop() if wide else 1)
    return tuple(result)
