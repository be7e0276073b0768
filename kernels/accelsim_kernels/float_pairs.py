"""Sum, difference, product of two tensors of codes through float32 (equations E33, E34)."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.floats import positive

_OPERATIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


def float_pair(
    a, b, *, operation: str, arithmetic: str, a_scale, b_scale, scale, a_zero_point=0, b_zero_point=0, zero_point=0,
    qmin=-128, qmax=127,
) -> np.ndarray:  # fmt: skip
    """The code of a real function of two tensors, broadcast against each other; scales are float32 numbers.

    operation: "add", "sub" or "mul". arithmetic:
    "dequantized": both operands as float32((x - z) * s), one float32 operation, divided by the scale, ties to even,
    zero point after rounding: what a float operator between quantizers computes (E33).
    "product" ("mul" only): float32((a - za)(b - zb)) * float32(float32(sa * sb) / s) + z, rounded to float32 after
    each step, then ties to even: ONNX Runtime's QLinearMul (E34).
    """
    check(operation, arithmetic)
    f = np.float32
    a, b = (domain.codes(n, v).astype(np.int64) - z for n, v, z in (("a", a, a_zero_point), ("b", b, b_zero_point)))
    sa, sb, so = (positive(n, s, f) for n, s in (("a_scale", a_scale), ("b_scale", b_scale), ("scale", scale)))
    with np.errstate(over="ignore", invalid="ignore"):
        if arithmetic == "product":
            real = (a * b).astype(f) * (sa * sb / so) + f(zero_point)
            code = np.rint(np.clip(real, f(qmin), f(qmax))).astype(np.int64)
        else:
            real = _OPERATIONS[operation](a.astype(f) * sa, b.astype(f) * sb) / so
            code = np.rint(np.clip(real, f(qmin - zero_point), f(qmax - zero_point))).astype(np.int64) + zero_point
    return np.clip(code, qmin, qmax).astype(domain.narrowest_dtype(qmin, qmax))


def check(operation: str, arithmetic: str) -> None:
    """ValueError unless the operation has this arithmetic."""
    domain.arithmetic_of("float_pair", arithmetic, {})
    if operation not in _OPERATIONS or (arithmetic == "product" and operation != "mul"):
        raise ValueError(f"float_pair: no {operation!r} in arithmetic {arithmetic!r}; "
                         "known: add, sub, mul, and mul alone as product")  # fmt: skip
