"""Resizing in Python integers: what accelsim_kernels.resizing must equal (E25, E26)."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np

from .. import domain
from .requantization import float_round, shifted


def resize_bilinear(
    x, *, output_size, coordinates: str = "half-pixel", rounding: str = "half_away", positions: str = "fixed-point"
) -> np.ndarray:
    """As accelsim_kernels.resize_bilinear (E25)."""
    x = _image(x, output_size, coordinates)
    if rounding not in ("half_away", "half_up"):
        raise ValueError(f"resize_bilinear: rounding {rounding!r} is not one of half_away, half_up")
    if positions not in ("fixed-point", "float32"):
        raise ValueError(f"resize_bilinear: positions {positions!r} is not one of fixed-point, float32")
    one, place = (1024, _position) if positions == "fixed-point" else (2048, _float_position)
    out = np.empty((x.shape[0], *output_size, x.shape[3]), x.dtype)
    for oy, ox in np.ndindex(*output_size):
        y0, y1, fy = place(oy, x.shape[1], output_size[0], coordinates)
        x0, x1, fx = place(ox, x.shape[2], output_size[1], coordinates)
        for n, c in np.ndindex(x.shape[0], x.shape[3]):
            at = lambda iy, ix: int(x[n, iy, ix, c])  # noqa: B023, E731
            total = at(y0, x0) * (one - fy) * (one - fx) + at(y1, x0) * fy * (one - fx)
            total += at(y0, x1) * (one - fy) * fx + at(y1, x1) * fy * fx
            out[n, oy, ox, c] = shifted(total, 2 * (one.bit_length() - 1), rounding)
    return out


def resize_nearest(x, *, output_size, coordinates: str = "asymmetric") -> np.ndarray:
    """As accelsim_kernels.resize_nearest (E26)."""
    x = _image(x, output_size, coordinates)
    out = np.empty((x.shape[0], *output_size, x.shape[3]), x.dtype)
    for oy, ox in np.ndindex(*output_size):
        iy = _nearest(oy, x.shape[1], output_size[0], coordinates)
        out[:, oy, ox] = x[:, iy, _nearest(ox, x.shape[2], output_size[1], coordinates)]
    return out


def _image(x, output_size, coordinates: str) -> np.ndarray:
    x = domain.codes("x", x)
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"x must be (N, H, W, C) with no empty axis, got shape {x.shape}")
    if len(output_size) != 2 or min(output_size) < 1:
        raise ValueError(f"output_size must be two positive numbers, got {output_size}")
    if coordinates not in ("asymmetric", "align-corners", "half-pixel"):
        raise ValueError(f"coordinates {coordinates!r} is not one of asymmetric, align-corners, half-pixel")
    return x


def _position(i: int, size: int, outputs: int, coordinates: str) -> tuple[int, int, int]:
    """Lower and upper neighbour, and the upper one's weight of 1024."""
    scale = (1024 * size + outputs // 2) // outputs
    if coordinates == "align-corners" and outputs > 1:
        scale = (1024 * (size - 1) + (outputs - 1) // 2) // (outputs - 1)
    at = i * scale + (scale // 2 - 512 if coordinates == "half-pixel" else 0)
    low = max(at // 1024 if at >= 0 else -(-at // 1024), 0)
    if low >= size:
        raise ValueError(f"resize_bilinear: with 10 fraction bits, {outputs} outputs of {size} pixels leave the image")
    return low, min((at + 1023) // 1024, size - 1), at - 1024 * low


def _float_position(i: int, size: int, outputs: int, coordinates: str) -> tuple[int, int, int]:
    """As _position(), the weight of 2048: every step rounded to float32."""
    single = lambda v: float_round(Fraction(v), 24, -149)  # noqa: E731
    corners = coordinates == "align-corners" and outputs > 1
    scale = single(Fraction(size - 1, outputs - 1) if corners else Fraction(size, outputs))
    at = single(i * scale)
    if coordinates == "half-pixel":
        at = single(at + single(scale / 2 - Fraction(1, 2)))
    at = min(max(at, Fraction(0)), Fraction(size - 1))
    low = floor(at)
    return low, min(low + 1, size - 1), round(single(single(at - low) * 2048))


def _nearest(i: int, size: int, outputs: int, coordinates: str) -> int:
    single = lambda v: float_round(Fraction(v), 24, -149)  # noqa: E731
    corners = coordinates == "align-corners" and outputs > 1
    scale = single(Fraction(size - 1, outputs - 1) if corners else Fraction(size, outputs))
    at = single((i + Fraction(1, 2) if coordinates == "half-pixel" else i) * scale)
    whole = floor(single(at + Fraction(1, 2))) if coordinates == "align-corners" else floor(at)
    return min(max(whole, 0), size - 1)
