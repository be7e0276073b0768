"""activity in Python integers: every stream written out and compared value by value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from accelsim_kernels import arguments
from accelsim_kernels.reference.mac_array import window


def activity(
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    x_zero_point: int = 0,
    w_zero_point: Any = 0,
    dataflow: str = "weight_stationary",
    accumulator_bits: int = 32,
    samples: int = 32,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Zeros and toggles of the streams of a convolution, as `accelsim_kernels.activity` says."""
    x, w = arguments.operand("x", x, 4), arguments.operand("w", w, 4)
    shape = arguments.conv_geometry(x.shape, w.shape, stride, padding, dilation, groups)
    zx = int(arguments.zero_point("x_zero_point", x_zero_point, x.dtype, None))
    zw = np.broadcast_to(
        arguments.zero_point("w_zero_point", w_zero_point, w.dtype, shape.out_channels), shape.out_channels
    ).tolist()
    arguments.activity_choices(dataflow, accumulator_bits, samples)
    pixels, filters = x.tolist(), w.reshape(shape.out_channels, shape.depth).tolist()
    whole = arguments.ConvGeometry(**{**vars(shape), "groups": 1})
    windows = [
        window(pixels[n], oy, ox, 0, zx, whole)
        for n in range(shape.batch)
        for oy in range(shape.out_y)
        for ox in range(shape.out_x)
    ]
    inputs = list(zip(*windows, strict=True)) if dataflow == "weight_stationary" else windows
    weights = list(zip(*filters, strict=True)) if dataflow == "input_stationary" else filters
    zeros = sum(value == zw[k] for k, row in enumerate(filters) for value in row)
    streams = {
        "input": _stream(inputs, sum(value == zx for row in windows for value in row), 8 * x.itemsize),
        "weight": _stream(weights, zeros, 8 * w.itemsize),
    }
    if samples:
        means, transitions = [], 0
        for now, before in arguments.sampled_outputs(shape, dataflow, samples, seed):
            sums = _prefixes(pixels, filters, shape, zx, zw, *now)
            earlier, sums = (
                (sums[:-1], sums[1:]) if before is None else (_prefixes(pixels, filters, shape, zx, zw, *before), sums)
            )
            if sums:
                counts = [_toggles(a, b, accumulator_bits) for a, b in zip(earlier, sums, strict=True)]
                means.append(sum(counts) / len(counts))
                transitions += len(counts)
        streams["psum"] = {
            "toggles": float(np.mean(means)) if means else math.nan,
            "standard_error": float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else math.nan,
            "transitions": transitions,
            "bits": accumulator_bits,
        }
    return streams


def _toggles(before: int, now: int, bits: int) -> int:
    """Bits in which two numbers differ in two's complement of that width (A8)."""
    return ((before ^ now) & ((1 << bits) - 1)).bit_count()


def _stream(streams: Iterable[Iterable[int]], zeros: int, bits: int) -> dict[str, float]:
    ports = [list(port) for port in streams]
    pairs = [pair for port in ports for pair in itertools.pairwise(port)]
    return {
        "values": sum(map(len, ports)),
        "zeros": zeros,
        "transitions": len(pairs),
        "toggles": sum(_toggles(before, now, bits) for before, now in pairs),
        "bits": bits,
    }


def _prefixes(
    pixels: list,
    filters: list,
    shape: arguments.ConvGeometry,
    zx: int,
    zw: list[int],
    image: int,
    oy: int,
    ox: int,
    channel: int,
) -> list[int]:
    total, prefixes = 0, []
    group = channel // (shape.out_channels // shape.groups)
    for x, w in zip(window(pixels[image], oy, ox, group, zx, shape), filters[channel], strict=True):
        total += (x - zx) * (w - zw[channel])
        prefixes.append(total)
    return prefixes
