"""Operators of .onnx files on two or more tensors: sum, difference, product, concatenation."""

from __future__ import annotations

from accelsim.importers.onnx_functions import table
from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_values import (
    FLOAT_KERNELS,
    INTEGER_KERNELS,
    UNITS,
    Real,
    RealKnown,
    Unit,
    UnsupportedError,
    graph_axis,
    refuse_unless,
    register,
    sample_axis,
)
from accelsim.ops.arithmetic import Add
from accelsim.ops.concat import Concat
from accelsim.ops.float_pair import FloatPair
from accelsim.ops.lookup import Lut
from accelsim.ops.pairwise import Maximum, Minimum, Mul, Sub
from accelsim.ops.parameters import add_parameters
from accelsim.quant import QuantParams

_ELEMENTWISE = {"Add": Add, "Sub": Sub, "Mul": Mul}


@register(UNITS, *_ELEMENTWISE)
def pair(unit: Unit, to: Lowering) -> None:
    names, grids, layout = _operands(unit, to)
    a, b = grids
    y, clamp = unit.grid, unit.clamp
    zero_points = {"a_zero_point": a.zero_point, "b_zero_point": b.zero_point}
    onnx = to.profile.name in (INTEGER_KERNELS, FLOAT_KERNELS)
    literal = to.literal(unit)
    if onnx and (literal or unit.kind != "Add"):  # only the sum has an integer kernel with an order of its own
        arithmetic = "product" if unit.kind == "Mul" and not literal else "dequantized"
        scales = {"a_scale": a.scale, "b_scale": b.scale, "scale": y.scale}
        to.emit(FloatPair, unit.node, names, unit.output, y, layout, operation=unit.kind.lower(), arithmetic=arithmetic,
                zero_point=y.zero_point, **zero_points, **clamp, params=scales)  # fmt: skip
        return
    numerics = to.numerics(unit.kind.lower(), unit)
    if unit.kind == "Mul":
        requantizer = to.requantizer(unit, numerics, (a.scale, b.scale, y.scale))
        to.emit(Mul, unit.node, names, unit.output, y, layout, **zero_points, requantizer=requantizer)
        return
    params = add_parameters(numerics, a, b, y)
    to.emit(_ELEMENTWISE[unit.kind], unit.node, names, unit.output, y, layout, arithmetic=numerics.arithmetic,
            zero_point=y.zero_point, **zero_points, **clamp, params=params)  # fmt: skip


@register(UNITS, "Max", "Min")
def extremum(unit: Unit, to: Lowering) -> None:
    """Each operand on another grid is first brought to the output's: rounding keeps the order."""
    names, grids, layout = _operands(unit, to)
    y, clamp = unit.grid, unit.clamp
    for index, grid in enumerate(grids):
        if grid != y or (clamp["qmin"], clamp["qmax"]) != (y.qmin, y.qmax):
            entries = table("Identity", {}, grid, y, clamp)
            fields = {"function": "requantize", "table": entries, "lowest": grid.qmin}
            names[index] = to.between(Lut, unit.node, [names[index]], y, **fields)
    to.emit(Maximum if unit.kind == "Max" else Minimum, unit.node, names, unit.output, y, layout)


def _operands(unit: Unit, to: Lowering) -> tuple[list[str], list[QuantParams], str]:
    """(tensors of the graph, grids, layout) of two operands, one of which may be a constant."""
    refuse_unless(len(unit.operands) == 2, f"takes two operands, not {len(unit.operands)}")
    activations = [o for o in unit.operands if isinstance(o, Real)]
    if not activations:
        raise UnsupportedError("both operands are constants")
    rank = max(len(o.codes.shape) for o in activations)
    layout = to.same_layout([o.codes for o in activations])
    if any(len(o.codes.shape) != rank for o in activations):
        raise UnsupportedError("operands of different rank")
    names, grids = [], []
    for operand in unit.operands:
        if isinstance(operand, Real):
            names.append(to.place(operand.codes, layout))
            grids.append(operand.params)
        elif isinstance(operand, RealKnown):
            name, params = to.constant_codes(unit.node, operand, layout, rank)
            names.append(name)
            grids.append(params)
        else:
            raise UnsupportedError("an operand is a constant of real numbers; quantized constants are read")
    return names, grids, layout


@register(UNITS, "Concat")
def concat(unit: Unit, to: Lowering) -> None:
    """Each input on another grid is first brought to the output's, by a table like QLinearConcat's."""
    reals = [unit.activation(i) for i in range(len(unit.operands))]
    refuse_unless(bool(reals), "joins nothing")
    layout = to.same_layout([r.codes for r in reals])
    axis = sample_axis(unit.node.attributes.get("axis", 1), reals[0].codes)
    y, clamp = unit.grid, unit.clamp
    names = []
    for real in reals:
        refuse_unless(len(real.codes.shape) == len(reals[0].codes.shape), "joins tensors of different rank")
        name = to.place(real.codes, layout)
        if real.params != y or (clamp["qmin"], clamp["qmax"]) != (y.qmin, y.qmax):
            entries = table("Identity", {}, real.params, y, clamp)
            name = to.between(Lut, unit.node, [name], y, function="requantize", table=entries, lowest=real.params.qmin)
        names.append(name)
    to.emit(Concat, unit.node, names, unit.output, y, layout,
            axis=graph_axis(axis, len(reals[0].codes.shape), layout), zero_points=(y.zero_point,) * len(names),
            requantizers=(None,) * len(names))  # fmt: skip
