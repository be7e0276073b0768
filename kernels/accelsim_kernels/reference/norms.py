"""Layer norm and RMS norm in Python integers: what accelsim_kernels.norms must equal (N1 to N5)."""

from __future__ import annotations

import math

import numpy as np

from ..norm_domain import norm_operands
from .requantization import requantize as apply_scheme


def layer_norm(x, gamma, *, beta=None, epsilon: int, fraction_bits: int, requantize: dict) -> np.ndarray:
    """As accelsim_kernels.layer_norm, row by row."""
    x, gamma, beta = norm_operands(x, gamma, beta, epsilon, fraction_bits, x_zero_point=0)

    def parts(row: list[int]) -> tuple[list[int], int]:
        count, total = len(row), sum(row)
        return [count * q - total for q in row], count * sum(q * q for q in row) - total * total

    return _rows(x, parts, gamma, beta, epsilon, fraction_bits, requantize)


def rms_norm(
    x, gamma, *, beta=None, epsilon: int, fraction_bits: int, requantize: dict, x_zero_point: int = 0
) -> np.ndarray:
    """As accelsim_kernels.rms_norm, row by row."""
    x, gamma, beta = norm_operands(x, gamma, beta, epsilon, fraction_bits, x_zero_point)

    def parts(row: list[int]) -> tuple[list[int], int]:
        centred = [q - x_zero_point for q in row]
        return [len(row) * q for q in centred], len(row) * sum(q * q for q in centred)

    return _rows(x, parts, gamma, beta, epsilon, fraction_bits, requantize)


def _rows(x, parts, gamma, beta, epsilon, fraction_bits, requantize) -> np.ndarray:
    sums = []
    for row in x.reshape(-1, x.shape[-1]).tolist():
        differences, spread = parts(row)
        inverse, half = inverse_square_root(spread + epsilon)
        shift = 61 - half - fraction_bits
        normalized = [(d * inverse + (1 << (shift - 1))) >> shift for d in differences]
        sums.append([n * g + b for n, g, b in zip(normalized, gamma.tolist(), beta.tolist(), strict=True)])
    return apply_scheme(np.array(sums, np.int32).reshape(x.shape), **requantize)


def inverse_square_root(w: int) -> tuple[int, int]:
    """(i, h): 1 / √w is about i 2^(h - 61)."""
    even = (62 - w.bit_length()) & ~1
    return (1 << 61) // math.isqrt(w << even), even >> 1
