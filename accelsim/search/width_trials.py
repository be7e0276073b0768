"""Trials of a search over widths: what one narrow width harms, what an allocation brings; each is made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric, score
from accelsim.search.allocation import Choice
from accelsim.search.engine import Run
from accelsim.search.width_space import WidthSpace
from accelsim.simulator import simulate
from accelsim.store import ResultFile, digest

#: a harm's (layer, "weight" | "activation", bits), or a whole allocation
Task = Choice | tuple[str, str, int]


@dataclass(frozen=True)
class Judged:
    """What every trial needs: the space, and the data that allocations are judged on."""

    space: WidthSpace
    inputs: Any
    labels: np.ndarray
    metric: Metric


def trial(shared: Judged, task: Task) -> Any:
    """The harm of one narrow width; or accuracy, cost and error of an allocation."""
    space = shared.space
    if not isinstance(task, Choice):
        return space.harm(task)
    graph = space.graph_of(task)
    return {
        "accuracy": score(shared.metric, simulate(graph, shared.inputs, space.spec).real(), shared.labels),
        "cost": space.cost_of(graph),
        "error": space.error(graph),
    }


class WidthTrials:
    """Called with tasks: their values, in the same order. What the results file holds is not computed again.

    origin: hash of all that values depend on beside the task. count: called once per task.
    """

    def __init__(self, run: Run, store: ResultFile, origin: str, count: Callable[[], None]) -> None:
        self._run, self._store, self._origin, self._count = run, store, origin, count

    def __call__(self, tasks: Sequence[Task]) -> list[Any]:
        """Raises AccelsimError where a trial fails, after the others are computed and kept."""
        keys = [self._key(task) for task in tasks]
        missing = [i for i, key in enumerate(keys) if self._store.get(key) is None]
        for _ in range(len(tasks) - len(missing)):
            self._count()
        failed: list[str] = []
        for outcome in self._run([tasks[i] for i in missing]) if missing else ():
            if outcome.error:
                failed.append(outcome.error)
            else:
                self._store.put(keys[missing[outcome.number]], {"value": outcome.value})
            self._count()
        if failed:
            raise AccelsimError(
                f"{len(failed)} of {len(tasks)} trials of the search over widths failed; the first: {failed[0]}"
            )
        return [self._store.found[key]["value"] for key in keys]

    def _key(self, task: Task) -> str:
        named = [dict(task.weights), dict(task.activations)] if isinstance(task, Choice) else list(task)
        return digest(self._origin, named)
