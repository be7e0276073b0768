"""Range setting (paper, section 3.1): min-max, percentile and least squared error.

Activations are seen as histograms, weights as they are. All arrays are NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 4096
_CANDIDATES = 80  # clipping fractions tried by the MSE search
_SMALLEST_FRACTION = 0.2


@dataclass
class Histogram:
    """Counts of one tensor's values in equal bins between its smallest and largest value."""

    lower: float
    upper: float
    counts: np.ndarray

    @classmethod
    def over(cls, lower: float, upper: float) -> Histogram:
        return cls(lower, upper, np.zeros(BINS, np.int64))

    def add(self, counts: np.ndarray) -> None:
        """More values, already counted in `BINS` equal bins over the same range."""
        self.counts += counts.astype(np.int64)

    @property
    def centres(self) -> np.ndarray:
        edges = np.linspace(self.lower, self.upper, BINS + 1)
        return (edges[:-1] + edges[1:]) / 2

    def percentile(self, percent: float) -> tuple[float, float]:
        """The range that keeps `percent` of the values, equal tails cut on both sides."""
        tail = (100 - percent) / 200
        share = np.cumsum(self.counts) / self.counts.sum()
        edges = np.linspace(self.lower, self.upper, BINS + 1)
        low = int(np.searchsorted(share, tail, side="right"))
        high = int(np.searchsorted(share, 1 - tail, side="left"))
        return float(edges[min(low, BINS - 1)]), float(edges[min(high, BINS - 1) + 1])

    def least_squared_error(self, bits: int, symmetric: bool) -> tuple[float, float]:
        """argmin over ranges of sum(count * (v - quantized(v))^2): both ends shrunk together, then each alone."""
        seen = self.counts > 0
        values, counts = self.centres[seen], self.counts[seen].astype(np.float64)
        lower, upper = min(self.lower, 0.0), max(self.upper, 0.0)
        fractions = np.linspace(_SMALLEST_FRACTION, 1.0, _CANDIDATES)
        if symmetric:
            limit = max(-lower, upper)
            best = _best(values, counts, -limit * fractions, limit * fractions, bits)
            return -limit * fractions[best], limit * fractions[best]
        best = _best(values, counts, lower * fractions, upper * fractions, bits)
        low, high = lower * fractions[best], upper * fractions[best]
        if upper > 0 > lower:
            highs = upper * fractions
            high = highs[_best(values, counts, np.full(_CANDIDATES, low), highs, bits)]
            lows = lower * fractions
            low = lows[_best(values, counts, lows, np.full(_CANDIDATES, high), bits)]
        return float(low), float(high)


def _best(values: np.ndarray, counts: np.ndarray, lows: np.ndarray, highs: np.ndarray, bits: int) -> int:
    """Index of the candidate range with the least squared error; the widest of equals."""
    levels = (1 << bits) - 1
    scales = (highs - lows) / levels
    zeros = np.rint(-lows / scales)
    errors = np.empty(len(lows))
    for i, (scale, zero) in enumerate(zip(scales, zeros, strict=True)):
        codes = np.clip(np.rint(values / scale) + zero, 0, levels)
        errors[i] = counts @ np.square(values - scale * (codes - zero))
    return int(len(errors) - 1 - np.argmin(errors[::-1]))


def weight_limits(
    rows: np.ndarray, method: str, bits: int, symmetric: bool, percentile: float
) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) for each row of a (channels, values) float array."""
    lower, upper = np.minimum(rows.min(axis=1), 0), np.maximum(rows.max(axis=1), 0)
    if method == "percentile":
        tail = (100 - percentile) / 2
        low, high = np.percentile(rows, [tail, 100 - tail], axis=1)
        return np.minimum(low, 0), np.maximum(high, 0)
    if method == "mse":
        return _weight_mse(rows, lower, upper, bits, symmetric)
    return lower, upper


def _weight_mse(
    rows: np.ndarray, lower: np.ndarray, upper: np.ndarray, bits: int, symmetric: bool
) -> tuple[np.ndarray, np.ndarray]:
    if symmetric:
        upper = np.maximum(-lower, upper)
        lower = -upper
    # a symmetric grid is -2^(b-1) .. 2^(b-1)-1 with the scale upper / (2^(b-1)-1)
    qmin, qmax = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    best_error = np.full(len(rows), np.inf)
    best_fraction = np.ones(len(rows))
    for fraction in np.linspace(1.0, _SMALLEST_FRACTION, _CANDIDATES):
        span = upper if symmetric else upper - lower
        scale = np.maximum(fraction * span / (qmax if symmetric else qmax - qmin), np.finfo(np.float32).tiny)
        zero = np.zeros_like(scale) if symmetric else np.rint(qmin - fraction * lower / scale)
        codes = np.clip(np.rint(rows / scale[:, None]) + zero[:, None], qmin, qmax)
        error = np.square(rows - scale[:, None] * (codes - zero[:, None])).sum(axis=1)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_fraction = np.where(better, fraction, best_fraction)
    return lower * best_fraction, upper * best_fraction
