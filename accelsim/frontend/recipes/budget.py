"""Weight codes that move within an accumulator's budget.

Over every input u in [low, high] (codes, zero point taken off) and every prefix of the sum, bias included, the
accumulator stays within [least, most]:
    bias + high P + |low| M <= most,   bias - high M - |low| P >= least                                  (B1)
with P, M the sums of positive and of negative codes' magnitudes, and bias = offset - mean' q, what makes the mean
output right. Each partial sum lies between the two ends because the maximum over u of any product is >= 0.
With sum(q) = 0 and no bias this is the A2Q+ condition ||q||_1 <= (2^P - 2) / (2^N - 1) (Colbert et al., 2024); the
signed form needs no zero-centred weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_PASSES = 8  # at most, without a penalty


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


@dataclass(frozen=True, eq=False)
class Quadratic:
    """gram (G, K, K), float64, positive definite, and what is computed from it once."""

    gram: np.ndarray

    @cached_property
    def order(self) -> np.ndarray:
        """Taps by falling energy, (K,)."""
        return np.argsort(-np.einsum("gkk->gk", self.gram).sum(axis=0), kind="stable")

    @cached_property
    def factor(self) -> np.ndarray:
        """Upper Cholesky factor of the inverse, taps in `order`: (G, K, K)."""
        ordered = self.gram[:, self.order][:, :, self.order]
        return np.linalg.cholesky(np.linalg.inv(ordered)).transpose(0, 2, 1)


class Walk:
    """Codes that move tap by tap, each step within the budget and downhill. codes: where it starts (default 0)."""

    def __init__(
        self,
        problem: Quadratic,
        target: np.ndarray,
        mean: np.ndarray,
        offset: np.ndarray,
        limits: tuple[int, int],
        budget: Budget,
        codes: np.ndarray | None = None,
    ) -> None:
        self.gram, self.mean, self.limits, self.budget = problem.gram, mean, limits, budget
        self.q = np.zeros_like(target) if codes is None else codes
        self.gradient = np.matmul(self.q, self.gram) - target  # of half the cost: H q - c
        self.positive = np.maximum(self.q, 0).sum(axis=2)
        self.negative = np.maximum(-self.q, 0).sum(axis=2)
        self.bias = offset - np.einsum("gk,gnk->gn", mean, self.q)

    def once(self, penalty: np.ndarray) -> bool:
        """Every tap once, with an L1 penalty (G, N); whether any code moved."""
        moved = [self._take(k, penalty) for k in range(self.q.shape[2])]
        return any(moved)

    def until_still(self) -> None:
        none = np.zeros_like(self.bias)
        for _ in range(_PASSES):
            if not self.once(none):
                break

    def _take(self, k: int, penalty: np.ndarray) -> bool:
        h, g, now = self.gram[:, k, k, None], self.gradient[:, :, k], self.q[:, :, k]
        # soft threshold of the unconstrained optimum
        free = now - g / h
        best = np.rint(np.sign(free) * np.maximum(np.abs(free) - penalty / h, 0)).clip(*self.limits)
        step = best - now
        taken = np.zeros_like(step)
        open_ = step != 0
        if not open_.any():
            return False
        for candidate in (step, np.trunc(step / 2), np.sign(step)):
            after = now + candidate
            gain = candidate * (candidate * h + 2 * g) + 2 * penalty * (np.abs(after) - np.abs(now))
            use = open_ & (candidate != 0) & (gain < 0) & self._fits(k, candidate)
            taken = np.where(use, candidate, taken)
            open_ &= ~use
        return self.move(k, taken)

    def _fits(self, k: int, step: np.ndarray) -> np.ndarray:
        now, after = self.q[:, :, k], self.q[:, :, k] + step
        positive = self.positive + np.maximum(after, 0) - np.maximum(now, 0)
        negative = self.negative + np.maximum(-after, 0) - np.maximum(-now, 0)
        return self.budget.holds(positive, negative, half_up(self.bias - self.mean[:, k, None] * step))

    def move(self, k: int, step: np.ndarray) -> bool:
        """Add the steps (G, N) to tap k; whether any is not 0."""
        rows = np.nonzero(step)
        if not len(rows[0]):
            return False
        now, after = self.q[:, :, k], self.q[:, :, k] + step
        self.positive += np.maximum(after, 0) - np.maximum(now, 0)
        self.negative += np.maximum(-after, 0) - np.maximum(-now, 0)
        self.bias -= self.mean[:, k, None] * step
        self.gradient[rows] += step[rows][:, None] * self.gram[rows[0], k]
        self.q[:, :, k] = after
        return True

    def largest_step(self, k: int, wanted: np.ndarray) -> np.ndarray:
        """The largest part of the wanted steps (G, N) that the budget holds, whole numbers."""
        low, high = np.zeros_like(wanted), np.abs(wanted)
        while (low < high).any():
            middle = np.ceil((low + high) / 2)
            fits = self._fits(k, np.sign(wanted) * middle)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
        return np.sign(wanted) * low


def half_up(x: np.ndarray) -> np.ndarray:
    """Moves with its argument by whole numbers, as ties to even would not."""
    return np.floor(x + 0.5)
