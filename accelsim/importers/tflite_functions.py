"""Operators of .tflite files that are functions of one code: clamps, activations, changes of grid, softmax."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from accelsim.importers.lowering import Lowering
from accelsim.importers.registry import LOWERINGS, UnsupportedError, lowers
from accelsim.importers.tflite_file import FileOperator
from accelsim.importers.tflite_grids import real_clamp
from accelsim.importers.tflite_tables import absolute_table, function_table, rsqrt_table
from accelsim.ops.activation import LeakyRelu, Logistic, Tanh
from accelsim.ops.arithmetic import Clamp, Requantize
from accelsim.ops.float_forms import TableSoftmax
from accelsim.ops.function_parameters import (
    gemmlowp_table,
    hard_swish_table,
    interpolated_parameters,
    leaky_relu_table,
    power_of_two_shift,
    softmax_parameters,
)
from accelsim.ops.lookup import Lut
from accelsim.ops.softmax import Softmax
from accelsim.ops.tailed import TailedRequantize
from accelsim.quant import QuantParams

#: ratios of scales that XNNPACK's fixed-point multipliers hold
_CONVERTIBLE = (2.0**-8, 2.0**7)


def rescaled(op: FileOperator, to: Lowering, operator: str, clamp: dict[str, int], delegated: bool = True) -> None:
    """The input on the output's grid, clamped; nothing but the clamp where both grids are one."""
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    if x == y:
        to.emit(Clamp, op, [to.input(op, 0)], op.outputs[0], **clamp)
        return
    numerics = to.numerics(operator, max(x.bits, y.bits), delegated)
    scales = x.scale, 1.0, y.scale
    if max(x.bits, y.bits) > 8 and numerics.tail_scheme is not None:  # vectors are of 8-bit codes only
        numerics = replace(numerics, scheme=numerics.tail_scheme, tail_scheme=None)
    fields: dict[str, Any] = {"x_zero_point": x.zero_point, "requantizer": to.requantizer(numerics, scales, y, clamp)}
    if numerics.tail_scheme is None:
        to.emit(Requantize, op, [to.input(op, 0)], op.outputs[0], **fields)
        return
    if to.batch > 1 and math.prod(to.sample_shape(op.outputs[0])) % (numerics.block or 1):
        raise UnsupportedError("whose last elements this runtime rounds otherwise, of a fixed batch")
    fields["tail"] = to.requantizer(replace(numerics, scheme=numerics.tail_scheme), scales, y, clamp)
    to.emit(TailedRequantize, op, [to.input(op, 0)], op.outputs[0], **fields, block=numerics.block)


def _relu(op: FileOperator, to: Lowering, lower: float, upper: float | None) -> None:
    rescaled(op, to, "relu", real_clamp(lower, upper, to.params(op.outputs[0])))


LOWERINGS["RELU"] = partial(_relu, lower=0.0, upper=None)
LOWERINGS["RELU6"] = partial(_relu, lower=0.0, upper=6.0)
LOWERINGS["RELU_N1_TO_1"] = partial(_relu, lower=-1.0, upper=1.0)
LOWERINGS["RELU_0_TO_1"] = partial(_relu, lower=0.0, upper=1.0)


@lowers("QUANTIZE")
def quantize(op: FileOperator, to: Lowering) -> None:
    """From real numbers it is the input of the graph; from codes a change of grid."""
    source = to.tensor(op, 0)
    if source.type == "FLOAT32":
        if op.outputs[0] not in to.names:
            raise UnsupportedError(f"quantizes {source.name!r}, which is computed in FLOAT32")
        return
    y = to.params(op.outputs[0])
    if to.params(source.index) == y:
        to.alias(op, to.input(op, 0), op.outputs[0])
        return
    x = to.params(source.index)
    delegated = (x.bits, x.signed) == (8, True) == (y.bits, y.signed)
    delegated = delegated and _CONVERTIBLE[0] <= x.scale / y.scale <= _CONVERTIBLE[1]
    operator = "convert" if delegated and to.defines("convert") else "requantize"
    rescaled(op, to, operator, real_clamp(None, None, y), delegated)


@lowers("DEQUANTIZE")
def dequantize(op: FileOperator, to: Lowering) -> None:
    """Real numbers leave the graph as codes with their grid."""
    if any(op.outputs[0] in other.inputs for other in to.file.operators):
        raise UnsupportedError("its real numbers are read by another operator")
    to.alias(op, to.input(op, 0), op.outputs[0])


def lut(op: FileOperator, to: Lowering, function: str, table: np.ndarray) -> None:
    x = to.params(op.inputs[0])
    to.emit(Lut, op, [to.input(op, 0)], op.outputs[0], function=function, table=table, lowest=x.qmin)


def _tabulated(op: FileOperator, to: Lowering, function: str) -> None:
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    if x.bits > 8:
        raise UnsupportedError(f"of {x.bits}-bit codes")
    quantize = to.numerics("elu").options if function == "elu" and to.defines("elu") else {}
    lut(op, to, function, function_table(function, x, y, **quantize))


