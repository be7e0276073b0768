"""Pooling over windows and over the whole image: maximum, average, mean (equations E10 to E15).

x: codes (N, H, W, C), int8, uint8, int16 or uint16. window, stride: (height, width). padding: ((top, bottom),
(left, right)); padded taps are skipped, or count as real zeros where divisor="window".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.division import round_division
from accelsim_kernels.requantization import requantize as apply_scheme
from accelsim_kernels.window_step import max_pool_step, mean_step

_NO_PADDING = ((0, 0), (0, 0))
DIVISORS = ("valid", "window")


def max_pool2d(x, *, window, stride=None, padding=_NO_PADDING, dilation=(1, 1), qmin=None, qmax=None) -> np.ndarray:
    """Largest code of each window, clamped to [qmin, qmax] where given, in the type of x (E10)."""
    x = domain.codes("x", x)
    stride = stride or window
    shape, _ = _taps(x, window, stride, padding, dilation)  # refuses what does not fit, in its own words
    info = np.iinfo(x.dtype)
    step = max_pool_step(x.shape, x.dtype, shape[1:3], window, stride, padding, dilation)
    x = _max_pool2d(x, window, stride, padding, dilation) if step is None else step(np.ascontiguousarray(x))
    if qmin is None and qmax is None:
        return x
    return np.clip(x, info.min if qmin is None else qmin, info.max if qmax is None else qmax)


def _max_pool2d(x: np.ndarray, window, stride, padding, dilation) -> np.ndarray:
    # the largest of the largest of each column: height first, where whole rows are compared at once
    for axis in (0, 1):
        taken, step, spread = (tuple(v[i] if i == axis else 1 for i in (0, 1)) for v in (window, stride, dilation))
        pads = tuple(padding[i] if i == axis else (0, 0) for i in (0, 1))
        shape, taps = _taps(x, taken, step, pads, spread)
        out = np.full(shape, np.iinfo(x.dtype).min, x.dtype)
        for place, part in taps:
            np.maximum(out[place], part, out=out[place])
        x = out
    return x


def average_pool2d(
    x, *, window, stride=None, padding=_NO_PADDING, arithmetic: str, divisor: str = "valid",
    x_zero_point=0, zero_point=None, qmin=-128, qmax=127, **params,
) -> np.ndarray:  # fmt: skip
    """Average of each window as a code (E11 to E14).

    divisor: "valid" divides by the taps inside the image, "window" by all of them. zero_point: of the output,
    default x_zero_point. arithmetic and its params (names.ARITHMETIC["average_pool2d"]):
    "raw-codes": sum of codes / count, ties away from code 0; input and output share scale and zero point
    (TFLite, CMSIS-NN).
    "reciprocal": (sum of code - x_zero_point) * reciprocal_scale(count), ties up (TOSA).
    "float32": input_scale, scale: dequantized, summed in row order in float32, divided, quantized with the
    zero point added before rounding (ONNX Runtime QLinearAveragePool).
    "exact": the quotient times 2**shift rounded once as `rounding` names.
    "two-roundings": the sum times round(2**16 / width), then times round(2**16 / height), each over 2**16 with ties
    away; windows are whole, padding counts as real zeros (divisor "window") (NVDLA).
    """
    domain.arithmetic_of("average_pool2d", arithmetic, params)
    if divisor not in DIVISORS:
        raise ValueError(f"average_pool2d: divisor {divisor!r} is not one of {', '.join(DIVISORS)}")
    zero_point = x_zero_point if zero_point is None else zero_point
    if arithmetic == "raw-codes" and zero_point != x_zero_point:
        raise ValueError("average_pool2d: raw-codes needs one zero point (and scale) for input and output")
    x = domain.codes("x", x)
    count, taps = _counts(x, window, stride or window, padding, divisor)
    if arithmetic == "float32":
        real = _mean_float32(x, taps, count, x_zero_point, zero_point, **params)
        return np.clip(np.rint(real), qmin, qmax).astype(domain.narrowest_dtype(qmin, qmax))
    total = np.zeros((x.shape[0], *count.shape[1:3], x.shape[3]), np.int64)
    for place, part in taps:
        total[place] += part.astype(np.int64) - x_zero_point
    if arithmetic == "raw-codes":
        code = round_division(total + count * x_zero_point, count, "half_away")
    elif arithmetic == "reciprocal":
        code = reciprocal_scale(total, count) + zero_point
    elif arithmetic == "two-roundings":
        code = two_reciprocals(total, count, window) + zero_point
    else:
        code = _exact(total, count, **params) + zero_point
    return np.clip(code, qmin, qmax).astype(domain.narrowest_dtype(qmin, qmax))


def mean(x, *, axes=(1, 2), arithmetic: str, x_zero_point=0, zero_point=0, qmin=-128, qmax=127, **params) -> np.ndarray:
    """Mean over `axes`, which stay with length 1 (E15).

    arithmetic: "requantize": the exact sum of (code - x_zero_point) through requantize(**requantize), whose
    scale contains 1 / count (zero_point, qmin and qmax are those keywords'). "exact": shift, rounding: the
    quotient times 2**shift rounded once.
    """
    domain.arithmetic_of("mean", arithmetic, params)
    x = domain.codes("x", x)
    axes = tuple(axes)
    count = int(np.prod([x.shape[axis] for axis in axes]))
    if count == 0:
        raise ValueError(f"mean over {axes} of an array of shape {x.shape} has nothing to sum")
    if arithmetic == "requantize" and axes == (1, 2) and x.ndim == 4:
        step = mean_step(x.shape, x.dtype, x_zero_point, params["requantize"])
        if step is not None:
            return step(np.ascontiguousarray(x))
    if x.itemsize <= 2 and count < 1 << 15:  # sums fit 32 bits, which is several times as fast
        total = x.astype(np.int32).sum(axis=axes, dtype=np.int32, keepdims=True).astype(np.int64)
    else:
        total = x.sum(axis=axes, dtype=np.int64, keepdims=True)
    total -= count * x_zero_point
    if arithmetic == "requantize":
        return apply_scheme(total, **params["requantize"])
    code = _exact(total, np.int64(count), **params) + zero_point
    return np.clip(code, qmin, qmax).astype(domain.narrowest_dtype(qmin, qmax))


def reciprocal_scale(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count by TOSA's multiplier: k = bits of count - 1, m = ((2**30 + 1) << k) // count (E12).

    (total * m + 2**(29 + k)) >> (30 + k). Source: TOSA 1.0 AVG_POOL2D, reciprocal_scale.
    """
    k = np.ceil(np.log2(count)).astype(np.int64)
    if (np.abs(total) >= np.int64(1) << (29 + k)).any():
        raise ValueError("average_pool2d: a window's sum is out of the domain of TOSA's reciprocal_scale")
    multiplier = (np.int64(2**30 + 1) << k) // count
    return (total * multiplier + (np.int64(1) << (29 + k))) >> (30 + k)


def two_reciprocals(total: np.ndarray, count: np.ndarray, window) -> np.ndarray:
    """total / width / height by reciprocals of 16 fraction bits, rounded twice, ties away (E38).

    Source: NVDLA v1 PDP, registers recip_kernel_width and recip_kernel_height.
    """
    if (count != window[0] * window[1]).any():
        raise ValueError("average_pool2d: two-roundings divides by whole windows: give divisor='window'")
    for size in (window[1], window[0]):
        total = round_division(total * ((2**17 + size) // (2 * size)), np.int64(2**16), "half_away")
    return total


def _exact(total: np.ndarray, count: np.ndarray, *, shift: int, rounding: str) -> np.ndarray:
    if not -30 <= shift <= 30:
        raise ValueError(f"shift must be -30 to 30, got {shift}")
    return round_division(total << max(shift, 0), count << max(-shift, 0), rounding)


def _mean_float32(x, taps, count, x_zero_point, zero_point, *, input_scale, scale) -> np.ndarray:
    f = np.float32
    total = np.zeros((x.shape[0], *count.shape[1:3], x.shape[3]), f)
    for place, part in taps:
        total[place] += (part.astype(np.int32) - x_zero_point).astype(f) * f(input_scale)
    return total / count.astype(f) / f(scale) + f(zero_point)


def _counts(x, window, stride, padding, divisor) -> tuple[np.ndarray, list]:
    """Taps that each output counts, (1, OY, OX, 1) int64, and the taps; ValueError where it has none."""
    shape, taps = _taps(x, window, stride, padding, (1, 1))
    kept = list(taps)
    count = np.full((1, *shape[1:3], 1), window[0] * window[1] if divisor == "window" else 0, np.int64)
    if divisor == "valid":
        for place, _ in kept:
            count[0, place[1], place[2]] += 1
        if (count == 0).any():
            raise ValueError(f"average_pool2d: padding {padding} leaves windows without a single valid tap")
    return count, kept


def _taps(x, window, stride, padding, dilation) -> tuple[tuple[int, ...], Iterator]:
    """Output shape, and for each tap in row order (place in the output, values of x that it reads)."""
    if x.ndim != 4:
        raise ValueError(f"x must be (N, H, W, C), got shape {x.shape}")
    spans = []
    for axis in (0, 1):
        reach = (window[axis] - 1) * dilation[axis] + 1
        before, after = padding[axis]
        size = (x.shape[1 + axis] + before + after - reach) // stride[axis] + 1
        if min(window[axis], stride[axis], dilation[axis]) < 1 or min(before, after) < 0 or size < 1:
            raise ValueError(
                f"window {window}, stride {stride}, padding {padding}, dilation {dilation} "
                f"do not fit an image of {x.shape[1]} x {x.shape[2]}"
            )
        spans.append(size)

    def walk():
        for ky in range(window[0]):
            for kx in range(window[1]):
                rows = _span(ky * dilation[0] - padding[0][0], stride[0], spans[0], x.shape[1])
                columns = _span(kx * dilation[1] - padding[1][0], stride[1], spans[1], x.shape[2])
                if rows and columns:
                    place = (slice(None), rows[0], columns[0])
                    yield place, x[:, rows[1], columns[1]]

    return (x.shape[0], *spans, x.shape[3]), walk()


def _span(offset: int, stride: int, outputs: int, size: int) -> tuple[slice, slice] | None:
    """Outputs o with 0 <= o * stride + offset < size, and the positions that they read."""
    first = max(0, -(offset // stride))
    last = min(outputs - 1, (size - 1 - offset) // stride)
    if first > last:
        return None
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)
