"""Integer least squares under an accumulator's budget, by coordinate descent over the weight codes.

For each output channel: min over codes q of q' H q - 2 c' q within the budget (B1) of `budget.py`.
"""

from __future__ import annotations

import numpy as np

from accelsim.frontend.recipes.budget import Budget, Quadratic, Walk, half_up

_PATH = 12  # weights of the L1 penalty, from one that leaves nothing to one that hardly matters
_FALL = 0.55
_HALVINGS = 30


def descend(
    problem: Quadratic,
    target: np.ndarray,
    mean: np.ndarray,
    offset: np.ndarray,
    limits: tuple[int, int],
    budget: Budget,
    zero_centred: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes (G, N, K) int64, bias (G, N) int64, cost (G, N)) within the budget.

    problem: of H; target c (G, N, K), mean (G, K) of the inputs, offset (G, N): float64. limits: of one code.
    Two starts, the better kept for each channel: no weight at all, with an L1 penalty lowered step by step as on the
    path of a lasso, so that what the budget can hold is spent on the taps that matter; and the least squares solution,
    shrunk into the budget and rounded tap by tap, each error passed on (`fed_back`). zero_centred: every channel
    whose codes do not add up to 0 is brought there at last, by the cheapest single steps.
    A channel whose mean output alone does not fit has cost inf.
    """
    possible = budget.holds(np.zeros_like(offset), np.zeros_like(offset), half_up(offset))
    ideal = np.linalg.solve(problem.gram, target.transpose(0, 2, 1)).transpose(0, 2, 1)
    best_q, best_cost = np.zeros_like(target), np.full(offset.shape, np.inf)
    for codes in (None, fed_back(problem, ideal, mean, offset, limits, budget)):
        walk = Walk(problem, target, mean, offset, limits, budget, codes)
        if codes is None:
            strongest = np.abs(target).max(axis=2)
            for place in range(_PATH):
                walk.once(strongest * _FALL ** (place + 1))
        walk.until_still()
        if zero_centred:
            _centre(walk.q, walk.gradient, problem.gram)
        cost = np.einsum("gnk,gnk->gn", walk.q, walk.gradient - target)
        better = cost < best_cost
        best_q = np.where(better[:, :, None], walk.q, best_q)
        best_cost = np.where(better, cost, best_cost)
    positive, negative = np.maximum(best_q, 0).sum(axis=2), np.maximum(-best_q, 0).sum(axis=2)
    bias = half_up(offset - np.einsum("gk,gnk->gn", mean, best_q))
    held = budget.holds(positive, negative, bias)
    assert held[possible].all()  # every step was checked; centring only takes away
    return best_q.astype(np.int64), bias.astype(np.int64), np.where(held & possible, best_cost, np.inf)


def fed_back(
    problem: Quadratic,
    ideal: np.ndarray,
    mean: np.ndarray,
    offset: np.ndarray,
    limits: tuple[int, int],
    budget: Budget,
) -> np.ndarray:
    """Codes (G, N, K) within the budget, rounded by falling energy of the taps, each error passed on as in GPTQ.

    ideal: the least squares solution. Where it does not fit, all its taps are brought nearer to 0 by the same amount
    first, the least that makes it fit; what each tap then takes is what the budget still holds (as AXE does: Colbert
    et al., Accumulator-Aware Post-Training Quantization, 2024).
    """
    walk, factor = Walk(problem, np.zeros_like(ideal), mean, offset, limits, budget), problem.factor
    left = _shrunk(ideal, mean, offset, budget)[:, :, problem.order]
    for place, k in enumerate(problem.order):
        wanted = np.rint(left[:, :, place]).clip(*limits)
        codes = walk.largest_step(k, wanted)
        walk.move(k, codes)
        error = (left[:, :, place] - codes) / factor[:, place, place, None]
        left[:, :, place + 1 :] -= error[:, :, None] * factor[:, None, place, place + 1 :]
    return walk.q


def _shrunk(ideal: np.ndarray, mean: np.ndarray, offset: np.ndarray, budget: Budget) -> np.ndarray:
    """sign(w) max(|w| - t, 0) with the least t (G, N) at which real weights fit the budget, by bisection."""
    low, high = np.zeros_like(offset), np.abs(ideal).max(axis=2)

    def at(t: np.ndarray) -> np.ndarray:
        return np.sign(ideal) * np.maximum(np.abs(ideal) - t[:, :, None], 0)

    def fits(w: np.ndarray) -> np.ndarray:
        positive, negative = np.maximum(w, 0).sum(axis=2), np.maximum(-w, 0).sum(axis=2)
        return budget.holds(positive, negative, offset - np.einsum("gk,gnk->gn", mean, w))

    high = np.where(fits(ideal), 0.0, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        good = fits(at(middle))
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return at(high)


def _centre(q: np.ndarray, gradient: np.ndarray, gram: np.ndarray) -> None:
    """Make every channel's codes add up to 0 by taking magnitude away where it costs least."""
    diagonal = np.einsum("gkk->gk", gram)
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
