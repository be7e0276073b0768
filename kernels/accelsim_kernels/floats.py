"""Floating-point steps that NumPy lacks: float32 fused multiply-add, C's round(); checked scales."""

from __future__ import annotations

import numpy as np


def fma32(a, b, c) -> np.ndarray:
    """a * b + c rounded once to float32; float32 operands, no overflow.

    The product is exact in float64; the sum is rounded to odd there, which makes the second rounding
    innocuous (Boldo and Melquiond, 2008).
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    addend = np.asarray(c, np.float64)
    total = product + addend
    rest = total - product
    error = (product - (total - rest)) + (addend - rest)
    even = (np.ascontiguousarray(total).view(np.int64) & 1) == 0
    odd = np.where((error != 0) & even, np.nextafter(total, np.copysign(np.inf, error)), total)
    return odd.astype(np.float32)


def round_half_away(x: np.ndarray) -> np.ndarray:
    """x rounded to whole numbers, ties away from zero: C's round(), exactly."""
    whole = np.trunc(x)
    rest = x - whole
    return whole + (rest >= 0.5) - (rest <= -0.5)


def round_half_up(x: np.ndarray) -> np.ndarray:
    """floor(x + 1/2) without the error of that addition."""
    whole = np.floor(x)
    return whole + (x - whole >= 0.5)


def positive(name: str, value, dtype) -> np.ndarray:
    """`value` as an array of `dtype`; ValueError naming it unless positive and finite."""
    scale = np.asarray(value, dtype)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return scale
