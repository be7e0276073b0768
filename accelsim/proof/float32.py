"""Where float32 datapaths go wrong: accumulators that carry into the exponent, ties, and mutants of both."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from accelsim_kernels.reference.requantization import float_round, round_fraction

from accelsim.proof.datapath import mantissa

_DIGITS, _LOWEST = 24, -149


def float_corners(scale: float) -> list[int]:
    """Accumulators of 32 bits at which rne(float32(acc) * scale) takes its rare paths, both signs.

    The conversion's mantissa rounds up to 2**24 (2**k - 1, the tie below 2**k, and what stays below it); its ties go
    down and up; the product's mantissa rounds up to 2**24, where the scale has such a product at all.
    """
    found = []
    for k in range(_DIGITS + 1, 32):
        half = 2 ** (k - _DIGITS - 1)  # half a unit in the last place below 2**k
        found += [2**k - half - 1, 2**k - half, 2**k - half + 1, 2**k - 1]
        found += [2 ** (k - 1) + half, 2 ** (k - 1) + 3 * half, 2 ** (k - 1) + 3 * half - 1]
    for significand in _carrying(mantissa(scale)[0]):
        for places in range(8):
            found += [(significand << places) + d for d in (-1, 0, 1)]
        found.append(significand // (significand & -significand))
    return [sign * v for v in dict.fromkeys(found) if v < 2**31 for sign in (1, -1)]


def _carrying(m: int) -> list[int]:
    """The 24-bit significands whose product with the 24-bit m rounds up to a power of two."""
    found = []
    for top in (2 * _DIGITS - 1, 2 * _DIGITS):
        first, last = -(-(2**top - 2 ** (top - _DIGITS - 1)) // m), (2**top - 1) // m
        found += [s for s in range(first, last + 1) if 2 ** (_DIGITS - 1) <= s < 2**_DIGITS]
    return found


def float_mutants(scale: float, code: Callable[[int], int]) -> dict[str, tuple[str, Callable[[int], int]]]:
    """name -> (what it does, accumulator -> code) for rne(float32(acc) * scale); code: rounded value -> code."""
    exact = Fraction(scale)

    def mutant(convert: Callable[[Fraction], Fraction], multiply: Callable[[Fraction], Fraction]):
        return lambda acc: code(round_fraction(multiply(convert(Fraction(acc)) * exact), "half_even"))

    return {
        "conversion's carry lost": ("2**25 - 1 becomes 0", mutant(_dropped, _rounded)),
        "conversion's exponent not raised": ("2**25 - 1 becomes 2**24", mutant(_halved, _rounded)),
        "conversion truncates": ("float32 towards zero", mutant(_truncated, _rounded)),
        "product's carry lost": ("a product just below a power of two becomes 0", mutant(_rounded, _dropped)),
        "product's exponent not raised": ("a product just below a power of two is halved", mutant(_rounded, _halved)),
        "product truncates": ("the mantissa's product towards zero", mutant(_rounded, _truncated)),
    }


def _rounded(value: Fraction) -> Fraction:
    return float_round(value, _DIGITS, _LOWEST)


def _truncated(value: Fraction) -> Fraction:
    rounded = _rounded(value)
    if abs(rounded) <= abs(value):
        return rounded
    unit = Fraction(2) ** (_exponent(value) - _DIGITS + 1)
    return rounded - unit if rounded > 0 else rounded + unit


def _halved(value: Fraction) -> Fraction:
    return _rounded(value) / 2 if _carries(value) else _rounded(value)


def _dropped(value: Fraction) -> Fraction:
    return Fraction(0) if _carries(value) else _rounded(value)


def _carries(value: Fraction) -> bool:
    return value != 0 and _exponent(_rounded(value)) > _exponent(value)


def _exponent(value: Fraction) -> int:
    """floor(log2(|value|)), exactly."""
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    return exponent if abs(value) >= Fraction(2) ** exponent else exponent - 1
