"""Activation functions in Python integers: what accelsim_kernels.activations must equal (E20 to E24)."""

from __future__ import annotations

import math

import numpy as np

from .. import domain
from .gemmlowp import exp_of_negative, one_minus_over_one_plus, one_over_one_plus, saturate
from .requantization import divide_by_power_of_two, requantize
from .tables import code_table

_FUNCTIONS = {
    "logistic": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "tanh": math.tanh,
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu-tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "elu": lambda x: x if x >= 0 else math.expm1(x),
    "exp": lambda x: math.exp(min(x, 700)),
}
_WIDE = {"qmin": -(2**31), "qmax": 2**31 - 1}


def activation_table(name: str, **grid) -> np.ndarray:
    """As accelsim_kernels.activation_table (E20)."""
    if name not in _FUNCTIONS:
        raise ValueError(f"unknown function {name!r}; known: {', '.join(_FUNCTIONS)}")
    return np.array(code_table(_FUNCTIONS[name], **grid))


def logistic(x, *, arithmetic: str, multiplier: int, shift: int, x_zero_point: int = 0, **params) -> np.ndarray:
    """As accelsim_kernels.logistic (E21, E22)."""
    domain.arithmetic_of("logistic", arithmetic, params)
    if arithmetic == "table":
        return _map(x, lambda v: _table_logistic(v - x_zero_point, multiplier, shift), np.int16)
    radius = params["input_range_radius"]

    def one(v: int) -> int:
        if abs(v) >= radius:
            return 127 if v > 0 else -128
        scaled = requantize(np.array(v), "tflite-double", multiplier, shift, **_WIDE).item()
        positive = one_over_one_plus(exp_of_negative(-abs(scaled), 4))
        value = 2**30 if scaled == 0 else positive if scaled > 0 else 2**31 - 1 - positive
        return saturate(divide_by_power_of_two(value, 23) - 128, 8)

    return _map(x, lambda v: one(v - x_zero_point), np.int8)


def tanh(x, *, arithmetic: str, multiplier: int, shift: int, x_zero_point: int = 0, **params) -> np.ndarray:
    """As accelsim_kernels.tanh (E21, E22)."""
    domain.arithmetic_of("logistic", arithmetic, params)
    if arithmetic == "table":
        return _map(x, lambda v: _table_tanh(v - x_zero_point, multiplier, shift), np.int16)
    radius = params["input_range_radius"]

    def one(v: int) -> int:
        if abs(v) >= radius:
            return 127 if v > 0 else -128
        scaled = requantize(np.array(v), "tflite-double", multiplier, shift, **_WIDE).item()
        magnitude = one_minus_over_one_plus(exp_of_negative(-abs(scaled), 5))
        value = 0 if scaled == 0 else magnitude if scaled > 0 else -magnitude
        return saturate(divide_by_power_of_two(value, 24), 8)

    return _map(x, lambda v: one(v - x_zero_point), np.int8)


def _sigmoid_point(i: int) -> int:
    """Entry i of TensorFlow Lite's sigmoid_table_uint16: half the error of its segment's middle is added."""
    here, middle, following = (65536 / (1 + math.exp(-j / 24)) for j in (i, i + 0.5, i + 1))
    return 65535 if i == 255 else math.floor(here + (middle - (here + following) / 2) / 2 + 0.5)


def _table_logistic(v: int, multiplier: int, shift: int) -> int:
    scaled = (v * multiplier + (2 ** (shift - 1) if shift > 0 else 0)) >> shift
    index, fraction = divmod(abs(scaled), 512)
    if index >= 255:
        result = 0x7FFF << 10
    else:
        low = _sigmoid_point(index)
        result = (low << 9) + fraction * (_sigmoid_point(index + 1) - low)
    return (result + 512 if scaled >= 0 else 2**25 - result + 511) >> 10


def _table_tanh(v: int, multiplier: int, shift: int) -> int:
    scaled = (v * multiplier + (2 ** (shift - 1) if shift > 0 else 0)) >> shift
    index, fraction = divmod(abs(scaled), 256)
    if index >= 255:
        result = 0xFFFF << 8
    else:
        low = _sigmoid_point(index)
        result = (low << 8) + fraction * (_sigmoid_point(index + 1) - low)
    return (result - 2**23 + 128 if scaled >= 0 else 2**23 - result + 127) >> 8


def hard_swish(
    x, *, x_zero_point: int, zero_point: int, output_multiplier: int, output_exponent: int, relu_multiplier: int,
    relu_exponent: int, qmin: int = -128, qmax: int = 127,
) -> np.ndarray:  # fmt: skip
    """As accelsim_kernels.hard_swish (E23)."""
    if output_exponent > 0:
        raise ValueError(f"hard_swish: output_exponent must be at most 0, got {output_exponent}")

    def one(v: int) -> int:
        value = (v - x_zero_point) * 128
        on_output = _high16(value, output_multiplier)
        relu = value if relu_exponent <= 0 else saturate(value * 2 ** (relu_exponent - 1), 16)
        relu = _high16(relu, relu_multiplier)
        if relu_exponent > 0:
            relu = saturate(relu * 2, 16)
        else:
            relu = divide_by_power_of_two(relu, -relu_exponent)
        relu = (relu + 2**15) >> 1
        product = abs(relu * on_output) // 2**15
        product = saturate(product if relu * on_output >= 0 else -product, 16)
        code = divide_by_power_of_two(product, -output_exponent) + zero_point
        return min(max(code, qmin), qmax)

    return _map(x, one, domain.narrowest_dtype(qmin, qmax))


def leaky_relu(x, *, x_zero_point: int = 0, identity: dict, slope: dict) -> np.ndarray:
    """As accelsim_kernels.leaky_relu (E24)."""
    x = domain.codes("x", x)
    flat = [int(v) - x_zero_point for v in x.flat]
    codes = [requantize(np.array(v), **(identity if v >= 0 else slope)) for v in flat]
    return np.array(codes).reshape(x.shape) if codes else np.empty(x.shape, np.int8)


def _high16(a: int, b: int) -> int:
    """SRDHM of 16 bits as gemmlowp writes it."""
    product = a * b
    product += 2**14 if product >= 0 else 1 - 2**14
    high = product // 2**15 if product >= 0 else -(-product // 2**15)
    return min(high, 2**15 - 1)


def _map(x, function, dtype) -> np.ndarray:
    x = domain.codes("x", x)
    return np.array([function(int(v)) for v in x.flat], dtype).reshape(x.shape)
