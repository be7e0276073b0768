"""Products and differences of two tensors, and of a tensor and a number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.operators.functions import WIDEST_TABLE, Function, numerics_of
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.arithmetic import Requantize as IntegerRequantize
from accelsim.ops.float_pair import FloatPair
from accelsim.ops.pairwise import Mul as IntegerMul
from accelsim.ops.pairwise import Sub as IntegerSub
from accelsim.ops.parameters import add_parameters
from accelsim.quant import QuantParams

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten

#: stands in where values are wider than the 32 bits of a profile's own scheme
WIDE_SCHEME = "tflite-int16x8"


@lowers()
class Affine(Function):
    """gain x + offset, both numbers.

    One rescaling where only a positive gain is there, and for wide codes, the offset then in whole codes; else a table.
    """

    function = "affine"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return x * node.attributes["gain"] + node.attributes["offset"]

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        gain, offset = node.attributes["gain"], node.attributes["offset"]
        x, y = to.params(node.inputs[0]), to.params(node)
        if (offset and x.bits <= WIDEST_TABLE) or gain <= 0 or to.profile.power_of_two:
            Function.lower(node, to)
            return
        requantizer = to.requantizer(node, to.profile.operator("requantize"), (x.scale, gain, y.scale))
        requantizer = replace(requantizer, zero_point=y.zero_point + round(offset / y.scale))
        names = to.names(node, broadcast=True)
        to.add(node, IntegerRequantize(**names, x_zero_point=x.zero_point, requantizer=requantizer))


def affine(x: Ref, gain: float = 1.0, offset: float = 0.0) -> Captured:
    """gain x + offset as a captured call; Reject where nothing is left of x."""
    gain, offset = float(gain), float(offset)
    if gain == 0 or gain - gain or offset - offset:
        raise Reject(f"{gain} x + {offset}")
    return Captured((x,), {"gain": gain, "offset": offset}, operator=Affine)


@lowers(aten.hardsigmoid.default)
class Hardsigmoid(Affine):
    """min(max(x + 3, 0), 6) / 6: a line and a clamp."""

    function = "hard-sigmoid"

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        line = affine(tensor(arguments["self"], "the input"), 1 / 6, 0.5)
        return replace(line, clamp=(0.0, 1.0), operator=Hardsigmoid)


def largest(params: QuantParams) -> int:
    """The largest distance of a code from its zero point."""
    return max(params.qmax - params.zero_point, params.zero_point - params.qmin)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


@lowers(aten.mul.Tensor, aten.mul.Scalar)
class Mul:
    """Product of two tensors, each on its own grid, broadcast (squeeze-and-excitation); one may be constant.

    Where 16-bit codes with zero points give products that the profile's scheme does not take (34 bits), a scheme for
    48-bit values stands in.
    """

    fuses_clamp = takes_constants = follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        a, b = arguments["self"], arguments["other"]
        if is_number(a) or is_number(b):
            x, gain = (b, a) if is_number(a) else (a, b)
            return affine(tensor(x, "an operand"), gain)
        return Captured((tensor(a, "the first operand"), tensor(b, "the second operand")))

    @staticmethod
    def execute(node: FloatNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a * b

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        if by_float32(node, to, "mul"):
            return
        a, b, y = (to.params(t) for t in (*node.inputs, node))
        scales, numerics = (a.scale, b.scale, y.scale), to.profile.operator("mul")
        requantizer = to.requantizer(node, numerics, scales)
        if largest(a) * largest(b) > requantizer.bound().accumulator_range()[1].min():
            requantizer = to.requantizer(node, replace(numerics, scheme=WIDE_SCHEME), scales)
        zero_points = {"a_zero_point": a.zero_point, "b_zero_point": b.zero_point}
        to.add(node, IntegerMul(**to.names(node, broadcast=True), **zero_points, requantizer=requantizer))


@lowers(aten.div.Tensor, aten.div.Scalar)
class Div(Mul):
    """A tensor divided by a number."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        if not is_number(arguments["other"]) or not arguments["other"]:
            raise Reject("a quotient of two tensors")
        return affine(tensor(arguments["self"], "the dividend"), 1 / arguments["other"])


@lowers(aten.neg.default)
class Neg(Affine):
    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return affine(tensor(arguments["self"], "the input"), -1.0)


@lowers(aten.rsub.Scalar)
class NumberLess(Affine):
    """A number less the tensor: other - alpha x."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return affine(tensor(arguments["self"], "the input"), -arguments["alpha"], arguments["other"])


@lowers(aten.sub.Tensor, aten.sub.Scalar)
class Sub:
    """Difference of two tensors, each on its own grid, broadcast; one may be constant."""

    fuses_clamp = takes_constants = follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        a, b = arguments["self"], arguments["other"]
        if is_number(a):
            return affine(tensor(b, "the second operand"), -arguments["alpha"], a)
        a = tensor(a, "the first operand")
        if is_number(b):
            return affine(a, offset=-b * arguments["alpha"])
        if arguments["alpha"] != 1:
            raise Reject(f"alpha={arguments['alpha']}")
        return Captured((a, tensor(b, "the second operand")))

    @staticmethod
    def execute(node: FloatNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a - b

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        if by_float32(node, to, "sub"):
            return
        a, b, y = (to.params(t) for t in (*node.inputs, node))
        numerics = to.profile.operator("sub")
        fields = {"a_zero_point": a.zero_point, "b_zero_point": b.zero_point, "zero_point": y.zero_point}
        how: dict[str, Any] = {"arithmetic": numerics.arithmetic, "params": add_parameters(numerics, a, b, y)}
        to.add(node, IntegerSub(**to.names(node, broadcast=True), **fields, **to.clamp_codes(node), **how))


def by_float32(node: FloatNode, to: Lowering, operation: str) -> bool:
    """Whether the profile's runtime computes the pair through float32; it is then added to the graph."""
    numerics = numerics_of(to.profile, "float_pair")
    if numerics is None or numerics_of(to.profile, operation) is not None:
        return False
    a, b, y = (to.params(t) for t in (*node.inputs, node))
    # QLinearMul alone multiplies codes; a difference is a float operator between quantizers
    arithmetic = numerics.arithmetic if operation == "mul" else "dequantized"
    to.add(
        node,
        FloatPair(
            **to.names(node, broadcast=True),
            operation=operation,
            arithmetic=arithmetic,
            a_zero_point=a.zero_point,
            b_zero_point=b.zero_point,
            zero_point=y.zero_point,
            **to.clamp_codes(node),
            params={"a_scale": a.scale, "b_scale": b.scale, "scale": y.scale},
        ),
    )
    return True
