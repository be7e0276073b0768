"""Operators on two code arrays, broadcast against each other: add, sub, mul, minimum, maximum.

Equations E8, E9, E17 of kernels/README.md. Codes are int8, uint8, int16 or uint16; results have the narrowest
type that holds [qmin, qmax].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.floats import fma32, positive
from accelsim_kernels.pair_table import LEAST, Operator
from accelsim_kernels.pairwise_step import float32_step, table_step
from accelsim_kernels.requantization import requantize as apply_scheme
from accelsim_kernels.step import Step

#: an intermediate that no scheme clamps
_WIDE = {"qmin": -(2**31), "qmax": 2**31 - 1}


def add(
    a, b, *, arithmetic: str, a_zero_point=0, b_zero_point=0, zero_point=0, qmin=-128, qmax=127, **params
) -> np.ndarray:
    """The code of the real sum of a and b, broadcast against each other (E8, E9).

    arithmetic and its params (names.ARITHMETIC["add"]):
    "rescale": R(R((a - za) << left_shift, a_multiplier, a_shift) + R((b - zb) << left_shift, b_multiplier,
    b_shift), multiplier, shift), R the integer scheme `scheme`, each intermediate in int32 (TFLite, CMSIS-NN:
    left_shift 20, 15 for int16; TOSA: 0, the shift is part of a_shift and b_shift).
    "float32": a_scale, b_scale, scale: fused multiply-adds of float32 ratios, ties to even (ONNX Runtime's
    AVX2 QLinearAdd).
    "weighted": ((a - za) * a_multiplier + (b - zb) * b_multiplier), then `shift` (negative = right) rounded as
    `rounding` names (XNNPACK, QNNPACK).
    "power-of-two": ((a - za) << a_shift) + ((b - zb) << b_shift), then `shift` (negative = right) rounded as
    `rounding` names; a_shift, b_shift >= 0.
    """
    domain.arithmetic_of("add", arithmetic, params)
    a, b = domain.codes("a", a), domain.codes("b", b)
    output = {"za": a_zero_point, "zb": b_zero_point, "zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    return _by_table_or(_add_float32 if arithmetic == "float32" else _add, a, b, output | params)


def sub(
    a, b, *, arithmetic: str, a_zero_point=0, b_zero_point=0, zero_point=0, qmin=-128, qmax=127, **params
) -> np.ndarray:
    """The code of a - b: as add(), the second operand subtracted after it is brought to the common grid (E8).

    arithmetic: "rescale" or "power-of-two".
    """
    domain.arithmetic_of("sub", arithmetic, params)
    output = {"za": a_zero_point, "zb": b_zero_point, "zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    return _by_table_or(_sub, domain.codes("a", a), domain.codes("b", b), output | params)


def mul(a, b, *, a_zero_point=0, b_zero_point=0, requantize: dict) -> np.ndarray:
    """requantize((a - a_zero_point) * (b - b_zero_point), **requantize): the exact product rescaled (E17)."""
    keywords = {"za": a_zero_point, "zb": b_zero_point, "requantize": dict(requantize)}
    return _by_table_or(_mul, domain.codes("a", a), domain.codes("b", b), keywords)


def minimum(a, b) -> np.ndarray:
    """The smaller code, both on one grid."""
    return np.minimum(*_same(a, b))


def maximum(a, b) -> np.ndarray:
    """The larger code, both on one grid."""
    return np.maximum(*_same(a, b))


def _same(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = domain.codes("a", a), domain.codes("b", b)
    if a.dtype != b.dtype:
        raise ValueError(f"a is {a.dtype} and b is {b.dtype}: both must be codes of one grid")
    return a, b


def add_step(shape, a_dtype, b_dtype, *, arithmetic: str, **keywords) -> Step | None:
    """add() of two arrays of that shape as a prepared step; keywords as there. None where it has none."""
    given = {"a_zero_point": 0, "b_zero_point": 0, "zero_point": 0, "qmin": -128, "qmax": 127} | keywords
    given["za"], given["zb"] = given.pop("a_zero_point"), given.pop("b_zero_point")
    return _step(_add_float32 if arithmetic == "float32" else _add, shape, a_dtype, b_dtype, given)


def _step(operator: Operator, shape, a_dtype, b_dtype, keywords: dict[str, Any]) -> Step | None:
    if operator is _add_float32:
        constants = [np.ravel(c) for c in _float32_constants(**{name: keywords[name] for name in _CONSTANTS_OF})]
        step = None
        if all(len(constant) == 1 for constant in constants):
            parameters = np.concatenate(constants)
            step = float32_step(shape, a_dtype, b_dtype, parameters, keywords["qmin"], keywords["qmax"])
        if step is not None:
            return step
    return table_step(operator, shape, a_dtype, b_dtype, keywords)


def _by_table_or(operator: Operator, a: np.ndarray, b: np.ndarray, keywords: dict[str, Any]) -> np.ndarray:
    if a.shape == b.shape and a.size >= LEAST:
        step = _step(operator, a.shape, a.dtype, b.dtype, keywords)
        if step is not None:
            return step(np.ascontiguousarray(a), np.ascontiguousarray(b))
    return operator(a, b, **keywords)


def _add(a, b, *, za, zb, zero_point, qmin, qmax, **params) -> np.ndarray:
    output = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    return _combine(1, _minus(a, za), _minus(b, zb), output, **params)


def _sub(a, b, *, za, zb, zero_point, qmin, qmax, **params) -> np.ndarray:
    output = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    return _combine(-1, _minus(a, za), _minus(b, zb), output, **params)


def _mul(a, b, *, za, zb, requantize) -> np.ndarray:
    return apply_scheme(_minus(a, za).astype(np.int64) * _minus(b, zb), **requantize)


def _combine(sign: int, a: np.ndarray, b: np.ndarray, output: dict, **params) -> np.ndarray:
    if "left_shift" not in params and "a_multiplier" in params:
        total = a.astype(np.int64) * params["a_multiplier"] + sign * (b.astype(np.int64) * params["b_multiplier"])
        return apply_scheme(total, "shift", params["shift"], rounding=params["rounding"], **output)
    if "left_shift" not in params:
        shifts = params["a_shift"], params["b_shift"]
        if not 0 <= min(shifts) <= max(shifts) <= 40:
            raise ValueError(f"a_shift and b_shift must be 0 to 40, got {shifts[0]} and {shifts[1]}")
        total = (a.astype(np.int64) << shifts[0]) + sign * (b.astype(np.int64) << shifts[1])
        return apply_scheme(total, "shift", params["shift"], rounding=params["rounding"], **output)
    scheme, left = params["scheme"], params["left_shift"]
    a = apply_scheme(_left(a, left), scheme, params["a_multiplier"], params["a_shift"], **_WIDE)
    b = apply_scheme(_left(b, left), scheme, params["b_multiplier"], params["b_shift"], **_WIDE)
    total = a.astype(np.int64) + sign * b.astype(np.int64)
    return apply_scheme(total, scheme, params["multiplier"], params["shift"], **output)


_CONSTANTS_OF = ("za", "zb", "zero_point", "a_scale", "b_scale", "scale")


def _float32_constants(*, za, zb, zero_point, a_scale, b_scale, scale) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ratios of the scales, and what is added to a * ratio_a + b * ratio_b (E9)."""
    f = np.float32
    sa, sb, so = (positive(n, s, np.float32) for n, s in (("a", a_scale), ("b", b_scale), ("output", scale)))
    ratio_a, ratio_b = sa / so, sb / so
    return ratio_a, ratio_b, f(zero_point) - fma32(ratio_a, f(za), ratio_b * f(zb))


def _add_float32(a, b, *, qmin, qmax, **constants_of) -> np.ndarray:
    f = np.float32
    ratio_a, ratio_b, constant = _float32_constants(**constants_of)
    real = fma32(a.astype(f), ratio_a, fma32(b.astype(f), ratio_b, constant))
    return np.rint(np.clip(real, f(qmin), f(qmax))).astype(domain.narrowest_dtype(qmin, qmax))


def _minus(x: np.ndarray, zero_point) -> np.ndarray:
    return x.astype(np.int32) - np.asarray(zero_point, np.int32)


def _left(x: np.ndarray, shift: int) -> np.ndarray:
    if not 0 <= shift <= 30:
        raise ValueError(f"left_shift must be 0 to 30, got {shift}")
    return x.astype(np.int64) << shift
