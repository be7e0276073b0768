"""Layer norm and RMS norm of codes along the last axis, in integers throughout (equations N1 to N5).

N1  S = Σ q                                    q = x - x_zero_point; C places along the axis
N2  layer norm: d = C q - S, V = C Σ q² - S²    C² times the variance, exact
    RMS norm:   d = C q,     V = C Σ q²         C² times the mean square, exact
N3  W = V + epsilon                            epsilon: C² ε / s_x² in integers, at least 1
N4  r = ⌊√(W 2^e)⌋, e even, 2^60 <= W 2^e < 2^62;  i = ⌊2^61 / r⌋: 1 / √W is about i 2^(e/2 - 61)
N5  n = ⌊d i 2^(e/2 - 61 + F) + 1/2⌋, y = S_y(n γ + β)

n is the normalized value with F fraction bits: |n| <= √C 2^F. γ, β: integers, β at the scale s_γ 2^-F; S_y: a
requantization scheme with the scale s_γ 2^-F / s_y. The square root is the integer one of I-BERT (Kim et al., 2021,
algorithm 4: Newton's steps end at ⌊√·⌋), here behind a normalizing shift, so that its 31 bits are always used.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels.norm_domain import norm_operands
from accelsim_kernels.requantization import requantize as apply_scheme


def layer_norm(x, gamma, *, beta=None, epsilon: int, fraction_bits: int, requantize: dict) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta along the last axis (N1 to N5).

    x: codes (…, C); the zero point cancels out. gamma, beta: integers (C,). epsilon: in units of (code / C)², at
    least 1. fraction_bits: F. requantize: keywords of requantize(). Raises ValueError where an intermediate value could
    leave 62 bits or the sum before requantization 32.
    """
    x, gamma, beta = norm_operands(x, gamma, beta, epsilon, fraction_bits, x_zero_point=0)
    q = x.astype(np.int64)
    count = q.shape[-1]
    total = q.sum(axis=-1, keepdims=True)
    spread = count * np.square(q).sum(axis=-1, keepdims=True) - np.square(total)
    return _scaled(count * q - total, spread + epsilon, gamma, beta, fraction_bits, requantize)


def rms_norm(
    x, gamma, *, beta=None, epsilon: int, fraction_bits: int, requantize: dict, x_zero_point: int = 0
) -> np.ndarray:
    """(x - x_zero_point) / sqrt(mean square + epsilon) * gamma + beta along the last axis; as layer_norm()."""
    x, gamma, beta = norm_operands(x, gamma, beta, epsilon, fraction_bits, x_zero_point)
    q = x.astype(np.int64) - x_zero_point
    count = q.shape[-1]
    power = count * np.square(q).sum(axis=-1, keepdims=True)
    return _scaled(count * q, power + epsilon, gamma, beta, fraction_bits, requantize)


def _scaled(d, w, gamma, beta, fraction_bits, requantize) -> np.ndarray:
    inverse, half = inverse_square_root(w)
    shift = 61 - half - fraction_bits
    normalized = (d * inverse + (np.int64(1) << (shift - 1))) >> shift
    return apply_scheme((normalized * gamma + beta).astype(np.int32), **requantize)


def inverse_square_root(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, h): 1 / √w is about i 2^(h - 61), 2^30 <= i <= 2^31 (N4). w: int64, 1 <= w < 2^62."""
    even = (62 - _bit_length(w)) & ~1
    shifted = w << even
    # float64 rounds numbers just below a square up to it, and never a square below itself: one too large at most
    root = np.sqrt(shifted.astype(np.float64)).astype(np.int64)
    root -= root * root > shifted
    return (np.int64(1) << 61) // root, even >> 1


def _bit_length(w: np.ndarray) -> np.ndarray:
    high = w >> 31
    top = np.where(high > 0, high, w)
    _, exponent = np.frexp(top.astype(np.float64))  # exact: both halves are below 2^53
    return exponent.astype(np.int64) + np.where(high > 0, 31, 0)
