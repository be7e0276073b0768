"""Functions of one element: a table of every code up to 8 bits, an interpolated table above.

Which form a table's entries have follows the profile: TensorFlow Lite Micro's fixed-point logistic (E21), TensorFlow
Lite's hard-swish in int16 steps (E23) and two-scale leaky ReLU (E24), elsewhere the function in float32 between the
profile's quantizers (E20, E1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from accelsim_kernels import mlas

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.registry import Captured, Reject, lowers, parameter, tensor
from accelsim.ops.activation import LeakyRelu as IntegerLeakyRelu
from accelsim.ops.function_parameters import gemmlowp_table, hard_swish_table, leaky_relu_table
from accelsim.ops.function_tables import function_table
from accelsim.ops.interpolated import InterpolatedLut, interpolated_table
from accelsim.ops.lookup import Lut
from accelsim.ops.prelu import PRelu as IntegerPRelu
from accelsim.profiles import NumericProfile, OperatorNumerics, load_profile
from accelsim.quant import QuantParams

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten

WIDEST_TABLE = 8  # bits of a code that has an entry of its own


class Function:
    """A function of one element. Subclasses: `capture` where there are arguments, `execute`, `function`.

    function: its name in the graph. homogeneous: f(s x) = s f(x) for every s > 0 (recipes rescale channels through it).
    """

    fuses_clamp = follows = True
    homogeneous = False
    function = ""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return Captured((tensor(arguments["self"], "the input"),))

    @staticmethod
    def special_table(node: FloatNode, x: QuantParams, y: QuantParams, profile: NumericProfile) -> np.ndarray | None:
        """The table where the profile's runtime has a form of its own for 8-bit codes."""
        return None

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        x, y = to.params(node.inputs[0]), to.params(node)
        clamp = to.clamp_codes(node)
        names, name = to.names(node, broadcast=True), node.operator.function
        if x.bits > WIDEST_TABLE:
            points, how = interpolated_table(_real(node), x, y)
            to.add(node, InterpolatedLut(**names, function=name, table=points, **how, **clamp))
            return
        table = node.operator.special_table(node, x, y, to.profile)
        if table is None:
            table = function_table(_real(node), x, y, to.profile.operator("quantize").arithmetic)
        table = np.clip(table, clamp["qmin"], clamp["qmax"]).astype(y.dtype)
        to.add(node, Lut(**names, function=name, table=table, lowest=x.qmin))


def _real(node: FloatNode) -> Any:
    """The node's function of float64 arrays."""
    return lambda x: node.operator.execute(node, torch.from_numpy(np.ascontiguousarray(x))).numpy()


def numerics_of(profile: NumericProfile, operator: str) -> OperatorNumerics | None:
    """What the profile, or the one it falls back on, says of an operator; None where neither has it."""
    found = profile.operators.get(operator)
    if found is None and profile.fallback is not None:
        return load_profile(profile.fallback).operators.get(operator)
    return found


@lowers(aten.sigmoid.default)
class Sigmoid(Function):
    """1 / (1 + exp(-x)); on TensorFlow Lite's grid of 2^-bits where the profile's runtime has no other."""

    function = "logistic"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x)

    @staticmethod
    def fixed_limits(profile: NumericProfile, bits: int, symmetric: bool) -> tuple[float, float] | None:
        """The range of the output where the runtime prescribes its grid: scale 2^-bits, smallest code 0."""
        numerics = numerics_of(profile, "logistic")
        return None if numerics is None else (0.0, 1.0 - 2.0 ** -(bits - symmetric))

    @staticmethod
    def special_table(node: FloatNode, x: QuantParams, y: QuantParams, profile: NumericProfile) -> np.ndarray | None:
        numerics = numerics_of(profile, "logistic")
        if numerics is not None and numerics.arithmetic == "gemmlowp" and y == QuantParams(2.0**-8, -128):
            return gemmlowp_table("logistic", x)
        if profile.name.startswith("onnxruntime"):
            return function_table(
                lambda v: mlas.logistic(v.astype(np.float32)), x, y, profile.operator("quantize").arithmetic
            )
        return None


@lowers(aten.silu.default)
class Silu(Function):
    """x / (1 + exp(-x))."""

    function = "silu"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.silu(x)


@lowers(aten.hardswish.default)
class Hardswish(Function):
    """x min(max(x + 3, 0), 6) / 6."""

    function = "hard-swish"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.hardswish(x)

    @staticmethod
    def special_table(node: FloatNode, x: QuantParams, y: QuantParams, profile: NumericProfile) -> np.ndarray | None:
        # the runtime's steps need an output at least as coarse as 1/128 of the input
        if numerics_of(profile, "hard_swish") is None or y.bits != 8 or x.scale > 64 * y.scale:
            return None
        return hard_swish_table(x, y)


