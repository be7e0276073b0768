"""Activation functions on codes: logistic, tanh, hard-swish, leaky ReLU (equations E20 to E24).

Functions of one 8-bit code that a runtime tabulates in float (LiteRT's logistic, tanh, GELU, ELU) are `lut` with
`activation_table`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.gemmlowp import (
    divide_by_power_of_two,
    exp_of_negative,
    one_minus_over_one_plus,
    one_over_one_plus,
)
from accelsim_kernels.requantization import requantize as apply_scheme
from accelsim_kernels.tables import SIGMOID, code_table

#: functions that runtimes tabulate, evaluated in float64
FUNCTIONS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "logistic": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
        "tanh": math.tanh,
        "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
        "gelu-tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "elu": lambda x: x if x >= 0 else math.expm1(x),
        "exp": lambda x: math.exp(min(x, 700)),
    }
)


def activation_table(name: str, **grid) -> np.ndarray:
    """The codes of a function of FUNCTIONS for every input code: tables.code_table(**grid) (E20)."""
    if name not in FUNCTIONS:
        raise ValueError(f"unknown function {name!r}; known: {', '.join(FUNCTIONS)}")
    return code_table(FUNCTIONS[name], **grid)


def logistic(x, *, arithmetic: str, multiplier: int, shift: int, x_zero_point: int = 0, **params) -> np.ndarray:
    """1 / (1 + exp(-x)) on codes.

    "gemmlowp" (8-bit codes): multiplier and shift bring x - x_zero_point to Q4.27, input_range_radius: beyond it
    the result is saturated. Result int8, scale 1/256, zero point -128 (TFLite Micro; E21).
    "table" (int16 codes): (x * multiplier + rounding) >> shift, then 256 points of the function on [0, 10.67),
    interpolated. Result int16, scale 1/32768 (TFLite; E22).
    """
    domain.arithmetic_of("logistic", arithmetic, params)
    x = domain.codes("x", x).astype(np.int64) - x_zero_point
    if arithmetic == "table":
        return _by_table(x, multiplier, shift, tanh=False)
    radius = params["input_range_radius"]
    scaled = _scaled(x, radius, multiplier, shift)
    power = exp_of_negative(-np.abs(scaled), 4)
    positive = one_over_one_plus(power)
    value = np.where(scaled >= 0, positive, 2**31 - 1 - positive)
    value = np.where(scaled == 0, 2**30, value)
    code = np.minimum(divide_by_power_of_two(value, 31 - 8), 255) - 128
    return np.where(x <= -radius, -128, np.where(x >= radius, 127, code)).astype(np.int8)


def tanh(x, *, arithmetic: str, multiplier: int, shift: int, x_zero_point: int = 0, **params) -> np.ndarray:
    """tanh on codes: as logistic(). Result scale 1/128 (int8) or 1/32768 (int16), zero point 0 (E21, E22)."""
    domain.arithmetic_of("logistic", arithmetic, params)
    x = domain.codes("x", x).astype(np.int64) - x_zero_point
    if arithmetic == "table":
        return _by_table(x, multiplier, shift, tanh=True)
    radius = params["input_range_radius"]
    scaled = _scaled(x, radius, multiplier, shift)
    power = exp_of_negative(-np.abs(scaled), 5)  # the same bits with one integer bit more: exp(-2 |x|)
    magnitude = one_minus_over_one_plus(power)
    value = np.where(scaled >= 0, magnitude, -magnitude)
    value = np.where(scaled == 0, 0, value)
    code = np.clip(divide_by_power_of_two(value, 31 - 7), -128, 127)
    return np.where(x <= -radius, -128, np.where(x >= radius, 127, code)).astype(np.int8)


def _scaled(x: np.ndarray, radius: int, multiplier: int, shift: int) -> np.ndarray:
    """x in Q4.27; beyond the radius, where the result is saturated anyway, x is held at it."""
    held = np.clip(x, 1 - radius, radius - 1)
    return apply_scheme(held, "tflite-double", multiplier, shift, qmin=-(2**31), qmax=2**31 - 1).astype(np.int64)


def _by_table(x: np.ndarray, multiplier: int, shift: int, tanh: bool) -> np.ndarray:
    scaled = (x * multiplier + ((1 << shift) >> 1)) >> shift
    magnitude = np.abs(scaled)
    index = magnitude >> (8 if tanh else 9)
    held = np.minimum(index, 254)
    fraction = magnitude & (255 if tanh else 511)
    table = SIGMOID.astype(np.int64)
    low, high = table[held], table[held + 1]
    if tanh:
        result = np.where(index >= 255, 0xFFFF << 8, (low << 8) + fraction * (high - low))
        upper, lower = result - (1 << (14 + 9)) + (1 << 7), -result + (1 << (14 + 9)) + (1 << 7) - 1
        return (np.where(scaled >= 0, upper, lower) >> 8).astype(np.int16)
    result = np.where(index >= 255, 0x7FFF << 10, (low << 9) + fraction * (high - low))
    return (np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10).astype(np.int16)


def hard_swish(
    x, *, x_zero_point: int, zero_point: int, output_multiplier: int, output_exponent: int, relu_multiplier: int,
    relu_exponent: int, qmin: int = -128, qmax: int = 127,
) -> np.ndarray:  # fmt: skip
    """x * relu6(x + 3) / 6 in int16 steps (E23).

    *_multiplier: 15-bit, *_exponent: of quantize_multiplier; output_exponent <= 0. Source: TensorFlow Lite
    reference hard_swish.h.
    """
    if output_exponent > 0:
        raise ValueError(f"hard_swish: output_exponent must be at most 0, got {output_exponent}")
    value = (domain.codes("x", x).astype(np.int64) - x_zero_point) << 7
    on_output = _high16(value, output_multiplier)
    relu = value if relu_exponent <= 0 else _left16(value, relu_exponent - 1)
    relu = _high16(relu, relu_multiplier)
    if relu_exponent > 0:
        relu = _left16(relu, 1)
    elif relu_exponent < 0:
        relu = divide_by_power_of_two(relu, -relu_exponent)
    relu = (relu + 2**15) >> 1
    # the doubling high multiply here truncates
    product = relu * on_output
    truncated = np.sign(product) * (np.abs(product) >> 15)
    code = divide_by_power_of_two(np.clip(truncated, -(2**15), 2**15 - 1), -output_exponent) + zero_point
    return np.clip(code, qmin, qmax).astype(domain.narrowest_dtype(qmin, qmax))


def leaky_relu(x, *, x_zero_point: int = 0, identity: dict, slope: dict) -> np.ndarray:
    """requantize(x - z, **identity) where it is not negative, else requantize(x - z, **slope) (E24).

    identity, slope: keywords of requantize() for the scales input / output and alpha * input / output.
    """
    x = domain.codes("x", x).astype(np.int32) - np.int32(x_zero_point)
    return np.where(x >= 0, apply_scheme(np.maximum(x, 0), **identity), apply_scheme(np.minimum(x, 0), **slope))


def _high16(a: np.ndarray, b: int) -> np.ndarray:
    """SRDHM of 16 bits: (a * b + 2**14) >> 15, saturated."""
    return np.minimum((a * b + 2**14) >> 15, 2**15 - 1)


def _left16(a: np.ndarray, shift: int) -> np.ndarray:
    return np.clip(a << shift, -(2**15), 2**15 - 1)
