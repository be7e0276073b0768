"""Integer softmax over the last axis (equations E18, E19)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.float_softmax import float_softmax
from accelsim_kernels.gemmlowp import (
    divide_by_power_of_two,
    exp_of_negative,
    high_multiply,
    leading_zeros,
    one_over_one_plus,
)
from accelsim_kernels.requantization import requantize
from accelsim_kernels.tables import interpolate, interpolation_table

#: forms that compute in float32
FLOAT_FORMS = ("onnx-table", "dequantized")


def softmax(
    x, *, arithmetic: str, multiplier: int = 0, shift: int = 0, output_bits: int = 8, keep=None, **params
) -> np.ndarray:
    """Softmax of codes along the last axis.

    keep: None, or booleans that broadcast to x: places where it is False are left out of maximum and sum and have
    probability 0, and so has all of a row that keeps none (integer forms only).

    multiplier, shift: of beta * input_scale, TFLite's convention.
    "gemmlowp" (8-bit codes): diff_min: differences from the maximum below it count as zero. Fixed-point exp,
    sum in Q12.19, reciprocal by Newton steps. Result: 8 bits with zero point -128 and scale 1/256, or
    output_bits=16: zero point -32768, scale 1/65536 (TFLite, CMSIS-NN; E18).
    "table" (int16 codes): 513-point tables of exp on [-10, 0] and 1 / (1 + x) on [0, 1]. Result: int16, scale
    1/32768, zero point 0 (TFLite, CMSIS-NN; E19).
    "onnx-table" (8-bit codes), "dequantized" (8 and 16 bits): through float32, see float_softmax (ONNX Runtime; E36,
    E37).
    """
    domain.arithmetic_of("softmax", arithmetic, params)
    keep = kept_places(keep, x, arithmetic)
    if arithmetic in FLOAT_FORMS:
        return float_softmax(x, arithmetic=arithmetic, **params)
    x = domain.codes("x", x).astype(np.int64)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"softmax needs at least one code along the last axis, got shape {x.shape}")
    largest = x.max(axis=-1, keepdims=True, where=keep, initial=x.min(initial=0))
    difference = np.where(keep, x - largest, 0)
    if arithmetic == "table":
        return _by_table(difference, keep, multiplier, shift)
    return _by_gemmlowp(difference, keep, multiplier, shift, params["diff_min"], output_bits)


def kept_places(keep, x, arithmetic: str) -> np.ndarray:
    """`keep` as booleans of the shape of x. ValueError where it is of another kind or the form has none."""
    if keep is None:
        return np.broadcast_to(np.True_, np.shape(x))
    keep = np.asarray(keep)
    if arithmetic in FLOAT_FORMS or keep.dtype != bool:
        raise ValueError(f"softmax: keep must be booleans, for an integer form, not {keep.dtype} for {arithmetic!r}")
    return np.broadcast_to(keep, np.shape(x))


def _by_gemmlowp(difference, keep, multiplier, shift, diff_min, output_bits) -> np.ndarray:
    if not 0 <= shift <= 31:
        raise ValueError(f"softmax: shift must be 0 to 31 (a left shift), got {shift}")
    if output_bits not in (8, 16):
        raise ValueError(f"softmax: output_bits must be 8 or 16, got {output_bits}")
    kept = (difference >= diff_min) & keep
    scaled = ((np.where(kept, difference, 0) << shift) + 2**31) % 2**32 - 2**31
    power = exp_of_negative(high_multiply(scaled, multiplier))
    total = np.where(kept, divide_by_power_of_two(power, 12), 0).sum(axis=-1, keepdims=True)
    total = np.maximum(total, 1)  # of a row that keeps nothing; no other sum is below 2^18
    headroom = leading_zeros(total)
    inverse = one_over_one_plus((total << headroom) - 2**31)
    exponent = 12 - headroom + 31 - output_bits
    low = -(2 ** (output_bits - 1))
    code = divide_by_power_of_two(high_multiply(power, inverse), exponent) + low
    code = np.where(kept, np.clip(code, low, -low - 1), low)
    return code.astype(domain.narrowest_dtype(low, -low - 1))


def _by_table(difference, keep, multiplier, shift) -> np.ndarray:
    exp_table, reciprocal_table = _tables()
    wide = {"qmin": -(2**31), "qmax": 2**31 - 1}
    scaled = requantize(difference, "tflite-double", multiplier, shift, **wide).astype(np.int64)
    power = np.where(keep, interpolate(exp_table, np.clip(scaled + 32767, -32768, 32767)), 0)
    total = np.maximum(power.sum(axis=-1, keepdims=True), 1)
    headroom = leading_zeros(total)
    shifted = ((total << (headroom - 1)) + 2**13) >> 14
    inverse = interpolate(reciprocal_table, np.clip(shifted - 98304, -32768, 32767))
    right = 31 - headroom
    code = (power * inverse + (np.int64(1) << (right - 1))) >> right
    return np.clip(code, 0, 32767).astype(np.int16)


@cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    return interpolation_table(math.exp, -10, 0), interpolation_table(lambda x: 1 / (1 + x), 0, 1)