LOWERINGS["ELU"] = partial(_tabulated, function="elu")
LOWERINGS["EXP"] = partial(_tabulated, function="exp")
LOWERINGS["LOG"] = partial(_tabulated, function="log")


@lowers("ABS", "RSQRT")
def absolute(op: FileOperator, to: Lowering) -> None:
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    if max(x.bits, y.bits) > 8:
        raise UnsupportedError(f"of {x.bits}-bit codes")
    lut(op, to, op.kind.lower(), (absolute_table if op.kind == "ABS" else rsqrt_table)(x, y))


@lowers("GELU")
def gelu(op: FileOperator, to: Lowering) -> None:
    _tabulated(op, to, "gelu-tanh" if to.options(op, "GeluOptions").Approximate() else "gelu")


@lowers("LOGISTIC", "TANH")
def logistic(op: FileOperator, to: Lowering) -> None:
    function = op.kind.lower()
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    _check_grid(op, y, {"logistic": (2.0**-y.bits, y.qmin), "tanh": (2.0 ** (1 - y.bits), 0)}[function])
    if x.bits > 8:
        cls = Logistic if function == "logistic" else Tanh
        if power_of_two_shift(function, x) is not None and to.defines("power_of_two_logistic", x.bits):
            raise UnsupportedError(f"of a power-of-two scale ({x.scale}): this runtime has another form, not modeled")
        params = interpolated_parameters(function, x)
        how = {"x_zero_point": x.zero_point, "arithmetic": "table", "params": params}
        to.emit(cls, op, [to.input(op, 0)], op.outputs[0], **how)
        return
    fixed_point = to.profile.operators.get("logistic")  # the arithmetic of tanh, too
    if fixed_point is not None and fixed_point.arithmetic == "gemmlowp":
        lut(op, to, function, gemmlowp_table(function, x))
        return
    steps = function
    quantize: dict[str, Any] = {}
    if to.defines("float_logistic"):  # XNNPACK's
        steps = "logistic-rounded-once" if function == "logistic" else function
        quantize = to.numerics("float_logistic").options
    lut(op, to, function, function_table(steps, x, y, **quantize))


def _check_grid(op: FileOperator, y: QuantParams, wanted: tuple[float, int]) -> None:
    if op.kind == "LOGISTIC" and y.bits == 16:
        wanted = 2.0**-15, 0
    if abs(y.scale - wanted[0]) > wanted[0] * 1e-3 or y.zero_point != wanted[1]:
        raise UnsupportedError(f"has the output grid {y.scale}, {y.zero_point}; the runtime has {wanted}")


@lowers("HARD_SWISH")
def hard_swish(op: FileOperator, to: Lowering) -> None:
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    if x.bits > 8:
        raise UnsupportedError(f"of {x.bits}-bit codes")
    lut(op, to, "hard-swish", hard_swish_table(x, y))


@lowers("LEAKY_RELU")
def leaky_relu(op: FileOperator, to: Lowering) -> None:
    alpha = float(to.options(op, "LeakyReluOptions").Alpha())
    if not 2.0**-40 < alpha < 2.0**40:
        raise UnsupportedError(f"alpha {alpha}")
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    smallest, largest = (x.scale / y.scale * factor for factor in (min(alpha, 1.0), max(alpha, 1.0)))
    delegated = _CONVERTIBLE[0] <= smallest and largest <= _CONVERTIBLE[1]
    numerics = to.numerics("leaky_relu", x.bits, delegated)
    clamp = real_clamp(None, None, y)
    identity = to.requantizer(numerics, (x.scale, 1.0, y.scale), y, clamp)
    slope = to.requantizer(numerics, (x.scale, alpha, y.scale), y, clamp)
    if x.bits <= 8:
        lut(op, to, "leaky-relu", leaky_relu_table(x, identity, slope))
        return
    fields = {"x_zero_point": x.zero_point, "identity": identity, "slope": slope}
    to.emit(LeakyRelu, op, [to.input(op, 0)], op.outputs[0], **fields)


@lowers("SOFTMAX")
def softmax(op: FileOperator, to: Lowering) -> None:
    beta = float(to.options(op, "SoftmaxOptions").Beta())
    x, y = to.params(op.inputs[0]), to.params(op.outputs[0])
    if not 2.0**-40 < beta < 2.0**40:
        raise UnsupportedError(f"beta {beta}")
    if x.bits == 8 and to.defines("table_softmax", x.bits, delegated=False):
        exponents = np.float32(-x.scale * beta) * np.arange(256, dtype=np.float32)
        table = np.exp(exponents.astype(np.float64)).astype(np.float32)
        fields = {"scale": float(y.scale), "zero_point": y.zero_point, "qmin": y.qmin, "qmax": y.qmax}
        to.emit(TableSoftmax, op, [to.input(op, 0)], op.outputs[0], table=table, **fields)
        return
    params = dict(softmax_parameters(beta, x, y))
    to.emit(Softmax, op, [to.input(op, 0)], op.outputs[0], arithmetic=params.pop("arithmetic"), params=params)
