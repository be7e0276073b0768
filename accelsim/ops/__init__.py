"""Integer operators: what each one means, how it is computed, what it asks of the hardware."""

from __future__ import annotations

from accelsim.ops.activation import LeakyRelu, Logistic, Tanh
from accelsim.ops.adaptive_pool import AdaptiveAveragePool2d
from accelsim.ops.arithmetic import Add, Clamp, Requantize
from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.concat import Concat
from accelsim.ops.constant import Constant
from accelsim.ops.float_forms import FloatReduce, TableSoftmax
from accelsim.ops.float_mac import FloatBatchMatMul, FloatConv2d, FloatLinear
from accelsim.ops.float_pair import FloatPair
from accelsim.ops.float_pool import FloatAveragePool
from accelsim.ops.grouped_linear import GroupedLinear
from accelsim.ops.interpolated import InterpolatedLut
from accelsim.ops.lookup import Embedding, Gather, Lut
from accelsim.ops.mac import Conv2d, Linear, MacOp
from accelsim.ops.norm import LayerNorm, RmsNorm
from accelsim.ops.pair_lut import PairLut
from accelsim.ops.pairwise import Maximum, Minimum, Mul, Sub
from accelsim.ops.pool import AveragePool2d, MaxPool2d, Mean
from accelsim.ops.prelu import PRelu
from accelsim.ops.reductions import ArgMax, ReduceExtremum
from accelsim.ops.resize import ResizeBilinear, ResizeNearest
from accelsim.ops.shape import Pad, Reshape, Transpose
from accelsim.ops.slicing import Slice
from accelsim.ops.softmax import MaskedSoftmax, Softmax
from accelsim.ops.spread import Spread
from accelsim.ops.table_add import TableAdd
from accelsim.ops.tailed import TailedConv2d, TailedMean, TailedRequantize, TailedTransposeConv2d
from accelsim.ops.transpose_conv import TransposeConv2d

#: every operator by its word
OPS: dict[str, type[Op]] = {
    op.kind: op
    for op in (
        Conv2d,
        Linear,
        GroupedLinear,
        TransposeConv2d,
        TailedConv2d,
        TailedTransposeConv2d,
        BatchMatMul,
        FloatConv2d,
        FloatLinear,
        FloatBatchMatMul,
        Add,
        TableAdd,
        Sub,
        Mul,
        FloatPair,
        Maximum,
        Minimum,
        Requantize,
        TailedRequantize,
        Clamp,
        Lut,
        PairLut,
        InterpolatedLut,
        Logistic,
        Tanh,
        LeakyRelu,
        PRelu,
        Softmax,
        TableSoftmax,
        MaskedSoftmax,
        LayerNorm,
        RmsNorm,
        MaxPool2d,
        AveragePool2d,
        AdaptiveAveragePool2d,
        FloatAveragePool,
        Mean,
        TailedMean,
        FloatReduce,
        ReduceExtremum,
        ArgMax,
        ResizeBilinear,
        ResizeNearest,
        Reshape,
        Transpose,
        Concat,
        Slice,
        Spread,
        Pad,
        Gather,
        Embedding,
        Constant,
    )
}

__all__ = ["OPS", "Computed", "MacOp", "Op", "TensorInfo", *(op.__name__ for op in OPS.values())]
