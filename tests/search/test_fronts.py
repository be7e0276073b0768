"""Fronts and hypervolumes against counting, and which configurations can still reach a front."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from accelsim.search.fronts import hypervolume, nondominated
from accelsim.search.reach import Configuration, Reach


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_is_what_counting_cells_gives(objectives: int) -> None:
    random, steps = np.random.default_rng(objectives), 6
    for count in (0, 1, 2, 9, 25):
        places = random.integers(0, steps + 2, (count, objectives))  # some on and beyond the reference
        cells = itertools.product(range(steps), repeat=objectives)
        covered = sum(any(all(p <= c for p, c in zip(place, cell, strict=True)) for place in places) for cell in cells)
        assert hypervolume(places / steps) == pytest.approx(covered / steps**objectives, abs=1e-12)
    assert hypervolume(np.zeros((1, objectives))) == 1 and hypervolume(np.ones((1, objectives))) == 0


def test_nondominated_is_what_nobody_beats() -> None:
    random = np.random.default_rng(0)
    for objectives in (1, 2, 3):
        points = random.integers(0, 5, (40, objectives)).astype(float)
        points[3] = np.nan
        front = nondominated(points)
        for i, point in enumerate(points):
            beaten = any((other <= point).all() and (other < point).any() for other in points)
            assert front[i] == (not beaten and i != 3)


def space(seed: int, count: int = 12, each: int = 6) -> tuple:
    """(configurations, costs, configuration of each design, accuracies that rise with the widths)."""
    random = np.random.default_rng(seed)
    widths = [tuple(map(float, random.integers(2, 9, 2))) for _ in range(count)]
    of = np.repeat(np.arange(count), each)
    base = np.array([w[0] + w[1] for w in widths])[of] / 20
    costs = np.clip(base[:, None] * random.uniform(0.4, 1.2, (len(of), 2)), 0, 1)
    accuracies = np.array([min(1.0, 0.4 + 0.05 * w[0] + 0.03 * w[1]) for w in widths])
    return [Configuration("a", w) for w in widths], costs, of, accuracies


def explored(reach: Reach, accuracies: np.ndarray, batch: int) -> int:
    simulated = 0
    while chosen := reach.next(batch):
        for c in chosen:
            reach.learn(c, accuracies[c])
            simulated += 1
    return simulated


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("monotone", [None, 0.0])
def test_what_is_left_out_could_not_reach_the_front(seed: int, monotone: float | None) -> None:
    configurations, costs, of, accuracies = space(seed)
    for least, judged, best in ((-np.inf, True, 1.0), (0.7, True, 1.0), (0.7, False, 1.0), (-np.inf, True, 0.8)):
        truth = np.minimum(accuracies, best)
        reach = Reach(configurations, costs, of, best=best, worst=0.2, least=least, judged=judged, monotone=monotone)
        explored(reach, truth, 3)
        kept = truth[of] >= least
        first = [-truth[of][:, None]] if judged else []
        values = np.where(kept[:, None], np.concatenate([*first, costs], axis=1), np.nan)
        whole = hypervolume_of(values[kept], best)
        known = kept & ~np.isnan(reach.known[of])
        assert hypervolume_of(values[known], best) == pytest.approx(whole, abs=1e-12)


def hypervolume_of(values: np.ndarray, best: float) -> float:
    scaled = values.copy()
    if scaled.shape[1] == 3:
        scaled[:, 0] = (best + scaled[:, 0]) / (best - 0.2)
    return hypervolume(scaled)


def test_a_narrower_configuration_that_gains_is_not_left_out_by_default() -> None:
    """Without `monotone` nothing is taken for granted: a dearer, narrower and better configuration is found."""
    configurations = [Configuration("a", (8.0,)), Configuration("a", (4.0,))]
    costs, of = np.array([[0.1], [0.5]]), np.array([0, 1])
    for monotone, simulated in ((None, 2), (0.05, 2), (0.0, 1)):
        ends = {"best": 1.0, "worst": 0.0, "least": -np.inf}
        reach = Reach(configurations, costs, of, **ends, judged=True, monotone=monotone)
        reach.learn(0, 0.5)
        assert 1 + explored(reach, np.array([0.5, 0.9]), 1) == simulated
    assert reach.excess() == 0


def test_a_bound_that_is_reached_ends_the_search() -> None:
    configurations = [Configuration("a", (8.0,)), Configuration("b", (4.0,)), Configuration("c", (2.0,))]
    costs, of = np.array([[0.1, 0.1], [0.5, 0.5], [0.05, 0.9]]), np.array([0, 1, 2])
    reach = Reach(configurations, costs, of, best=1.0, worst=0.0, least=-np.inf, judged=True, monotone=None)
    assert reach.reachable() == [0, 1, 2]
    reach.learn(0, 0.999)
    assert reach.reachable() == [1, 2]
    reach.learn(0, 1.0)
    assert reach.reachable() == [2]


def test_promises_lead_to_more_than_chance() -> None:
    configurations, costs, of, accuracies = space(11, count=40)
    values = np.concatenate([-accuracies[of][:, None], costs], axis=1)
    reach = Reach(configurations, costs, of, best=1.0, worst=0.2, least=-np.inf, judged=True, monotone=None)
    for _ in range(2):
        for c in reach.next(4):
            reach.learn(c, accuracies[c])
    guided = hypervolume_of(values[~np.isnan(reach.known[of])], 1.0)
    random = np.random.default_rng(0)
    by_chance = [hypervolume_of(values[np.isin(of, random.choice(40, 8, False))], 1.0) for _ in range(40)]
    assert guided > np.quantile(by_chance, 0.9)
