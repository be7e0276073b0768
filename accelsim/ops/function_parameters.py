"""Integer parameters of functions of one code and of softmax: tables for 8 bits, multipliers for 16."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from accelsim_kernels import reference

from accelsim.quant import QuantParams
from accelsim.requant import Requantizer, decompose

_FIXED_POINT_BITS = 31


def codes_of(x: QuantParams) -> np.ndarray:
    """Every code of a grid, in order."""
    return np.arange(x.qmin, x.qmax + 1, dtype=x.dtype)


def float_table(function: str, x: QuantParams, y: QuantParams) -> np.ndarray:
    """The codes of a function of accelsim_kernels.activations.FUNCTIONS for every code of x, by E20."""
    table = reference.activation_table(
        function,
        input_scale=x.scale,
        input_zero_point=x.zero_point,
        scale=y.scale,
        zero_point=y.zero_point,
        lowest=x.qmin,
        highest=x.qmax,
        qmin=y.qmin,
        qmax=y.qmax,
    )
    return table.astype(y.dtype)


def gemmlowp_table(function: str, x: QuantParams) -> np.ndarray:
    """The codes of "logistic" or "tanh" in fixed point, Q4.27 (E21). Source: TensorFlow Lite Micro, logistic.h."""
    integer_bits = 4
    fraction, shift = math.frexp(x.scale * 2.0 ** (_FIXED_POINT_BITS - integer_bits))
    table = getattr(reference, function)(
        codes_of(x),
        arithmetic="gemmlowp",
        x_zero_point=x.zero_point,
        multiplier=min(round(fraction * 2**31), 2**31 - 1),
        shift=shift,
        input_range_radius=input_radius(integer_bits, shift),
    )
    return table


def hard_swish_table(x: QuantParams, y: QuantParams) -> np.ndarray:
    """The codes of x * relu6(x + 3) / 6 (E23). Source: TensorFlow Lite hard_swish.cc, HardSwishPrepare."""
    f = np.float32
    fine = f(x.scale) * f(1 / 128)
    output = decompose("tflite-double", float(fine / f(y.scale)))
    relu = decompose("tflite-double", float(fine / f(3 / 32768)))
    return reference.hard_swish(
        codes_of(x),
        x_zero_point=x.zero_point,
        zero_point=y.zero_point,
        output_multiplier=_sixteen_bits(output["multiplier"]),
        output_exponent=output["shift"],
        relu_multiplier=_sixteen_bits(relu["multiplier"]),
        relu_exponent=relu["shift"],
        qmin=y.qmin,
        qmax=y.qmax,
    )


def leaky_relu_table(x: QuantParams, identity: Requantizer, slope: Requantizer) -> np.ndarray:
    """The codes of a leaky ReLU (E24)."""
    keywords = {"identity": identity.kwargs(), "slope": slope.kwargs()}
    return reference.leaky_relu(codes_of(x), x_zero_point=x.zero_point, **keywords)


def interpolated_parameters(function: str, x: QuantParams) -> dict[str, int]:
    """multiplier and shift of the 16-bit "logistic" and "tanh", arithmetic "table" (E22).

    Source: TensorFlow Lite activations.cc: 3/4 of the input at 12 fraction bits, as 15-bit integer; scales that are
    powers of two within a thousandth (in the logarithm) have multipliers of their own.
    """
    left = power_of_two_shift(function, x)
    if left is not None:
        return {"multiplier": 3 << left, "shift": 0}
    real, shift = x.scale * 4096.0 * 3.0, 0
    while real <= 32767.0 / 2.0 and shift <= 30:
        real, shift = real * 2.0, shift + 1
    return {"multiplier": int(real), "shift": shift}


def power_of_two_shift(function: str, x: QuantParams) -> int | None:
    """The left shift of a 16-bit input whose scale TensorFlow Lite takes for a power of two; None for others."""
    exponent = round(math.log2(x.scale))
    near = abs(math.log2(x.scale) - exponent) < 1e-3
    return 12 + exponent if near and 12 + exponent in {"logistic": (0,), "tanh": (0, 1)}[function] else None


def softmax_parameters(beta: float, x: QuantParams, y: QuantParams) -> Mapping[str, Any]:
    """Keywords of the kernels' `softmax`, arithmetic included. Source: TensorFlow Lite softmax.cc."""
    if x.bits > 8:
        scale = float(np.float32(x.scale) * np.float32(beta)) / (10.0 / 65535.0)  # one float32 product
        return {"arithmetic": "table", **decompose("tflite-double", scale)}
    integer_bits = 5
    real = min(beta * x.scale * 2.0 ** (_FIXED_POINT_BITS - integer_bits), 2.0**31 - 1)
    params = decompose("tflite-double", real)
    radius = input_radius(integer_bits, params["shift"])
    return {"arithmetic": "gemmlowp", **params, "diff_min": -radius, "output_bits": y.bits}


def fixed_point(scale: float, fraction_bits: int) -> dict[str, int]:
    """multiplier and shift of tflite-single for a scale rounded to so many fraction bits, ties to even.

    Source: XNNPACK src/microparams-init.c, xnn_init_qs8_cvt_params: 8 bits.
    """
    whole = round(scale * 2**fraction_bits)
    room = 31 - max(whole, 1).bit_length()
    return {"multiplier": whole << room, "shift": 31 - fraction_bits - room}


def input_radius(integer_bits: int, shift: int) -> int:
    """Largest difference that a fixed-point input of so many integer bits holds. Source: CalculateInputRadius."""
    largest = ((1 << integer_bits) - 1) * 2.0 ** (_FIXED_POINT_BITS - integer_bits) / 2.0**shift
    return math.floor(largest)


def _sixteen_bits(multiplier: int) -> int:
    """DownScaleInt32ToInt16Multiplier: rounded to 16 bits, saturated."""
    return 32767 if multiplier >= 2**31 - 1 - 2**15 else (multiplier + 2**15) >> 16
