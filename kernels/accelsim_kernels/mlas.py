"""Functions of float32 numbers as MLAS, ONNX Runtime's library of CPU kernels, computes them with FMA (E31, E32).

Every step is one IEEE rounding, so the results are the same wherever they are computed. Source: onnxruntime
core/mlas/lib: logistic.cpp, tanh.cpp, compute.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accelsim_kernels.floats import fma32

_F = np.float32

#: odd numerator and even denominator of the logistic function less 1/2, highest power first
_LOGISTIC = (
    (4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03, 2.48287947061529e-01),
    (6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03, 1.16817656904453e-01,
     9.93151921023180e-01),
)  # fmt: skip
_TANH = (
    (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
     6.37261928875436e-04, 4.89352455891786e-03),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)  # fmt: skip
#: polynomial of exp on [-ln 2 / 2, ln 2 / 2], highest power first
_EXP = tuple(float.fromhex(c) for c in (
    "0x1.694000p-10", "0x1.125edcp-7", "0x1.555b5ap-5", "0x1.555450p-3", "0x1.fffff6p-2", "0x1p+0", "0x1p+0",
))  # fmt: skip
_LOG2_RECIPROCAL, _LOG2_HIGH, _LOG2_LOW = 1.44269504088896341, -6.93145752e-1, -1.42860677e-6
_ROUNDING, _LOWEST = 12582912.0, -88.3762626647949


def _polynomial(x: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    value = np.broadcast_to(_F(coefficients[0]), x.shape)
    for coefficient in coefficients[1:]:
        value = fma32(value, x, _F(coefficient))
    return value


def _ratio(x: np.ndarray, limit: float, parts: tuple[Sequence[float], Sequence[float]]) -> np.ndarray:
    x = np.clip(x.astype(_F), _F(-limit), _F(limit))
    square = x * x
    return _polynomial(square, parts[0]) * x / _polynomial(square, parts[1])


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) of float32 numbers: a ratio of polynomials plus 1/2, in [0, 1]."""
    return np.clip(_ratio(x, 18.0, _LOGISTIC) + _F(0.5), _F(0), _F(1))


def tanh(x: np.ndarray) -> np.ndarray:
    """tanh of float32 numbers: a ratio of polynomials."""
    return _ratio(x, 9.0, _TANH)


def exp_of_negative(x: np.ndarray) -> np.ndarray:
    """exp of float32 numbers that are 0 or less, as the softmax takes it."""
    x = np.maximum(x.astype(_F), _F(_LOWEST))
    biased = fma32(x, _F(_LOG2_RECIPROCAL), _F(_ROUNDING))
    power = biased - _F(_ROUNDING)
    rest = fma32(power, _F(_LOG2_LOW), fma32(power, _F(_LOG2_HIGH), x))
    return np.ldexp(_polynomial(rest, _EXP), power.astype(np.int32)).astype(_F)


def row_sums(x: np.ndarray) -> np.ndarray:
    """Sums over the last axis as the softmax takes them with AVX-512: 16 lanes, their halves, then neighbours.

    With AVX2 there are 8 lanes, which differs for more than 16 numbers. The axis is kept.
    """
    total = lane_sums(x, 16)
    total = total[..., :8] + total[..., 8:]
    while total.shape[-1] > 1:
        total = total[..., 0::2] + total[..., 1::2]
    return total


def vector_sums(x: np.ndarray, lanes: int) -> np.ndarray:
    """Sums over the last axis: vectors of `lanes` numbers, then lanes in halves; the axis is kept."""
    total = lane_sums(x, lanes)
    while total.shape[-1] > 1:
        half = total.shape[-1] // 2
        total = total[..., :half] + total[..., half:]
    return total


def lane_sums(x: np.ndarray, lanes: int) -> np.ndarray:
    """Sums of every `lanes`-th number of the last axis, in order."""
    total = np.zeros((*x.shape[:-1], lanes), _F)
    padded = np.zeros((*x.shape[:-1], -(-x.shape[-1] // lanes) * lanes), _F)
    padded[..., : x.shape[-1]] = x
    for start in range(0, padded.shape[-1], lanes):
        total = total + padded[..., start : start + lanes]
    return total
