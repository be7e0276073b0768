"""Resizing images of codes (equations E25, E26). x: (N, H, W, C); the grid of the codes does not change."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain

#: where an output pixel lies in the input: scale * i, on the corners, or by pixel centres
COORDINATES = ("asymmetric", "align-corners", "half-pixel")
#: how the fraction bits of a bilinear sum are dropped: TensorFlow Lite and TOSA-like hardware
BILINEAR_ROUNDINGS = ("half_away", "half_up")
#: how the position of an output pixel is computed: 10 fraction bits, or float32 rounded to 11
BILINEAR_POSITIONS = ("fixed-point", "float32")


def resize_bilinear(
    x, *, output_size, coordinates: str = "half-pixel", rounding: str = "half_away", positions: str = "fixed-point"
) -> np.ndarray:
    """Bilinear interpolation with 10 or 11 fraction bits per axis, in the type of x (E25).

    positions "fixed-point": scale = (1024 * in + out / 2) / out, 10 bits (TensorFlow Lite); "float32": the position
    in float32, its fraction rounded to 11 bits, ties to even (XNNPACK). Four products of weights, summed exactly.
    rounding: "half_away" (TensorFlow Lite's default build) or "half_up" (its single-rounding build, XNNPACK).
    """
    x = _image(x, output_size, coordinates)
    if rounding not in BILINEAR_ROUNDINGS:
        raise ValueError(f"resize_bilinear: rounding {rounding!r} is not one of {', '.join(BILINEAR_ROUNDINGS)}")
    if positions not in BILINEAR_POSITIONS:
        raise ValueError(f"resize_bilinear: positions {positions!r} is not one of {', '.join(BILINEAR_POSITIONS)}")
    bits, place = (20, _positions) if positions == "fixed-point" else (22, _float_positions)
    rows = place(x.shape[1], output_size[0], coordinates)
    columns = place(x.shape[2], output_size[1], coordinates)
    wide = x.astype(np.int64)
    total = np.zeros((x.shape[0], *output_size, x.shape[3]), np.int64)
    for row, row_weight in zip(rows[:2], rows[2:], strict=True):
        for column, column_weight in zip(columns[:2], columns[2:], strict=True):
            total += wide[:, row][:, :, column] * row_weight[:, None, None] * column_weight[:, None]
    half = 1 << (bits - 1)
    total = total + half if rounding == "half_up" else total + half - (total < 0)
    return (total >> bits).astype(x.dtype)


def resize_nearest(x, *, output_size, coordinates: str = "asymmetric") -> np.ndarray:
    """The nearest input pixel, its position computed in float32 (E26). Source: TensorFlow Lite."""
    x = _image(x, output_size, coordinates)
    return x[:, _nearest(x.shape[1], output_size[0], coordinates)][
        :, :, _nearest(x.shape[2], output_size[1], coordinates)
    ]


def _image(x, output_size, coordinates: str) -> np.ndarray:
    x = domain.codes("x", x)
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"x must be (N, H, W, C) with no empty axis, got shape {x.shape}")
    if len(output_size) != 2 or min(output_size) < 1:
        raise ValueError(f"output_size must be two positive numbers, got {output_size}")
    if coordinates not in COORDINATES:
        raise ValueError(f"coordinates {coordinates!r} is not one of {', '.join(COORDINATES)}")
    return x


def _positions(size: int, outputs: int, coordinates: str) -> tuple[np.ndarray, ...]:
    """Lower and upper neighbour of each output, and their weights of 2**10."""
    scale = (1024 * size + outputs // 2) // outputs
    if coordinates == "align-corners" and outputs > 1:
        scale = (1024 * (size - 1) + (outputs - 1) // 2) // (outputs - 1)
    at = np.arange(outputs, dtype=np.int64) * scale
    if coordinates == "half-pixel":
        at += scale // 2 - 512
    # C division truncates: a position before the first pixel belongs to it
    low = np.maximum(np.where(at < 0, -(-at // 1024), at // 1024), 0)
    if low[-1] >= size:
        raise ValueError(f"resize_bilinear: with 10 fraction bits, {outputs} outputs of {size} pixels leave the image")
    high = np.minimum((at + 1023) // 1024, size - 1)
    upper = at - 1024 * low
    return low, high, 1024 - upper, upper


def _float_positions(size: int, outputs: int, coordinates: str) -> tuple[np.ndarray, ...]:
    """As _positions(), with weights of 2**11. Source: XNNPACK src/indirection.c, resize bilinear, q11."""
    f = np.float32
    corners = coordinates == "align-corners" and outputs > 1
    scale = f(size - 1) / f(outputs - 1) if corners else f(size) / f(outputs)
    at = np.arange(outputs).astype(f) * scale
    if coordinates == "half-pixel":
        at = at + (f(0.5) * scale - f(0.5))
    at = np.clip(at, f(0), f(size - 1))
    low = at.astype(np.int64)
    upper = np.rint((at - low.astype(f)) * f(2048)).astype(np.int64)
    return low, np.minimum(low + 1, size - 1), 2048 - upper, upper


def _nearest(size: int, outputs: int, coordinates: str) -> np.ndarray:
    f = np.float32
    scale = f(size) / f(outputs)
    if coordinates == "align-corners" and outputs > 1:
        scale = f(size - 1) / f(outputs - 1)
    at = np.arange(outputs).astype(f)
    at = (at + f(0.5)) * scale if coordinates == "half-pixel" else at * scale
    whole = np.trunc(at + f(0.5)) if coordinates == "align-corners" else np.floor(at)
    return np.clip(whole.astype(np.int64), 0, size - 1)
