"""Batch matmul and transpose convolution in Python integers (E27, E28)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import domain
from .mac_array import conv2d, matmul


def batch_matmul(a, b, **keywords: Any) -> Any:
    """As accelsim_kernels.batch_matmul."""
    a, b = domain.codes("a", a), domain.codes("b", b)
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"batch_matmul takes (…, M, K) and (…, K, N), got {a.shape} and {b.shape}")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if 0 in lead:
        raise ValueError(f"batch_matmul has no matrices to multiply: {a.shape} and {b.shape}")
    parts = [matmul(_matrix(a, i), _matrix(b, i), **keywords) for i in np.ndindex(*lead)]
    if not keywords.get("return_events"):
        return np.stack(parts).reshape(*lead, *parts[0].shape)
    return tuple(np.stack(found).reshape(*lead, *found[0].shape) for found in zip(*parts, strict=True))


def _matrix(x: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    """The matrix of x at an index of the broadcast leading dimensions."""
    own = index[len(index) - (x.ndim - 2) :]
    return x[tuple(k if n > 1 else 0 for k, n in zip(own, x.shape, strict=False))]


def transpose_conv2d(
    x,
    w,
    *,
    stride=(1, 1),
    padding=(0, 0),
    output_size: tuple[int, int],
    x_zero_point: int = 0,
    **keywords: Any,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """As accelsim_kernels.transpose_conv2d: each output gathers the inputs whose taps reach it."""
    x, w = domain.codes("x", x), domain.codes("w", w)
    (batch, height, width, _), (_, fy, fx, _) = x.shape, w.shape
    rows = []
    for oy, ox in np.ndindex(*output_size):
        # the window of inputs that this output sees, in the flipped filter's order
        window = np.full((batch, fy, fx, x.shape[3]), x_zero_point, x.dtype)
        for ky, kx in np.ndindex(fy, fx):
            (iy, ry), (ix, rx) = (
                divmod(oy + padding[0] - ky, stride[0]),
                divmod(ox + padding[1] - kx, stride[1]),
            )
            if ry == rx == 0 and 0 <= iy < height and 0 <= ix < width:
                window[:, fy - 1 - ky, fx - 1 - kx] = x[:, iy, ix]
        found = conv2d(window, w[:, ::-1, ::-1], x_zero_point=x_zero_point, **keywords)
        rows.append([part[:, 0, 0] for part in (found if isinstance(found, tuple) else (found,))])
    whole = [np.stack(part, axis=1).reshape(batch, *output_size, w.shape[0]) for part in zip(*rows, strict=True)]
    return tuple(whole) if keywords.get("return_events") else whole[0]