@lowers(aten.elu.default)
class Elu(Function):
    """scale x for x > 0, else alpha scale (exp(input_scale x) - 1)."""

    function = "elu"

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        attributes = {name: float(arguments[name]) for name in ("alpha", "scale", "input_scale")}
        return Captured((tensor(arguments["self"], "the input"),), attributes)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        a = node.attributes
        return a["scale"] * torch.where(x > 0, x, a["alpha"] * torch.expm1(a["input_scale"] * x.clamp(max=0)))


@lowers(aten.selu.default)
class Selu(Function):
    function = "selu"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.selu(x)


@lowers(aten.mish.default)
class Mish(Function):
    """x tanh(log(1 + exp(x)))."""

    function = "mish"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.mish(x)


@lowers(aten.softplus.default)
class Softplus(Function):
    """log(1 + exp(beta x)) / beta; x where beta x is above the threshold."""

    function = "softplus"

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        attributes = {name: float(arguments[name]) for name in ("beta", "threshold")}
        return Captured((tensor(arguments["self"], "the input"),), attributes)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(x, node.attributes["beta"], node.attributes["threshold"])


@lowers(aten.leaky_relu.default)
class LeakyRelu(Function):
    """x where it is not negative, else slope x, each side rescaled by itself (E24)."""

    function = "leaky-relu"
    homogeneous = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        slope = float(arguments["negative_slope"])
        return Captured((tensor(arguments["self"], "the input"),), {"slope": slope})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, node.attributes["slope"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        x, slope = to.params(node.inputs[0]), node.attributes["slope"]
        numerics = numerics_of(to.profile, "leaky_relu")
        exact = (numerics is not None and numerics.fraction_bits is None) or x.bits > WIDEST_TABLE
        if to.profile.power_of_two or not exact or (slope <= 0 and x.bits <= WIDEST_TABLE):
            Function.lower(node, to)
            return
        if slope <= 0:
            names = to.names(node, broadcast=True)
            _prelu(node, to, names, np.full(to.tensors[names["inputs"][0]].shape[-1], slope))
            return
        numerics = numerics or to.profile.operator("requantize")
        sides: dict[str, Any] = {
            "identity": to.requantizer(node, numerics, (x.scale, 1.0, to.params(node).scale)),
            "slope": to.requantizer(node, numerics, (x.scale, slope, to.params(node).scale)),
        }
        if x.bits > WIDEST_TABLE:
            to.add(node, IntegerLeakyRelu(**to.names(node, broadcast=True), x_zero_point=x.zero_point, **sides))
            return
        table = leaky_relu_table(x, **sides).astype(to.params(node).dtype)
        to.add(node, Lut(**to.names(node, broadcast=True), function="leaky-relu", table=table, lowest=x.qmin))


@lowers(aten.prelu.default)
class PRelu:
    """x where it is not negative, else slope x, a slope for each channel (dimension 1)."""

    homogeneous = True
    learns = ("slope",)

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        slope = parameter(arguments["weight"], "the slope").flatten()
        if slope.numel() == 1:
            return Captured((x,), {"slope": float(slope)}, operator=LeakyRelu)
        if len(shape) not in (1, 3) or slope.numel() != shape[0]:
            raise Reject(f"{slope.numel()} slopes for a tensor of shape {shape}")
        return Captured((x,), parameters={"slope": slope})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.prelu(x, node.parameters["slope"].to(x.dtype))

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        _prelu(node, to, to.names(node), node.parameters["slope"].double().numpy())


def _prelu(node: FloatNode, to: Lowering, names: dict[str, Any], slope: np.ndarray) -> None:
    """A PRelu with these slopes, one for each place of the last stored axis."""
    x, y = to.params(node.inputs[0]), to.params(node)
    numerics = numerics_of(to.profile, "leaky_relu")
    if numerics is None or numerics.fraction_bits is not None:
        numerics = to.profile.operator("requantize")
    size = np.where(slope == 0, 1.0, np.abs(slope))
    to.add(
        node,
        IntegerPRelu(
            **names,
            x_zero_point=x.zero_point,
            identity=to.requantizer(node, numerics, (x.scale, 1.0, y.scale)),
            slope=to.requantizer(node, numerics, (x.scale, size, y.scale)),
            signs=np.sign(slope).astype(np.int8),
        ),
    )
