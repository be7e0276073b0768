"""What layer norm and RMS norm accept: checked once for the fast kernels and their reference."""

from __future__ import annotations

import math

import numpy as np

from accelsim_kernels.domain import codes

_WIDEST = 1 << 30  # of a code's distance to its mean times the count: its square and its scaled value fit int64


def norm_operands(
    x, gamma, beta, epsilon: int, fraction_bits: int, x_zero_point: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, gamma, beta) as arrays, gamma and beta int64 (C,).

    ValueError where an operand has another kind or shape, where C times the widest code reaches 2^30 or epsilon 2^61,
    or where normalized * gamma + beta may need more than 32 bits.
    """
    x = codes("x", x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"a norm needs at least one code along the last axis, got shape {x.shape}")
    count = x.shape[-1]
    gamma = codes("gamma", gamma).astype(np.int64)
    beta = np.zeros(count, np.int64) if beta is None else codes("beta", beta).astype(np.int64)
    for name, given in (("gamma", gamma), ("beta", beta)):
        if given.shape != (count,):
            raise ValueError(f"{name} of shape {given.shape} for {count} places along the last axis")
    info = np.iinfo(x.dtype)
    widest = max(int(info.max) - x_zero_point, x_zero_point - int(info.min))
    if count * widest >= _WIDEST:
        raise ValueError(f"{count} codes of {info.bits} bits along the last axis: their squares do not fit 62 bits")
    if not 1 <= epsilon <= 1 << 61:
        raise ValueError(f"epsilon must be 1 to 2**61, got {epsilon}")
    if not 0 <= fraction_bits <= 30:
        raise ValueError(f"fraction_bits must be 0 to 30, got {fraction_bits}")
    largest = (math.isqrt(count) + 2 << fraction_bits) * int(np.abs(gamma).max()) + int(np.abs(beta).max())
    if largest >= 1 << 31:
        raise ValueError(f"normalized * gamma + beta may reach {largest}, beyond 32 bits: take fewer fraction bits")
    return x, gamma, beta
