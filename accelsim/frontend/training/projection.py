"""Weight codes that cannot overflow a narrow accumulator, projected anew at every step of training (A2Q+).

Colbert et al., A2Q+: Improving Accumulator-Aware Weight Quantization (2024). Theirs bounds the L1 norm of zero-centred
weights; here the positive and the negative codes of a channel are bounded apart, which is what the accumulator sees
(B1 of `frontend/recipes/budget.py`), bias and zero points included. Zero-centring is then of no use.
"""

from __future__ import annotations

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.frontend.recipes.budget import Budget
from accelsim.quant import QuantParams

#: share of the accumulator that biases may take: the rest is for weights and inputs
BIAS_SHARE = 0.5
_SLACK = 1e-6  # of the sums of codes, for float64's rounding
_NEWTON = 64  # steps: a convex, piecewise linear function is solved in far fewer


def budget_of(grid: QuantParams, bits: int) -> Budget:
    """What the inputs' grid and a two's complement accumulator of `bits` bits leave for weights and bias."""
    limit = 1 << (bits - 1)
    return Budget(grid.qmin - grid.zero_point, grid.qmax - grid.zero_point, -limit, limit - 1)


def bounded_codes(v: np.ndarray, codes: np.ndarray, bias: np.ndarray, grid: QuantParams, budget: Budget) -> np.ndarray:
    """`codes` where they keep the budget; for other channels the nearest codes that do, or close to these.

    v (channels, taps) float64: weights in steps of their grid. codes: v rounded and clamped. bias (channels,): codes.
    Real weights are projected exactly (soft thresholds, one for positive and one for negative weights), then rounded
    to nearest, and down where the sum would pass the real one. Raises AccelsimError where a bias alone does not fit.
    """
    found = codes.astype(np.int64)
    bad = ~_holds(found, bias, budget)
    if not bad.any():
        return codes
    none = np.zeros(len(bias), np.int64)
    if not budget.holds(none, none, bias).all():
        raise AccelsimError("its bias alone does not fit the accumulator")
    room = budget.most - bias[bad], bias[bad] - budget.least
    clamped = np.clip(v[bad], grid.qmin, grid.qmax)
    found[bad] = _rounded_within(_projected(clamped, *room, -budget.low, budget.high))
    if not _holds(found, bias, budget).all():
        raise AssertionError("a projection left its budget")
    return found.astype(codes.dtype)


def _holds(codes: np.ndarray, bias: np.ndarray, budget: Budget) -> np.ndarray:
    return budget.holds(np.maximum(codes, 0).sum(axis=1), np.maximum(-codes, 0).sum(axis=1), bias)


def _projected(v: np.ndarray, above: np.ndarray, below: np.ndarray, low: int, high: int) -> np.ndarray:
    """The point nearest to v with high P + low M <= above and high M + low P <= below, for each row.

    P, M: sums of the positive and of the negative magnitudes. If keeping one of the two conditions keeps the other,
    that is the answer; else both hold with equality, which fixes P and M.
    """
    magnitude, positive = np.abs(v), v > 0
    above_cost, below_cost = (np.where(sign, high, low).astype(float) for sign in (positive, ~positive))
    found = _shrunk(magnitude, above_cost, above)
    wrong = _past(found, below_cost, below)
    found[wrong] = _shrunk(magnitude[wrong], below_cost[wrong], below[wrong])
    wrong &= _past(found, above_cost, above)
    if wrong.any():
        share = high**2 - low**2
        for sign, room, other in ((positive, above, below), (~positive, below, above)):
            total = np.maximum((high * room - low * other) / share, 0.0)
            mine = np.where(sign[wrong], magnitude[wrong], 0.0)
            found[wrong] = np.where(sign[wrong], _shrunk(mine, np.ones_like(mine), total[wrong]), found[wrong])
    return np.copysign(found, v)


def _past(magnitude: np.ndarray, cost: np.ndarray, room: np.ndarray) -> np.ndarray:
    return (cost * magnitude).sum(axis=1) > room * (1 + _SLACK)


def _shrunk(magnitude: np.ndarray, cost: np.ndarray, room: np.ndarray) -> np.ndarray:
    """max(magnitude - cost * t, 0) with the least t >= 0 at which sum(cost * that) <= room, for each row.

    Newton's method from t = 0: the sum falls and is convex in t, so that every step stays on the near side.
    """
    t = np.zeros(len(magnitude))
    left = magnitude.copy()
    todo = np.arange(len(magnitude))
    for _ in range(_NEWTON):
        excess = (cost[todo] * left[todo]).sum(axis=1) - room[todo]
        todo, excess = todo[excess > _SLACK * room[todo]], excess[excess > _SLACK * room[todo]]
        if not len(todo):
            break
        t[todo] += excess / (np.square(cost[todo]) * (left[todo] > 0)).sum(axis=1)
        left[todo] = np.maximum(magnitude[todo] - cost[todo] * t[todo, None], 0.0)
    return left


def _rounded_within(real: np.ndarray) -> np.ndarray:
    """Integers near `real` whose positive and negative magnitudes add up to no more than the real ones."""
    codes = np.rint(real)
    for sign in (1.0, -1.0):
        mine = np.where(sign * real > 0, sign * real, 0.0)
        rounded = np.where(sign * real > 0, sign * codes, 0.0)
        surplus = np.ceil(rounded.sum(axis=1) - mine.sum(axis=1) * (1 - _SLACK) - _SLACK)
        order = np.argsort(mine - rounded, axis=1, kind="stable")  # those rounded up the most come first
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.broadcast_to(np.arange(real.shape[1]), order.shape), axis=1)
        codes -= sign * ((place < surplus[:, None]) & (rounded > 0))
    return codes.astype(np.int64)
