"""Operators of .tflite files that choose: extrema over axes, the place of the largest, squares of differences."""

from __future__ import annotations

from accelsim.importers.lowering import Lowering
from accelsim.importers.registry import UnsupportedError, lowers
from accelsim.importers.tflite_file import FileOperator
from accelsim.importers.tflite_tables import squared_difference_table
from accelsim.ops.pair_lut import PairLut
from accelsim.ops.reductions import ArgMax, ReduceExtremum
from accelsim.quant import QuantParams


@lowers("REDUCE_MAX", "REDUCE_MIN")
def reduce_extremum(op: FileOperator, to: Lowering) -> None:
    keep_dims = bool(to.options(op, "ReducerOptions").KeepDims())
    if to.params(op.inputs[0]) != to.params(op.outputs[0]):
        raise UnsupportedError("its input and output must share one grid")
    axes = {to.axis(op.inputs[0], axis) for axis in to.numbers(op, 1, "the axes")}
    if -1 in axes and to.batch > 1:
        raise UnsupportedError("reduces over the batch")
    name = to.input(op, 0)
    axes -= {-1}
    if not axes:
        to.alias(op, name, op.outputs[0])
        return
    fields = {"axes": tuple(sorted(axes)), "keep_dims": keep_dims, "largest": op.kind == "REDUCE_MAX"}
    to.emit(ReduceExtremum, op, [name], op.outputs[0], **fields)


@lowers("ARG_MAX")
def arg_max(op: FileOperator, to: Lowering) -> None:
    """Places are whole numbers, not codes: unsigned, of 16 bits."""
    (axis,) = to.numbers(op, 1, "the axis")
    axis = to.axis(op.inputs[0], axis)
    if axis == -1:
        raise UnsupportedError("chooses from the batch")
    to.emit(ArgMax, op, [to.input(op, 0)], op.outputs[0], on=QuantParams(1.0, 0, 16, False), axis=axis)


@lowers("SQUARED_DIFFERENCE")
def squared_difference(op: FileOperator, to: Lowering) -> None:
    a, b, y = (to.params(index) for index in (*op.inputs[:2], op.outputs[0]))
    if max(a.bits, b.bits, y.bits) > 8:
        raise UnsupportedError("of codes of more than 8 bits")
    table = squared_difference_table(a, b, y)
    fields = {"function": "squared-difference", "table": table, "lowest": a.qmin}
    to.emit(PairLut, op, [to.input(op, 0), to.input(op, 1)], op.outputs[0], **fields)
