"""Which accuracy simulation comes next, and which can be left out because its designs cannot reach the front.

Costs of all designs are known; designs that compute the same integers ("configurations") share an accuracy. A
configuration cannot reach the front once each of its designs costs no less, in every objective, than some design
whose accuracy is known and at least as high as the configuration's can be. It can be as high as the metric's best
value, or, where `monotone` is given, as that of the least accurate known configuration with at least its widths, plus
`monotone`. Those left are simulated where they promise the largest gain of hypervolume first; promises rest on
the known accuracies of wider and of narrower configurations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accelsim.search.fronts import nondominated

SAMPLES = 8192  # places in the box by which promises are measured
#: where between the known accuracies of narrower (0) and wider (1) configurations one is expected: tried on a measured
#: and on a made-up network, where 0.8 lost least
HOPE = 0.8


@dataclass(frozen=True)
class Configuration:
    """kind: configurations of another kind are not compared; widths: rising numbers in which wider is better."""

    kind: str
    widths: tuple[float, ...]


class Reach:
    """costs: (designs, objectives) within 0 (best) … 1 (worst); of: the configuration of each design; best, worst:
    values of the metric; least: what a constraint asks; judged: whether accuracy is an objective itself.
    """

    def __init__(
        self,
        configurations: Sequence[Configuration],
        costs: np.ndarray,
        of: np.ndarray,
        *,
        best: float,
        worst: float,
        least: float,
        judged: bool,
        monotone: float | None,
    ) -> None:
        count = len(configurations)
        self.best, self.worst, self.least, self.judged, self.monotone = best, worst, least, judged, monotone
        rows = [costs[of == c] for c in range(count)]
        #: of each configuration, the designs that can be on a front at all
        self.costs = [r[nondominated(r)] if len(r) else r for r in rows]
        kinds = np.array([c.kind for c in configurations])
        widths = [c.widths for c in configurations]
        self.wider = [
            np.array(
                [
                    kinds[d] == kinds[c] and len(widths[d]) == len(widths[c])
                    and all(x >= y for x, y in zip(widths[d], widths[c], strict=True))
                    for d in range(count)
                ],
                dtype=bool,
            )
            for c in range(count)
        ]  # fmt: skip
        self.narrower = [np.array([self.wider[d][c] for d in range(count)], dtype=bool) for c in range(count)]
        self.known = np.full(count, np.nan)
        self.tried = np.zeros(count, dtype=bool)
        box = np.random.default_rng(0).random((SAMPLES, costs.shape[1] + 1))
        self._level, places = box[:, 0], box[:, 1:]
        self._within = [self._beaten(places, r) for r in self.costs]

    @staticmethod
    def _beaten(places: np.ndarray, rows: np.ndarray) -> np.ndarray:
        beaten = np.zeros(len(places), dtype=bool)
        for row in rows:
            beaten |= (row <= places).all(axis=1)
        return beaten

    def learn(self, configuration: int, accuracy: float) -> None:
        """NaN: the simulation failed."""
        self.known[configuration] = accuracy
        self.tried[configuration] = True

    def bound(self, configuration: int) -> float:
        """No less than the accuracy that the configuration can have."""
        wider = self.known[self.wider[configuration] & ~np.isnan(self.known)]
        if self.monotone is None or not len(wider):
            return self.best
        return float(min(self.best, wider.min() + self.monotone))

    def excess(self) -> float:
        """By how much a known configuration is more accurate than a wider one, at most; 0 where none is."""
        there = np.flatnonzero(~np.isnan(self.known))
        gains = [self.known[c] - self.known[d] for c in there for d in there if self.wider[c][d]]
        return float(max([0.0, *gains]))

    def reachable(self) -> list[int]:
        """Configurations that are not known and may have a design on the front."""
        found = [c for c in range(len(self.known)) if not np.isnan(self.known[c])]
        left = []
        for c in np.flatnonzero(~self.tried).tolist():
            bound = self.bound(c)
            if bound < self.least or not len(self.costs[c]):
                continue
            # an accuracy that is no objective counts only as allowed or not
            enough = bound if self.judged else self.least
            rivals = [self.costs[d] for d in found if self.known[d] >= max(enough, self.least)]
            if not rivals or not self._all_beaten(self.costs[c], np.concatenate(rivals)):
                left.append(c)
        return left

    @staticmethod
    def _all_beaten(rows: np.ndarray, rivals: np.ndarray) -> bool:
        return all((rivals <= row).all(axis=1).any() for row in rows)

    def next(self, count: int) -> list[int]:
        """Up to so many reachable configurations, the most promising first; what is picked is taken as promised."""
        left = self.reachable()
        picked: list[int] = []
        covered = np.zeros(SAMPLES, dtype=bool)
        assumed = self.known.copy()
        for known in np.flatnonzero(~np.isnan(self.known)).tolist():
            covered |= self._covers(known, self.known[known])
        while left and len(picked) < count:
            promises = [float(np.mean(self._covers(c, self._expected(c, assumed)) & ~covered)) for c in left]
            c = left.pop(int(np.argmax(promises)))
            assumed[c] = self._expected(c, assumed)
            covered |= self._covers(c, assumed[c])
            picked.append(c)
        return picked

    def _covers(self, configuration: int, accuracy: float) -> np.ndarray:
        """Places of the box that its designs dominate at an accuracy."""
        if accuracy < self.least:
            return np.zeros(SAMPLES, dtype=bool)
        if not self.judged:
            return self._within[configuration]
        level = (self.best - accuracy) / (self.best - self.worst)
        return self._within[configuration] & (self._level >= level)

    def _expected(self, configuration: int, known: np.ndarray) -> float:
        there = ~np.isnan(known)
        high = known[self.wider[configuration] & there].min(initial=self.best)
        low = known[self.narrower[configuration] & there].max(initial=min(self.worst, high))
        return float(HOPE * high + (1 - HOPE) * min(low, high))
