"""Integer operators: what each one means, how it is computed, what it asks of the hardware."""

from __future__ import annotations

from accelsim.ops.arithmetic import Add, Clamp, Requantize
from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.concat import Concat
from accelsim.ops.mac import Conv2d, Linear, MacOp
from accelsim.ops.pool import AveragePool2d, MaxPool2d, Mean
from accelsim.ops.shape import Pad, Reshape, Transpose

#: every operator by its word
OPS: dict[str, type[Op]] = {
    op.kind: op
    for op in (
        Conv2d,
        Linear,
        Add,
        Requantize,
        Clamp,
        MaxPool2d,
        AveragePool2d,
        Mean,
        Reshape,
        Transpose,
        Concat,
        Pad,
    )
}

__all__ = ["OPS", "Computed", "MacOp", "Op", "TensorInfo", *(op.__name__ for op in OPS.values())]
