"""Layer norm and RMS norm over the last dimension, integer-only (kernels/README.md, N1 to N5)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.registry import Captured, Reject, lowers, parameter, tensor
from accelsim.ops.norm import LayerNorm as IntegerLayerNorm
from accelsim.ops.norm import RmsNorm as IntegerRmsNorm
from accelsim.quant import QuantParams, choose_params, quantize

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten

_NARROW = 8  # bits of activations up to which gamma has 8 bits and normalized values 16
_GAMMA_BITS = {True: 8, False: 12}
_LARGEST_EPSILON = 1 << 61


def _operands(arguments: dict[str, Any]) -> tuple[Ref, int]:
    x = tensor(arguments["input"], "the input")
    over = list(arguments["normalized_shape"])
    if len(over) != 1 or over[0] != x.shape[-1]:
        raise Reject(f"normalized over {over}: only over the last dimension of {x.shape}")
    return x, x.shape[-1]


class _Norm:
    """attributes: eps; fixed, where the network has no weight of its own, only ones."""

    owns_module = fuses_clamp = follows = True
    learns = ("weight", "bias")

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        """gamma: symmetric codes of 8 bits (12 where activations are wider); beta: at gamma's scale times 2^-F.

        F, the fraction bits of the normalized values, fills 16 bits (with wide activations: the 32 of the sum).
        """
        x, y, count = to.params(node.inputs[0]), to.params(node), node.shape[-1]
        narrow = max(x.bits, y.bits) <= _NARROW
        gamma = node.parameters["weight"].double().numpy()
        limit = float(np.abs(gamma).max()) or 1.0
        power_of_two = to.profile.power_of_two
        grid = choose_params(-limit, limit, bits=_GAMMA_BITS[narrow], symmetric=True, power_of_two=power_of_two)
        reach = math.ceil(math.log2(math.isqrt(count) + 2))
        fraction_bits = max((15 if narrow else 31 - grid.bits) - reach, 0)
        beta_scale = grid.scale * 2.0**-fraction_bits
        beta = np.rint(node.parameters["bias"].double().numpy() / beta_scale) if "bias" in node.parameters else None
        beta = np.zeros(count) if beta is None else beta
        if np.abs(beta).max() >= 2**30:
            raise AccelsimError("the bias is over a million times as large as the weight; fold it elsewhere")
        common = {
            **to.names(node, plain=True),
            "gamma": quantize(gamma, grid),
            "gamma_params": grid,
            "beta": beta.astype(np.int32),
            "epsilon": integer_epsilon(node.attributes["eps"], count, x),
            "fraction_bits": fraction_bits,
            "requantizer": to.requantizer(
                node, to.profile.operator("requantize"), (grid.scale, 2.0**-fraction_bits, y.scale)
            ),
        }
        if node.operator is RmsNorm:
            to.add(node, IntegerRmsNorm(**common, x_zero_point=x.zero_point))
        else:
            to.add(node, IntegerLayerNorm(**common))


def integer_epsilon(eps: float, count: int, x: QuantParams) -> int:
    """C² ε / s_x², at least 1 (N3)."""
    return min(max(round(count**2 * eps / x.scale**2), 1), _LARGEST_EPSILON)


@lowers(aten.layer_norm.default)
class LayerNorm(_Norm):
    """(x - mean) / sqrt(variance + eps) * weight + bias."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x, count = _operands(arguments)
        attributes = {"eps": float(arguments["eps"]), "fixed": arguments.get("weight") is None}
        return Captured((x,), attributes, _parameters(arguments, count))

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        p = node.parameters
        return F.layer_norm(x, node.shape[-1:], p["weight"], p.get("bias"), node.attributes["eps"])


@lowers(aten.rms_norm.default)
class RmsNorm(_Norm):
    """x / sqrt(mean square + eps) * weight."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x, count = _operands(arguments)
        eps = arguments["eps"]
        eps = float(torch.finfo(torch.float32).eps if eps is None else eps)
        attributes = {"eps": eps, "fixed": arguments.get("weight") is None}
        return Captured((x,), attributes, _parameters(arguments, count))

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, node.shape[-1:], node.parameters["weight"], node.attributes["eps"])


def _parameters(arguments: dict[str, Any], count: int) -> dict[str, torch.Tensor]:
    weight = arguments.get("weight")
    found = {"weight": torch.ones(count) if weight is None else parameter(weight, "the weight")}
    if arguments.get("bias") is not None:
        found["bias"] = parameter(arguments["bias"], "the bias")
    return found
