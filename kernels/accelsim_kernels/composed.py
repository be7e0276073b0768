"""Convolutions of rearranged operands: transpose convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.mac_array import conv2d


def transpose_conv2d(
    x,
    w,
    *,
    stride=(1, 1),
    padding=(0, 0),
    output_size: tuple[int, int],
    x_zero_point: int = 0,
    **keywords: Any,
) -> np.ndarray:
    """The transpose of a convolution: x (N, H, W, C) with w (K, fy, fx, C) to (N, OY, OX, K) (E28).

    Input pixel (i, j) times tap (ky, kx) is added at (i * stride + ky - padding, …). padding: (top, left).
    Computed as a convolution with the flipped filter over the input spread out by `stride`; the zeros between
    are real zeros. keywords: those of conv2d() but stride, padding, dilation and groups.
    """
    x, w = domain.codes("x", x), domain.codes("w", w)
    spread = np.full(
        (x.shape[0], (x.shape[1] - 1) * stride[0] + 1, (x.shape[2] - 1) * stride[1] + 1, x.shape[3]),
        x_zero_point,
        x.dtype,
    )
    spread[:, :: stride[0], :: stride[1]] = x
    edges = []
    for axis in (0, 1):
        before = w.shape[1 + axis] - 1 - padding[axis]
        after = output_size[axis] - (spread.shape[1 + axis] + before - w.shape[1 + axis] + 1)
        edges.append((before, after))
    # a negative edge drops what falls outside the output
    inside = tuple(slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(edges, spread.shape[1:3], strict=True))
    spread = spread[:, inside[0], inside[1]]
    edges = [(max(b, 0), max(a, 0)) for b, a in edges]
    if spread.shape[1] < 1 or spread.shape[2] < 1:
        raise ValueError(f"transpose_conv2d: output size {output_size} does not meet the input {x.shape[1:3]}")
    return conv2d(spread, w[:, ::-1, ::-1], padding=tuple(edges), x_zero_point=x_zero_point, **keywords)
