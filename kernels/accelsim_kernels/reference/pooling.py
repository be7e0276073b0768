"""Pooling in Python integers: what accelsim_kernels.pooling must equal (E10 to E15)."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np

from .. import domain
from .requantization import float_round, round_fraction
from .requantization import requantize as apply_scheme

_NO_PADDING = ((0, 0), (0, 0))


def max_pool2d(x, *, window, stride=None, padding=_NO_PADDING, dilation=(1, 1), qmin=None, qmax=None) -> np.ndarray:
    """As accelsim_kernels.max_pool2d (E10)."""
    x = domain.codes("x", x)
    info = np.iinfo(x.dtype)
    low, high = info.min if qmin is None else qmin, info.max if qmax is None else qmax
    one = lambda taps: min(max(max(taps, default=info.min), low), high)  # noqa: E731
    return _pool(x, window, stride or window, padding, dilation, one, x.dtype)


def average_pool2d(
    x, *, window, stride=None, padding=_NO_PADDING, arithmetic: str, divisor: str = "valid",
    x_zero_point=0, zero_point=None, qmin=-128, qmax=127, **params,
) -> np.ndarray:  # fmt: skip
    """As accelsim_kernels.average_pool2d (E11 to E14)."""
    domain.arithmetic_of("average_pool2d", arithmetic, params)
    if divisor not in ("valid", "window"):
        raise ValueError(f"average_pool2d: divisor {divisor!r} is not one of valid, window")
    zero_point = x_zero_point if zero_point is None else zero_point
    if arithmetic == "raw-codes" and zero_point != x_zero_point:
        raise ValueError("average_pool2d: raw-codes needs one zero point (and scale) for input and output")

    def one(taps: list[int]) -> int:
        count = window[0] * window[1] if divisor == "window" else len(taps)
        if count == 0:
            raise ValueError(f"average_pool2d: padding {padding} leaves windows without a single valid tap")
        return min(max(_average(taps, count, window, arithmetic, x_zero_point, zero_point, params), qmin), qmax)

    dtype = domain.narrowest_dtype(qmin, qmax)
    return _pool(domain.codes("x", x), window, stride or window, padding, (1, 1), one, dtype)


def _average(taps: list[int], count: int, window, arithmetic: str, zx: int, zy: int, params: dict) -> int:
    total = sum(v - zx for v in taps)
    if arithmetic == "raw-codes":
        return round_fraction(Fraction(total + count * zx, count), "half_away")
    if arithmetic == "reciprocal":
        k = (count - 1).bit_length()
        multiplier = ((2**30 + 1) << k) // count
        if abs(total) >= 2 ** (29 + k):
            raise ValueError("average_pool2d: a window's sum is out of the domain of TOSA's reciprocal_scale")
        return ((total * multiplier + 2 ** (29 + k)) >> (30 + k)) + zy
    if arithmetic == "exact":
        return _exact(total, count, **params) + zy
    if arithmetic == "two-roundings":
        if count != window[0] * window[1]:
            raise ValueError("average_pool2d: two-roundings divides by whole windows: give divisor='window'")
        for size in (window[1], window[0]):
            reciprocal = round_fraction(Fraction(2**16, size), "half_up")
            total = round_fraction(Fraction(total * reciprocal, 2**16), "half_away")
        return total + zy
    single = lambda v: float_round(v, 24, -149)  # noqa: E731
    step, out_step = (Fraction(float(np.float32(params[k]))) for k in ("input_scale", "scale"))
    real = Fraction(0)
    for v in taps:
        real = single(real + single((v - zx) * step))
    return round_fraction(single(single(single(real / count) / out_step) + zy), "half_even")


def _exact(total: int, count: int, *, shift: int, rounding: str) -> int:
    if not -30 <= shift <= 30:
        raise ValueError(f"shift must be -30 to 30, got {shift}")
    exact = Fraction(total, count) * Fraction(2) ** shift
    if rounding == "odd":
        low = round_fraction(exact, "floor")
        return low if exact == low else low | 1
    return round_fraction(exact, rounding)


def mean(x, *, axes=(1, 2), arithmetic: str, x_zero_point=0, zero_point=0, qmin=-128, qmax=127, **params) -> np.ndarray:
    """As accelsim_kernels.mean (E15)."""
    domain.arithmetic_of("mean", arithmetic, params)
    x = domain.codes("x", x)
    axes = tuple(axes)
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    count = int(np.prod([x.shape[axis] for axis in axes]))
    if count == 0:
        raise ValueError(f"mean over {axes} of an array of shape {x.shape} has nothing to sum")
    totals = np.zeros(shape, np.int64)
    for index in np.ndindex(x.shape):
        place = tuple(0 if axis in axes else i for axis, i in enumerate(index))
        totals[place] += int(x[index]) - x_zero_point
    if arithmetic == "requantize":
        return apply_scheme(totals, **params["requantize"])
    flat = [min(max(_exact(int(t), count, **params) + zero_point, qmin), qmax) for t in totals.flat]
    return np.array(flat, domain.narrowest_dtype(qmin, qmax)).reshape(shape)


def _pool(x, window, stride, padding, dilation, one, dtype) -> np.ndarray:
    """one(list of valid taps in row order) at every output position."""
    if x.ndim != 4:
        raise ValueError(f"x must be (N, H, W, C), got shape {x.shape}")
    sizes = [(x.shape[1 + i] + sum(padding[i]) - (window[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in (0, 1)]
    if min(*sizes, *window, *stride, *dilation) < 1 or min(*padding[0], *padding[1]) < 0:
        raise ValueError(
            f"window {window}, stride {stride}, padding {padding}, dilation {dilation} "
            f"do not fit an image of {x.shape[1]} x {x.shape[2]}"
        )
    out = np.empty((x.shape[0], *sizes, x.shape[3]), dtype)
    for n, oy, ox, c in np.ndindex(out.shape):
        taps = []
        for ky, kx in product(range(window[0]), range(window[1])):
            iy = oy * stride[0] + ky * dilation[0] - padding[0][0]
            ix = ox * stride[1] + kx * dilation[1] - padding[1][0]
            if 0 <= iy < x.shape[1] and 0 <= ix < x.shape[2]:
                taps.append(int(x[n, iy, ix, c]))
        out[n, oy, ox, c] = one(taps)
    return out
