"""Look-up tables of functions, as the runtimes populate them (equations F13, F14)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def interpolation_table(
    function: Callable[[float], float], low: float, high: float, half_range: float = 1.0
) -> np.ndarray:
    """513 int16 points of a function on [low, high] whose values lie in [-half_range, half_range) (F13).

    Each point but the last is moved by half the error at the middle of its segment. Evaluated in float64.
    Source: TensorFlow Lite kernels/internal/common.h, LUTPopulate for int16.
    """
    step = (high - low) / 512
    gain = 32768 / half_range
    table = []
    for i in range(512):
        here = _round(function(low + i * step) * gain)
        across = _round((function(low + (i + 1) * step) * gain + here) / 2)
        middle = _round(function(low + i * step + step / 2) * gain)
        table.append(here - _round((across - middle) / 2))
    table.append(_round(function(high) * gain))
    return np.clip(np.array(table, np.int64), -32768, 32767).astype(np.int16)


def interpolate(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The 513-point table at int16 arguments: 7 fraction bits, ties up (F14). int64."""
    x, table = np.asarray(x, np.int64), table.astype(np.int64)
    index = 256 + (x >> 7)
    base = table[index]
    return base + (((table[index + 1] - base) * (x & 127) + 64) >> 7)


def code_table(
    function: Callable[[float], float], *, input_scale: float, input_zero_point: int, scale: float,
    zero_point: int, lowest: int, highest: int, qmin: int, qmax: int,
) -> np.ndarray:  # fmt: skip
    """The output code of every input code lowest .. highest, in float32 arithmetic, ties away (E5, E20).

    round(function(float32(scale_in * (x - z_in))) * float32(1 / scale)) + zero_point, clamped. The function
    is evaluated in float64 and rounded to float32. Source: LiteRT kernels, LUTPopulate for int8.
    """
    f = np.float32
    inverse = f(1) / f(scale)
    codes = []
    for x in range(lowest, highest + 1):
        real = f(input_scale) * f(x - input_zero_point)
        with np.errstate(over="ignore"):
            scaled = float(f(function(float(real))) * inverse)
        codes.append(min(max(_round(min(max(scaled, -(2.0**62)), 2.0**62)) + zero_point, qmin), qmax))
    return np.array(codes)


def _round(x: float) -> int:
    """C's round(): ties away from zero."""
    whole = math.trunc(x)
    return whole + (x - whole >= 0.5) - (x - whole <= -0.5)


def _sigmoid_points() -> np.ndarray:
    """256 points of 65536 * sigmoid(i / 24), each moved by half the error at the middle of its segment.

    The last one is held at 65535. Source: TensorFlow Lite common.h and CMSIS-NN, sigmoid_table_uint16.
    """
    value = lambda i: 65536 / (1 + math.exp(-i / 24))  # noqa: E731
    points = [_round(value(i) + (value(i + 0.5) - (value(i) + value(i + 1)) / 2) / 2) for i in range(255)]
    return np.array([*points, 65535], np.int64)


#: of logistic and tanh on int16 codes (E22)
SIGMOID = _sigmoid_points()
