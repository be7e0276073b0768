"""Proofs that no accumulator can leave its range, from the weights and the range of the activations' dtype.

Every prefix of a sum, in any order, lies between the start plus all negative products and the start plus all positive
ones (A6). Where both ends fit every level, nothing wraps or clips and the exact product is the answer.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels.arguments import Accumulator

_FAR = 1 << 61
#: weights looked at together: each takes some tens of bytes meanwhile
_MOST_WEIGHTS = 1 << 14


def products(w: np.ndarray, x_dtype: np.dtype, zx: int, zw: np.ndarray, folded: bool) -> tuple[np.ndarray, np.ndarray]:
    """The most negative (<= 0) and most positive (>= 0) product of each weight; w: (K, depth), int64 results."""
    info = np.iinfo(x_dtype)
    taken = w.astype(np.int64) - (0 if folded else zw[:, None])
    ends = taken * (info.min - (0 if folded else zx)), taken * (info.max - (0 if folded else zx))
    return np.minimum(np.minimum(*ends), 0), np.maximum(np.maximum(*ends), 0)


def reach(
    w: np.ndarray,
    x_dtype: np.dtype,
    zx: int,
    zw: np.ndarray,
    bias: np.ndarray,
    how: Accumulator,
) -> list[tuple[int, int]]:
    """Lowest and highest value that each level can be asked to hold, over all channels and activations.

    A bias beyond ±2**61 counts as that much: far beyond any accumulator that a bound is asked for.
    """
    if w.size > _MOST_WEIGHTS and len(w) > 1:
        middle = len(w) // 2
        parts = [reach(w[own], x_dtype, zx, zw[own], bias[own], how) for own in (slice(middle), slice(middle, None))]
        return [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(*parts, strict=True)]
    bias = np.clip(bias, -_FAR, _FAR)
    folded = how.zero_point_at == "folded"
    depth = w.shape[1]
    low, high = products(w, x_dtype, zx, zw, folded)
    start_low = start_high = bias
    if folded:
        info = np.iinfo(x_dtype)
        fixed = bias - zx * w.sum(axis=1, dtype=np.int64) + depth * zx * zw
        row = -zw * depth * info.min, -zw * depth * info.max
        start_low, start_high = fixed + np.minimum(*row), fixed + np.maximum(*row)
    ends = []
    for level in how.levels[:-1]:
        starts = np.arange(0, depth, level.span)
        ends.append(
            (
                int(np.add.reduceat(low, starts, axis=1).min(initial=0)) if depth else 0,
                int(np.add.reduceat(high, starts, axis=1).max(initial=0)) if depth else 0,
            )
        )
    # the start may come first or last, and with both signs of it every prefix lies in between
    ends.append(
        (
            int((low.sum(axis=1) + np.minimum(start_low, 0)).min(initial=0)),
            int((high.sum(axis=1) + np.maximum(start_high, 0)).max(initial=0)),
        )
    )
    return ends


def nothing_overflows(how: Accumulator, ends: list[tuple[int, int]]) -> bool:
    """Whether every level holds all that it can be asked to hold."""
    return all(
        level.minimum <= low and high <= level.maximum for level, (low, high) in zip(how.levels, ends, strict=True)
    )


def absolute(w: np.ndarray, x_dtype: np.dtype, zx: int, zw: np.ndarray, bias: np.ndarray, folded: bool) -> int:
    """No sum of some products and the start, each of either sign, is further from zero in any channel."""
    outputs = len(w)
    if not outputs:
        return 0
    info = np.iinfo(x_dtype)
    taken = np.zeros_like(zw) if folded else zw
    largest = max(-info.min, info.max) if folded else max(zx - info.min, info.max - zx)
    depth = w[0].size
    whole = np.abs(np.clip(bias, -_FAR, _FAR))
    for k in range(outputs):
        own = w[k].astype(np.int32) - np.int32(taken[k])
        whole[k] += largest * int(np.abs(own).sum(dtype=np.int64))
        if folded:
            whole[k] += abs(zx) * int(np.abs(own).sum(dtype=np.int64)) + abs(int(zw[k])) * depth * (largest + abs(zx))
    return int(whole.max())
