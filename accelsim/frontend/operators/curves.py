"""GELU, tanh and plain functions: tables of every code up to 8 bits, interpolated tables above (functions.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.operators.functions import Function, numerics_of
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.function_parameters import gemmlowp_table
from accelsim.profiles import NumericProfile
from accelsim.quant import QuantParams

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


@lowers(aten.gelu.default)
class Gelu(Function):
    """x Φ(x), with the error function or by tanh as torch was told."""

    function = "gelu"

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return Captured((tensor(arguments["self"], "the input"),), {"approximate": str(arguments["approximate"])})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(x, approximate=node.attributes["approximate"])


@lowers(aten.tanh.default)
class Tanh(Function):
    """tanh(x); on TensorFlow Lite's grid of 2^(1 - bits) where the profile's runtime has no other."""

    function = "tanh"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x)

    @staticmethod
    def fixed_limits(profile: NumericProfile, bits: int, symmetric: bool) -> tuple[float, float] | None:
        if numerics_of(profile, "logistic") is None:
            return None
        largest = 1.0 - 2.0 ** (1 - bits)
        return (-largest if symmetric else -1.0, largest)

    @staticmethod
    def special_table(node: FloatNode, x: QuantParams, y: QuantParams, profile: NumericProfile) -> np.ndarray | None:
        numerics = numerics_of(profile, "logistic")
        fixed_point = numerics is not None and numerics.arithmetic == "gemmlowp"
        return gemmlowp_table("tanh", x) if fixed_point and y == QuantParams(2.0**-7, 0) else None


@lowers(aten.pow.Tensor_Scalar)
class Power(Function):
    """x to a constant power."""

    function = "power"

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        exponent = arguments["exponent"]
        if not isinstance(exponent, (int, float)) or exponent <= 0 or exponent != int(exponent):
            raise Reject(f"a power of {exponent}: only whole, positive ones are finite everywhere")
        return Captured((tensor(arguments["self"], "the input"),), {"exponent": int(exponent)})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.pow(x, node.attributes["exponent"])


@lowers(aten.erf.default)
class Erf(Function):
    function = "erf"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.erf(x)


@lowers(aten.exp.default)
class Exp(Function):
    function = "exp"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(x)


@lowers(aten.abs.default)
class Abs(Function):
    function = "abs"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.abs(x)


@lowers(aten.rsqrt.default)
class Rsqrt(Function):
    """1 / sqrt(x): part of a norm written out (written_norms.py); by itself it has no end, hence no grid."""

    function = "rsqrt"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.rsqrt(x)

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        raise AccelsimError(f"{node.where}: rsqrt has no end at 0; only x * rsqrt(mean(x²) + eps) is known, RMS norm")
