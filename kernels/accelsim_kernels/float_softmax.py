"""Softmax of codes through float32: ONNX Runtime's QLinearSoftmax, and its float softmax (E36, E37)."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain, mlas
from accelsim_kernels.floats import positive

_F = np.float32


def float_softmax(
    x,
    *,
    arithmetic: str,
    input_scale,
    scale,
    zero_point: int,
    input_zero_point: int = 0,
    qmin: int = 0,
    qmax: int = 255,
) -> np.ndarray:
    """Softmax of codes along the last axis.

    "onnx-table": float32 exponentials of the distance to the maximum from a table of 256, summed in order, the
    quotient times floor(1 / scale) rounded to even; uint8 saturates at 255, int8 wraps (QLinearSoftmax; E36).
    x: int8 or uint8, and so is the result.
    "dequantized": the float operator between quantizers (E37). x: 8 or 16 bits; the result holds qmin .. qmax.
    """
    x = domain.codes("x", x)
    widest = 1 if arithmetic == "onnx-table" else 2
    if x.dtype.itemsize > widest or x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(
            f"softmax {arithmetic!r} takes {8 * widest}-bit codes along the last axis, got {x.dtype} {x.shape}"
        )
    so = positive("scale", scale, _F)
    distance = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
    if arithmetic == "onnx-table":
        if x.shape[-1] < 2:
            raise ValueError("softmax of one code: QLinearSoftmax overflows float32")
        power = exp_table(float(positive("input_scale", input_scale, _F)), x.shape[-1])[255 + distance]
        total = np.zeros((*x.shape[:-1], 1), _F)
        for index in range(x.shape[-1]):
            total = total + power[..., index : index + 1]
        code = np.rint(power * np.floor(_F(1) / so) / total).astype(np.int64) + zero_point
        return np.minimum(code, 255).astype(np.uint8) if x.dtype == np.uint8 else code.astype(np.int8)
    real = (x.astype(np.int64) - input_zero_point).astype(_F) * positive("input_scale", input_scale, _F)
    power = mlas.exp_of_negative(real - real.max(axis=-1, keepdims=True))
    value = power * (_F(1) / mlas.row_sums(power)) / so
    code = np.rint(np.clip(value, _F(qmin - zero_point), _F(qmax - zero_point)))
    return (code.astype(np.int64) + zero_point).astype(domain.narrowest_dtype(qmin, qmax))


def exp_table(input_scale: float, length: int) -> np.ndarray:
    """float32 exp(input_scale * (i - 255) + offset), i = 0 … 255; the offset leaves room to sum `length` of them."""
    offset = max(0.0, float(np.log(np.finfo(_F).max / _F(length))) - 5) / input_scale
    return np.exp((np.arange(256.0) - 255 + offset) * input_scale).astype(_F)
