"""SVDF in Python integers: what accelsim_kernels.recurrent must equal (E29)."""

from __future__ import annotations

import numpy as np

from .. import domain
from .requantization import requantize


def svdf(
    x, state, weights_feature, weights_time, *, rank: int, x_zero_point: int, bias=None, feature: dict, output: dict
) -> tuple[np.ndarray, np.ndarray]:
    """As accelsim_kernels.svdf."""
    x, state = domain.codes("x", x), domain.codes("state", state)
    features, channels = np.asarray(weights_feature).shape
    taps = np.asarray(weights_time).shape[1]
    if x.shape[1:] != (channels,):
        raise ValueError(f"svdf: x has shape {x.shape}, the weights ask for {(len(x), channels)}")
    if state.shape != (len(x), features, taps):
        raise ValueError(f"svdf: state has shape {state.shape}, the weights ask for {(len(x), features, taps)}")
    if rank < 1 or features % rank:
        raise ValueError(f"svdf: {features} filters are no multiple of rank {rank}")
    new, totals = np.empty_like(state), np.zeros((len(x), features // rank), np.int64)
    for n, f in np.ndindex(len(x), features):
        fresh = sum((int(x[n, c]) - x_zero_point) * int(weights_feature[f, c]) for c in range(channels))
        history = [*state[n, f, 1:].tolist(), requantize(np.array(fresh), **feature).item()]
        new[n, f] = history
        totals[n, f // rank] += sum(h * int(w) for h, w in zip(history, weights_time[f], strict=True))
    if bias is not None:
        totals += np.asarray(bias, np.int64)
    return requantize(totals, **output), new
