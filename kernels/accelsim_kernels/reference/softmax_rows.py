"""Integer softmax in Python integers: what accelsim_kernels.softmax_rows must equal (E18, E19)."""

from __future__ import annotations

import math

import numpy as np

from .. import domain
from .float_forms import float_softmax
from .gemmlowp import exp_of_negative, one_over_one_plus, saturate
from .requantization import divide_by_power_of_two, high_multiply, requantize
from .tables import interpolate, interpolation_table


def softmax(
    x, *, arithmetic: str, multiplier: int = 0, shift: int = 0, output_bits: int = 8, keep=None, **params
) -> np.ndarray:
    """As accelsim_kernels.softmax, row by row: places that are not kept are cut out, and put back as probability 0."""
    if keep is not None:
        return _kept(x, keep, {"arithmetic": arithmetic, "multiplier": multiplier, "shift": shift,
                               "output_bits": output_bits, **params})  # fmt: skip
    domain.arithmetic_of("softmax", arithmetic, params)
    if arithmetic in ("onnx-table", "dequantized"):
        return float_softmax(x, arithmetic=arithmetic, **params)
    x = domain.codes("x", x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"softmax needs at least one code along the last axis, got shape {x.shape}")
    rows = x.reshape(-1, x.shape[-1]).tolist()
    if arithmetic == "table":
        out = [_by_table(row, multiplier, shift) for row in rows]
        return np.array(out, np.int16).reshape(x.shape)
    if not 0 <= shift <= 31:
        raise ValueError(f"softmax: shift must be 0 to 31 (a left shift), got {shift}")
    if output_bits not in (8, 16):
        raise ValueError(f"softmax: output_bits must be 8 or 16, got {output_bits}")
    out = [_by_gemmlowp(row, multiplier, shift, params["diff_min"], output_bits) for row in rows]
    low = -(2 ** (output_bits - 1))
    return np.array(out, domain.narrowest_dtype(low, -low - 1)).reshape(x.shape)


def _kept(x, keep, how: dict) -> np.ndarray:
    if how["arithmetic"] in ("onnx-table", "dequantized") or np.asarray(keep).dtype != bool:
        raise ValueError("softmax: keep must be booleans, for an integer form")
    x = domain.codes("x", x)
    zero = 0 if how["arithmetic"] == "table" else -(2 ** (how["output_bits"] - 1))
    rows, masks = (v.reshape(-1, x.shape[-1]).tolist() for v in (x, np.broadcast_to(keep, x.shape)))
    out = []
    for row, mask in zip(rows, masks, strict=True):
        chosen = [v for v, kept in zip(row, mask, strict=True) if kept]
        found = iter(softmax(np.array([chosen]), **how)[0].tolist() if chosen else ())
        out.append([next(found) if kept else zero for kept in mask])
    dtype = np.int16 if how["arithmetic"] == "table" else domain.narrowest_dtype(zero, -zero - 1)
    return np.array(out, dtype).reshape(x.shape)


def _by_gemmlowp(row: list[int], multiplier: int, shift: int, diff_min: int, bits: int) -> list[int]:
    largest = max(row)
    powers: list[int | None] = []
    for v in row:
        if v - largest < diff_min:
            powers.append(None)
        else:
            scaled = (((v - largest) << shift) + 2**31) % 2**32 - 2**31
            powers.append(exp_of_negative(high_multiply(scaled, multiplier)))
    total = sum(divide_by_power_of_two(p, 12) for p in powers if p is not None)
    headroom = 32 - total.bit_length()
    inverse = one_over_one_plus((total << headroom) - 2**31)
    low = -(2 ** (bits - 1))
    exponent = 12 - headroom + 31 - bits
    return [
        low if p is None
        else min(max(divide_by_power_of_two(high_multiply(p, inverse), exponent) + low, low), -low - 1)
        for p in powers
    ]  # fmt: skip


def _by_table(row: list[int], multiplier: int, shift: int) -> list[int]:
    exp_table = interpolation_table(math.exp, -10, 0)
    reciprocal_table = interpolation_table(lambda v: 1 / (1 + v), 0, 1)
    differences = np.array([v - max(row) for v in row])
    wide = {"qmin": -(2**31), "qmax": 2**31 - 1}
    scaled = requantize(differences, "tflite-double", multiplier, shift, **wide).tolist()
    powers = [interpolate(exp_table, saturate(v + 32767, 16)) for v in scaled]
    headroom = 32 - sum(powers).bit_length()
    shifted = ((sum(powers) << (headroom - 1)) + 2**13) >> 14
    inverse = interpolate(reciprocal_table, saturate(shifted - 98304, 16))
    right = 31 - headroom
    return [min(max((p * inverse + 2 ** (right - 1)) >> right, 0), 32767) for p in powers]
