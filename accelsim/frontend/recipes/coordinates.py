"""Integer least squares under an accumulator's budget, by coordinate descent over the weight codes.

For each output channel: min over codes q of q' H q - 2 c' q, so that over every input u in [low, high] (codes, zero
point taken off) and every prefix of the sum, bias included, the accumulator stays within [least, most]:
    bias + high P + |low| M <= most,   bias - high M - |low| P >= least                                  (B1)
with P, M the sums of positive and of negative codes' magnitudes, and bias = offset - mean' q, what makes the mean
output right. Each partial sum lies between the two ends because the maximum over u of any product is >= 0.
With sum(q) = 0 and no bias this is the A2Q+ condition ||q||_1 <= (2^P - 2) / (2^N - 1) (Colbert et al., 2024); the
signed form needs no zero-centred weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_PATH = 12  # weights of the L1 penalty, from one that leaves nothing to none
_FALL = 0.55


@dataclass(frozen=True)
class Budget:
    """(B1) for one layer. low <= 0 <= high: of the inputs; least, most: of the accumulator."""

    low: int
    high: int
    least: int
    most: int

    def holds(self, positive: np.ndarray, negative: np.ndarray, bias: np.ndarray) -> np.ndarray:
        above = bias + self.high * positive - self.low * negative
        below = bias - self.high * negative + self.low * positive
        return (np.maximum(above, bias) <= self.most) & (np.minimum(below, bias) >= self.least)


def descend(
    gram: np.ndarray,
    target: np.ndarray,
    mean: np.ndarray,
    offset: np.ndarray,
    limits: tuple[int, int],
    budget: Budget,
    zero_centred: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes (G, N, K) int64, bias (G, N) int64, cost (G, N)) within the budget.

    gram (G, K, K), target c (G, N, K), mean (G, K) of the inputs, offset (G, N): float64. limits: of one code.
    Starts at no weight at all and lowers an L1 penalty step by step, as on the path of a lasso, so that what the
    budget can hold is spent on the taps that matter; the last pass has no penalty. zero_centred: every channel
    whose codes do not add up to 0 is brought there at last, by the cheapest single steps.
    A channel whose mean output alone does not fit has cost inf.
    """
    groups, outputs, taps = target.shape
    q = np.zeros((groups, outputs, taps))
    gradient = -target.copy()  # of half the cost: H q - c
    positive, negative = np.zeros((groups, outputs)), np.zeros((groups, outputs))
    bias = offset.copy()
    possible = budget.holds(positive, negative, _half_up(bias))
    diagonal = np.einsum("gkk->gk", gram)
    strongest = np.abs(target).max(axis=2)

    def take(k: int, penalty: np.ndarray) -> None:
        nonlocal bias, positive, negative, gradient
        h, g, now = diagonal[:, k, None], gradient[:, :, k], q[:, :, k]
        # soft threshold of the unconstrained optimum
        free = now - g / h
        best = np.rint(np.sign(free) * np.maximum(np.abs(free) - penalty / h, 0)).clip(*limits)
        step = best - now
        taken = np.zeros_like(step)
        open_ = step != 0
        for candidate in (step, np.trunc(step / 2), np.sign(step)):
            after = now + candidate
            gain = candidate * (candidate * h + 2 * g) + 2 * penalty * (np.abs(after) - np.abs(now))
            more_p = np.maximum(after, 0) - np.maximum(now, 0)
            more_n = np.maximum(-after, 0) - np.maximum(-now, 0)
            moved = _half_up(bias - mean[:, k, None] * candidate)
            fits = budget.holds(positive + more_p, negative + more_n, moved)
            use = open_ & (candidate != 0) & (gain < 0) & fits
            taken = np.where(use, candidate, taken)
            open_ &= ~use
        if taken.any():
            after = now + taken
            positive += np.maximum(after, 0) - np.maximum(now, 0)
            negative += np.maximum(-after, 0) - np.maximum(-now, 0)
            bias -= mean[:, k, None] * taken
            gradient += taken[:, :, None] * gram[:, None, k, :]
            q[:, :, k] = after

    for place in range(_PATH + 2):
        penalty = strongest * _FALL ** (place + 1) if place < _PATH else np.zeros_like(strongest)
        for k in range(taps):
            take(k, penalty)
    if zero_centred:
        _centre(q, gradient, gram, diagonal)
        bias = offset - np.einsum("gk,gnk->gn", mean, q)
        positive, negative = np.maximum(q, 0).sum(axis=2), np.maximum(-q, 0).sum(axis=2)
    cost = np.where(possible, np.einsum("gnk,gnk->gn", q, gradient - target), np.inf)
    bias = _half_up(bias)
    held = budget.holds(positive, negative, bias)
    assert held[possible].all()  # every step was checked; centring only takes away
    return q.astype(np.int64), bias.astype(np.int64), np.where(held, cost, np.inf)


def _half_up(x: np.ndarray) -> np.ndarray:
    """Moves with its argument by whole numbers, as ties to even would not."""
    return np.floor(x + 0.5)


def _centre(q: np.ndarray, gradient: np.ndarray, gram: np.ndarray, diagonal: np.ndarray) -> None:
    """Make every channel's codes add up to 0 by taking magnitude away where it costs least."""
    while True:
        total = q.sum(axis=2)
        if not total.any():
            return
        direction = -np.sign(total)[:, :, None]
        shrinks = q * direction < 0
        cost = np.where(shrinks, diagonal[:, None, :] + 2 * direction * gradient, np.inf)
        k = cost.argmin(axis=2)
        for g, n in zip(*np.nonzero(total), strict=True):
            q[g, n, k[g, n]] += direction[g, n, 0]
            gradient[g, n] += direction[g, n, 0] * gram[g, k[g, n]]
