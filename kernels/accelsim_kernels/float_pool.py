"""Average pooling of codes through float32, as a float operator between quantizers computes it (equation E35)."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain, mlas
from accelsim_kernels.floats import positive

_F = np.float32
ORDERS = ("columns", "rows", "vectors")


def float_average_pool(
    x, *, window, stride, padding, divisor: str, order: str, x_scale, scale, x_zero_point=0, zero_point=0, qmin=-128,
    qmax=127, values=None, lowest: int = 0,
) -> np.ndarray:  # fmt: skip
    """Average of each window of (N, H, W, C) codes: dequantized, summed in float32, divided, quantized (E35).

    values: float32, what the codes from `lowest` on stand for, where that is a function of what their grid says.

    order: of the sum. "columns": down each column of the window, then over its columns; "rows": number after number,
    row by row; "vectors": of a window that is the whole image, in vectors of 4 numbers, then what is left.
    divisor: "valid" or "window", as in average_pool2d. Ties to even, zero point after rounding.
    """
    x = domain.codes("x", x)
    if divisor not in ("valid", "window"):
        raise ValueError(f"float_average_pool: divisor {divisor!r} is not one of valid, window")
    check_windows(x.shape, window, stride, padding)
    check_order(order, x.shape, window, padding)
    sx, so = positive("x_scale", x_scale, _F), positive("scale", scale, _F)
    centred = x.astype(np.int64) - (x_zero_point if values is None else lowest)
    real = centred.astype(_F) * sx if values is None else chosen(values, centred)
    if order == "vectors":
        total, count = _whole(real), _F(window[0] * window[1])
    else:
        total, count = _windows(real, window, stride, padding)
        total = _by_rows(real, window, stride, padding) if order == "rows" else total
        count = _F(window[0] * window[1]) if divisor == "window" else count
    code = np.rint(np.clip(total / count / so, _F(qmin - zero_point), _F(qmax - zero_point)))
    return (code.astype(np.int64) + zero_point).astype(domain.narrowest_dtype(qmin, qmax))


def chosen(values, places: np.ndarray) -> np.ndarray:
    """float32 numbers by place. ValueError where the table has no such place or is not float32."""
    if values.dtype != _F or values.ndim != 1 or places.min(initial=0) < 0 or places.max(initial=0) >= len(values):
        raise ValueError(f"float_average_pool: a table of {values.dtype} {values.shape} for the codes of its input")
    return values[places]


def check_windows(shape, window, stride, padding) -> None:
    """ValueError unless every window has a tap inside the image."""
    if len(shape) != 4:
        raise ValueError(f"x must be (N, H, W, C), got shape {shape}")
    for axis in (0, 1):
        before, after = padding[axis]
        fits = shape[1 + axis] + before + after >= window[axis] and min(before, after) >= 0
        if not fits or min(window[axis], stride[axis]) < 1 or max(before, after) >= window[axis]:
            raise ValueError(f"window {window}, stride {stride}, padding {padding} on an image of {shape[1:3]}")


def check_order(order: str, shape, window, padding) -> None:
    """ValueError unless sums can run in that order."""
    if order not in ORDERS:
        raise ValueError(f"float_average_pool: order {order!r} is not one of {', '.join(ORDERS)}")
    if order == "vectors" and (tuple(window) != tuple(shape[1:3]) or np.any(padding)):
        raise ValueError(f"order 'vectors' is of windows that are the whole image, not {window} of {shape[1:3]}")


def _by_rows(real: np.ndarray, window, stride, padding) -> np.ndarray:
    """Sums of every window, number after number; zeros around the image add nothing."""
    padded = np.pad(real, ((0, 0), *map(tuple, padding), (0, 0)))
    rows, columns = ((padded.shape[1 + i] - window[i]) // stride[i] + 1 for i in (0, 1))
    total = _F(0)
    for i in range(window[0]):
        for j in range(window[1]):
            ends = i + (rows - 1) * stride[0] + 1, j + (columns - 1) * stride[1] + 1
            total = total + padded[:, i : ends[0] : stride[0], j : ends[1] : stride[1]]
    return np.asarray(total)


def _whole(real: np.ndarray) -> np.ndarray:
    """Sum over the image: vectors of 4 numbers in turn, their lanes, then what is left."""
    n, h, w, c = real.shape
    flat = real.transpose(0, 3, 1, 2).reshape(n, c, h * w)
    full = h * w // 4 * 4
    total = mlas.vector_sums(flat[..., :full], 4)[..., 0] if full else np.zeros((n, c), _F)
    for index in range(full, h * w):
        total = total + flat[..., index]
    return total.reshape(n, 1, 1, c)


def _windows(real: np.ndarray, window, stride, padding) -> tuple[np.ndarray, np.ndarray]:
    """(sums, numbers of taps inside the image) of every window."""
    columns, rows = _along(real, 1, window[0], stride[0], padding[0])
    total, width = _along(columns, 2, window[1], stride[1], padding[1])
    return total, (rows[:, None] * width[None, :])[None, :, :, None]


def _along(x: np.ndarray, axis: int, size: int, step: int, pads) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `size` neighbours along an axis in order, real zeros outside; and how many lie inside."""
    around = [(0, 0)] * x.ndim
    around[axis] = tuple(pads)
    padded = np.pad(x, around)
    outputs = (padded.shape[axis] - size) // step + 1
    take = [slice(None)] * x.ndim
    total = None
    inside = np.zeros(outputs, _F)
    for tap in range(size):
        take[axis] = slice(tap, tap + (outputs - 1) * step + 1, step)
        total = padded[tuple(take)] if total is None else total + padded[tuple(take)]
        places = np.arange(outputs) * step + tap - pads[0]
        inside += (places >= 0) & (places < x.shape[axis])
    assert total is not None
    return total, inside
