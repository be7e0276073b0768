"""Tables of any real function between two grids, in the float32 arithmetic of the runtimes that tabulate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from accelsim_kernels import reference
from accelsim_kernels.floats import round_half_away

from accelsim.ops.function_parameters import codes_of
from accelsim.quant import QuantParams

#: real numbers (float64 array) to real numbers, element by element
RealFunction = Callable[[np.ndarray], np.ndarray]


def function_table(function: RealFunction, x: QuantParams, y: QuantParams, arithmetic: str) -> np.ndarray:
    """The code of y for every code of x, smallest first, in y's type.

    Dequantized in float32, the function in float64 rounded to float32, then quantized. arithmetic: how the runtime
    quantizes (a name of names.ARITHMETIC["quantize"]); TensorFlow Lite ("half-away") multiplies a table's values by
    the float32 reciprocal of the scale instead of dividing by it (E20), the others go through E1.
    """
    f = np.float32
    real = (codes_of(x).astype(np.int64) - x.zero_point).astype(f) * f(x.scale)
    values = np.asarray(function(real.astype(np.float64))).astype(f)
    if arithmetic != "half-away":
        how = {"scale": y.scale, "zero_point": y.zero_point, "qmin": y.qmin, "qmax": y.qmax}
        return reference.quantize(values, arithmetic=arithmetic, **how).astype(y.dtype)
    with np.errstate(over="ignore"):
        scaled = values * (f(1) / f(y.scale))
    codes = round_half_away(np.clip(scaled.astype(np.float64), -(2.0**62), 2.0**62)).astype(np.int64) + y.zero_point
    return np.clip(codes, y.qmin, y.qmax).astype(y.dtype)
