"""One step of a recurrent operator: SVDF (equation E29)."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.mac_array import matmul
from accelsim_kernels.requantization import requantize


def svdf(
    x, state, weights_feature, weights_time, *, rank: int, x_zero_point: int, bias=None, feature: dict, output: dict
) -> tuple[np.ndarray, np.ndarray]:
    """A rank-decomposed FIR filter over the last inputs: (output, new state) (E29).

    x: (N, C) codes. state: (N, F, T), oldest first. weights_feature: (F, C). weights_time: (F, T). F = units * rank.
    The state moves by one; its last entry becomes requantize((x - x_zero_point) @ feature weights, **feature).
    Unit u sums weights_time * state over its `rank` filters and T, adds bias[u], and is requantized by `output`.
    Returns (N, units) codes and a state of the given dtype. Source: CMSIS-NN arm_svdf_s8, arm_svdf_state_s16_s8.
    """
    x, state = domain.codes("x", x), domain.codes("state", state)
    weights_feature, weights_time = np.asarray(weights_feature), np.asarray(weights_time)
    check_shapes(x, state, weights_feature, weights_time, rank)
    new = np.roll(state, -1, axis=2)
    fresh = matmul(x, np.ascontiguousarray(weights_feature.T), a_zero_point=x_zero_point)
    new[:, :, -1] = requantize(fresh, **feature)
    filtered = (new.astype(np.int64) * weights_time).sum(axis=2)
    total = filtered.reshape(len(x), -1, rank).sum(axis=2)
    return requantize(total if bias is None else total + np.asarray(bias), **output), new


def check_shapes(x, state, weights_feature, weights_time, rank: int) -> None:
    """ValueError unless the operands of svdf() fit each other."""
    features, channels = weights_feature.shape
    wanted = {"x": (len(x), channels), "state": (len(x), *weights_time.shape)}
    for name, array in (("x", x), ("state", state)):
        if array.shape != wanted[name] or len(weights_time) != features:
            raise ValueError(f"svdf: {name} has shape {array.shape}, the weights ask for {wanted[name]}")
    if rank < 1 or features % rank:
        raise ValueError(f"svdf: {features} filters are no multiple of rank {rank}")
