"""Pareto fronts and their hypervolume. Every objective is made smaller-is-better before it comes here."""

from __future__ import annotations

import numpy as np


def nondominated(points: np.ndarray) -> np.ndarray:
    """bool (N,): rows that no other row beats in one column without losing in another; equal rows stay together.

    points: (N, objectives), smaller is better. Raises nothing; a row with NaN is never on the front.
    """
    known = np.flatnonzero(~np.isnan(points).any(axis=1))
    front = np.zeros(len(points), dtype=bool)
    if not len(known):
        return front
    rows, which = np.unique(points[known], axis=0, return_inverse=True)
    # sorted by the first column, a row can only be beaten by an earlier one
    kept: list[int] = []
    for i, row in enumerate(rows):
        if not kept or not (rows[kept] <= row).all(axis=1).any():
            kept.append(i)
    front[known] = np.isin(which.reshape(-1), kept)
    return front


def hypervolume(points: np.ndarray) -> float:
    """Volume of the unit box that the points dominate: rows in [0, 1], smaller is better, reference (1, …, 1).

    Exact, by slicing along the last objective (While et al., "A faster algorithm for calculating hypervolume", 2006).
    """
    inside = points[(points < 1).all(axis=1)] if len(points) else points
    if not len(inside):
        return 0.0
    inside = np.clip(inside, 0, None)
    return _volume(inside[nondominated(inside)])


def _volume(front: np.ndarray) -> float:
    if front.shape[1] == 1:
        return float(1 - front.min())
    if front.shape[1] == 2:
        rows = front[np.lexsort((front[:, 1], front[:, 0]))]
        heights = np.minimum.accumulate(rows[:, 1])
        widths = np.diff(np.append(rows[:, 0], 1.0))
        return float((widths * (1 - heights)).sum())
    rows = front[np.argsort(front[:, -1], kind="stable")]
    depths = np.diff(np.append(rows[:, -1], 1.0))
    total, kept = 0.0, np.zeros((0, front.shape[1] - 1))
    for row, depth in zip(rows[:, :-1], depths, strict=True):
        if not (kept <= row).all(axis=1).any():
            kept = np.vstack([kept[~(row <= kept).all(axis=1)], row])
            slab = _volume(kept)
        total += depth * slab
    return float(total)
