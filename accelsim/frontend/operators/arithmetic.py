"""Elementwise operators: residual additions, activations that are clamps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from accelsim.frontend.float_graph import Bound, FloatNode, per_channel
from accelsim.frontend.operators.product import affine, by_float32, is_number
from accelsim.frontend.registry import Captured, Reject, lowers, parameter, tensor
from accelsim.ops.arithmetic import Add as IntegerAdd
from accelsim.ops.arithmetic import Clamp as IntegerClamp
from accelsim.ops.arithmetic import Requantize as IntegerRequantize

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


@lowers(aten.add.Tensor, aten.add.Scalar)
class Add:
    """Sum of two tensors, each on its own grid, broadcast; one of them may be constant (positions)."""

    fuses_clamp = takes_constants = follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        a = tensor(arguments["self"], "the first operand")
        if is_number(arguments["other"]):
            return affine(a, offset=arguments["other"] * arguments["alpha"])
        b = tensor(arguments["other"], "the second operand")
        if arguments["alpha"] != 1:
            raise Reject(f"alpha={arguments['alpha']}")
        return Captured((a, b))

    @staticmethod
    def execute(node: FloatNode, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        if by_float32(node, to, "add"):
            return
        to.add(node, IntegerAdd(**to.names(node, broadcast=True), **to.add_numerics(node)))


@lowers()
class Clamp:
    """ReLU and its relatives: fused into the layer before it, else one requantization with a narrower clamp."""

    fuses_clamp = follows = True

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return x  # the node's own clamp does the rest

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        if to.params(node) == to.params(node.inputs[0]) and not per_channel(node.clamp):
            to.add(node, IntegerClamp(**to.names(node, broadcast=True), **to.clamp_codes(node)))
        else:
            to.add(node, IntegerRequantize(**to.names(node, broadcast=True), **to.requantize_numerics(node)))


@lowers(aten.relu.default)
class Relu(Clamp):
    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return Captured((tensor(arguments["self"], "the input"),), clamp=(0.0, None))


@lowers(aten.relu6.default)
class Relu6(Clamp):
    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return Captured((tensor(arguments["self"], "the input"),), clamp=(0.0, 6.0))


@lowers(aten.hardtanh.default)
class Hardtanh(Clamp):
    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        return Captured((x,), clamp=(float(arguments["min_val"]), float(arguments["max_val"])))


@lowers(aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default)
class Clip(Clamp):
    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        limits = (arguments.get("min"), arguments.get("max"))
        clamp = tuple(None if limit is None else float(limit) for limit in limits)
        return Captured((tensor(arguments["self"], "the input"),), clamp=clamp)  # type: ignore[arg-type]


@lowers(aten.clamp.Tensor, aten.clamp_min.Tensor, aten.clamp_max.Tensor)
class ChannelClip(Clamp):
    """Bounds that are parameters: one number, or one per channel (an equalized ReLU6)."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        return Captured((x,), clamp=(_bound(arguments.get("min"), shape), _bound(arguments.get("max"), shape)))


def _bound(value: Any, shape: tuple[int, ...]) -> Bound:
    if value is None:
        return None
    found = parameter(value, "the bound")
    if found.numel() == 1:
        return float(found)
    rest = tuple(found.shape[1:] if found.ndim == len(shape) + 1 else found.shape)
    if len(shape) not in (1, 3) or rest != (shape[0], *[1] * (len(shape) - 1)):
        raise Reject(f"bounds of shape {tuple(found.shape)}: one number, or one per channel")
    return tuple(found.flatten().tolist())
