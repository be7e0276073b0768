"""Tables of functions of one code as LiteRT and XNNPACK fill them: every step in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from accelsim.importers.fixed_point import inverse_square_root, multiplied, rescaled_codes
from accelsim.ops.function_parameters import codes_of
from accelsim.quant import QuantParams
from accelsim.requant import decompose

Function = Callable[[np.ndarray], np.ndarray]
_F = np.float32
#: what the C library's float32 functions are taken to give: the nearest float32
_ERFC = np.vectorize(lambda v: _F(math.erfc(float(v))), otypes=[_F])


def _through_float64(function: Callable[[np.ndarray], np.ndarray]) -> Function:
    return lambda x: function(x.astype(np.float64)).astype(_F)


_expm1, _tanh, _exp, _log = map(_through_float64, (np.expm1, np.tanh, np.exp, np.log))


def _gelu(x: np.ndarray) -> np.ndarray:
    return _F(0.5) * x * _ERFC(x * _F(-math.sqrt(0.5)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = _F(math.sqrt(2 / math.pi)) * (x + _F(0.044715) * x * x * x)
    return _F(0.5) * x * (_F(1) + _tanh(inner))


def _logistic(x: np.ndarray) -> np.ndarray:
    return _F(1) / (_F(1) + _exp(-x))


#: functions of float32 arrays. Source: LiteRT reference/gelu.h, activations.cc, exp.cc
FUNCTIONS: dict[str, Function] = {
    "elu": lambda x: np.where(x < 0, _expm1(x), x),
    "exp": _exp,
    "gelu": _gelu,
    "gelu-tanh": _gelu_tanh,
    "logistic": _logistic,
    "logistic-rounded-once": _through_float64(lambda x: 1 / (1 + np.exp(-x))),
    "tanh": _tanh,
    "log": lambda x: np.where(x > 0, _log(np.where(x > 0, x, _F(1))), _F(-np.inf)),
}


def function_table(function: str, x: QuantParams, y: QuantParams, quantize: str = "after") -> np.ndarray:
    """The code of a function of FUNCTIONS for every code of x, in order.

    quantize: "after": the value times float32(1 / scale), ties away, then the zero point (LiteRT common.h,
    LUTPopulate); "zero-point-first": the same product, plus the zero point in float32, ties to even (XNNPACK).
    """
    real = _F(x.scale) * (codes_of(x).astype(np.int64) - x.zero_point).astype(_F)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip(FUNCTIONS[function](real) * (_F(1) / _F(y.scale)), -_F(2**31), _F(2**31))
    if quantize == "zero-point-first":
        codes = np.rint(scaled + _F(y.zero_point))
    else:
        codes = np.trunc(scaled + np.copysign(0.5, scaled.astype(np.float64))) + y.zero_point
    return np.clip(codes, y.qmin, y.qmax).astype(y.dtype)


def absolute_table(x: QuantParams, y: QuantParams) -> np.ndarray:
    """The codes of |x|. Source: LiteRT elementwise.cc, AbsEvalQuantized."""
    codes = np.abs(codes_of(x).astype(np.int64) - x.zero_point)
    if x.scale != y.scale:
        codes = rescaled_codes(codes, float(_F(x.scale) / _F(y.scale)))
    return np.clip(codes + y.zero_point, y.qmin, y.qmax).astype(y.dtype)


def rsqrt_table(x: QuantParams, y: QuantParams) -> np.ndarray:
    """The codes of 1 / sqrt(x), 20 fraction bits between two multiplications; the largest code where x is no more than
    zero. Source: LiteRT elementwise.cc, RsqrtEvalQuantizedInt8.
    """
    bits = 20
    output = decompose("tflite-double", 1.0 / (float(np.sqrt(_F(x.scale))) * float(_F(y.scale))))
    table = []
    for code in codes_of(x):
        value = int(code) - x.zero_point
        if value <= 0:
            table.append(y.qmax)
            continue
        multiplier, shift = inverse_square_root(value)
        data = multiplied(np.int64(1), multiplier, shift + bits)
        table.append(int(multiplied(data, output["multiplier"], output["shift"] - bits)) + y.zero_point)
    return np.clip(table, y.qmin, y.qmax).astype(y.dtype)


def squared_difference_table(a: QuantParams, b: QuantParams, y: QuantParams) -> np.ndarray:
    """The codes of (a - b)**2, a row for each code of a. Source: LiteRT squared_difference.cc."""
    bits = 7
    common = 2 * max(a.scale, b.scale)
    first, second = (
        rescaled_codes((codes_of(p).astype(np.int64) - p.zero_point) << bits, p.scale / common) for p in (a, b)
    )
    square = (first[:, None] - second) ** 2
    codes = rescaled_codes(square, common * common / ((1 << 2 * bits) * y.scale)) + y.zero_point
    return np.clip(codes, y.qmin, y.qmax).astype(y.dtype)
