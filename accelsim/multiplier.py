"""Integer multipliers of a chosen width: their exact error, and the smallest width that is good enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

from accelsim_kernels import domain
from accelsim_kernels.names import SCHEMES
from accelsim_kernels.reference.requantization import code_of

from accelsim.errors import AccelsimError
from accelsim.requant import decompose

#: output codes that the worst error is searched over, step by step
_MOST_CODES = 2**17

#: schemes with an integer multiplier, whose width is a choice
MULTIPLIER_SCHEMES = tuple(name for name, scheme in SCHEMES.items() if scheme.params[0] == "multiplier")


@dataclass(frozen=True)
class Multiplier:
    """A real scale as multiplier * 2**(shift - digits), the multiplier `bits` wide (sign included).

    multiplier, shift: parameters of the scheme (TFLite's shift: positive = left). scale: the real scale asked
    for, exactly. relative_error: (represented - scale) / scale, exactly.
    worst_error_lsb: the largest |code - clamp(acc * scale, qmin, qmax)| over every accumulator of the
    scheme's domain, exactly, in units of one output code; witness: an accumulator where it occurs.
    """

    scheme: str
    multiplier: int
    shift: int
    bits: int
    scale: Fraction
    relative_error: Fraction
    worst_error_lsb: Fraction
    witness: int


def decompose_multiplier(
    scale: float, scheme: str = "tflite-double", bits: int = 32, *, qmin: int = -128, qmax: int = 127
) -> Multiplier:
    """The multiplier and shift of a real scale at a multiplier width of 4 .. 32 bits, with its exact errors.

    scheme: one with an integer multiplier (MULTIPLIER_SCHEMES). Raises AccelsimError for another one, a width
    outside 4 .. 32, a scale that the scheme cannot express, or more than 2**17 codes from qmin to qmax.
    """
    if scheme not in MULTIPLIER_SCHEMES:
        raise AccelsimError(f"{scheme!r} has no multiplier; those with one: {', '.join(MULTIPLIER_SCHEMES)}")
    if not isinstance(scale, Real):
        raise AccelsimError(f"scale must be one positive number, got {scale!r}: decompose one channel at a time")
    for name, value in (("qmin", qmin), ("qmax", qmax)):
        if not isinstance(value, Integral):
            raise AccelsimError(f"{name} must be an integer code, got {value!r}")
    if not 0 <= qmax - qmin < _MOST_CODES:
        raise AccelsimError(
            f"qmin {qmin} to qmax {qmax}: give the lowest code first and at most 2**17 codes, each of which is searched"
        )
    params = decompose(scheme, float(scale), bits=bits)
    exact = Fraction(float(scale))
    digits = 15 if scheme in ("tosa-16", "cmsis-nn-s64") else 31
    represented = params["multiplier"] * Fraction(2) ** (params["shift"] - digits)
    worst, witness = worst_error(scheme, params, exact, qmin, qmax)
    return Multiplier(scheme, **params, bits=bits, scale=exact, relative_error=(represented - exact) / exact,
                      worst_error_lsb=worst, witness=witness)  # fmt: skip


def smallest_multiplier(
    scale: float,
    scheme: str = "tflite-double",
    *,
    bound_lsb: Fraction | float = 1,
    qmin: int = -128,
    qmax: int = 127,
) -> Multiplier:
    """The narrowest multiplier (4 .. 32 bits) with worst_error_lsb <= bound_lsb.

    AccelsimError where even 32 bits miss the bound: rounding alone leaves an error of at least 1/2.
    """
    if not isinstance(bound_lsb, Real) or not bound_lsb > 0:
        raise AccelsimError(f"bound_lsb must be a positive number of output codes, got {bound_lsb!r}")
    for bits in range(4, 33):
        found = decompose_multiplier(scale, scheme, bits, qmin=qmin, qmax=qmax)
        if found.worst_error_lsb <= bound_lsb:
            return found
    raise AccelsimError(
        f"{scheme} misses an error bound of {float(bound_lsb):g} at every multiplier width: with 32 bits its worst "
        f"error is {float(found.worst_error_lsb):.6g}"
    )


def worst_error(scheme: str, params: dict[str, Any], scale: Fraction, qmin: int, qmax: int) -> tuple[Fraction, int]:
    """max |code - clamp(acc * scale)| over the scheme's domain, and an accumulator that reaches it.

    Between two steps of the code the error is monotone, so the ends of each step suffice.
    """
    bound = domain.bind(scheme, qmin=qmin, qmax=qmax, **params)
    low, high = (int(limit[0]) for limit in bound.accumulator_range())
    code = lambda acc: code_of(acc, bound)  # noqa: E731
    ends = {low, high}
    for step in output_steps(code, low, high):
        ends |= {step - 1, step}
    # where the ideal result meets a clamp its error turns
    for limit in (qmin, qmax):
        meeting = limit / scale
        ends |= {a for a in (meeting.__floor__(), meeting.__ceil__()) if low <= a <= high}
    error = lambda acc: abs(code(acc) - min(max(acc * scale, qmin), qmax))  # noqa: E731
    witness = max(sorted(ends, key=lambda acc: (abs(acc), acc)), key=error)
    return error(witness), witness


def output_steps(code: Callable[[int], int], low: int, high: int) -> list[int]:
    """Every accumulator in (low, high] whose code differs from its predecessor's; code must be monotone."""
    steps: list[int] = []
    stack = [(low, code(low), high, code(high))]
    while stack:
        a, at_a, b, at_b = stack.pop()
        if at_a == at_b:
            continue
        if b - a == 1:
            steps.append(b)
            continue
        middle = (a + b) // 2
        at_middle = code(middle)
        stack.append((middle, at_middle, b, at_b))
        stack.append((a, at_a, middle, at_middle))
    return steps
