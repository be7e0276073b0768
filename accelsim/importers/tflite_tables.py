"""Tables of functions of one code as LiteRT and XNNPACK fill them: every step in float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from accelsim.ops.function_parameters import codes_of
from accelsim.quant import QuantParams

Function = Callable[[np.ndarray], np.ndarray]
_F = np.float32
#: what the C library's float32 functions are taken to give: the nearest float32
_ERFC = np.vectorize(lambda v: _F(math.erfc(float(v))), otypes=[_F])


def _through_float64(function: Callable[[np.ndarray], np.ndarray]) -> Function:
    return lambda x: function(x.astype(np.float64)).astype(_F)


_expm1, _tanh, _exp = map(_through_float64, (np.expm1, np.tanh, np.exp))


def _gelu(x: np.ndarray) -> np.ndarray:
    return _F(0.5) * x * _ERFC(x * _F(-math.sqrt(0.5)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = _F(math.sqrt(2 / math.pi)) * (x + _F(0.044715) * x * x * x)
    return _F(0.5) * x * (_F(1) + _tanh(inner))


#: functions of float32 arrays. Source: LiteRT reference/gelu.h, activations.cc, exp.cc
FUNCTIONS: dict[str, Function] = {
    "elu": lambda x: np.where(x < 0, _expm1(x), x),
    "exp": _exp,
    "gelu": _gelu,
    "gelu-tanh": _gelu_tanh,
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
