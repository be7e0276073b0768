"""Designs that a search proposes: optuna's samplers over the knobs, in batches, so that workers find work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.search.knobs import Space

SAMPLERS = ("nsga2", "tpe")


class Proposals:
    """Ask for designs, tell what became of them. The same seed and answers give the same designs.

    objectives: how many; smaller is better. storage: an optuna storage URL, or the path of a journal file; trials
    that are there already teach the sampler.
    """

    def __init__(self, space: Space, objectives: int, sampler: str, seed: int, storage: str | None, name: str) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise AccelsimError("method 'optuna' needs optuna: pip install 'accelsim[explore]'") from error
        if sampler not in SAMPLERS:
            raise AccelsimError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if sampler == "nsga2":
            chosen: Any = optuna.samplers.NSGAIISampler(seed=seed)
        else:
            chosen = optuna.samplers.TPESampler(seed=seed, n_startup_trials=32)
        self.space, self._failed = space, optuna.trial.TrialState.FAIL
        self._distributions = {
            knob.name: optuna.distributions.IntDistribution(0, len(knob.values) - 1)
            if knob.ordered
            else optuna.distributions.CategoricalDistribution(tuple(range(len(knob.values))))
            for knob in space.knobs
            if len(knob.values) > 1
        }
        self._study = optuna.create_study(
            directions=["minimize"] * objectives,
            sampler=chosen,
            storage=_storage(storage),
            study_name=name,
            load_if_exists=True,
        )
        self._asked: list[Any] = []

    def ask(self, count: int) -> np.ndarray:
        """Indices (count, knobs)."""
        self._asked = [self._study.ask(self._distributions) for _ in range(count)]
        rows = [[trial.params.get(knob.name, 0) for knob in self.space.knobs] for trial in self._asked]
        return np.array(rows, dtype=np.int64).reshape(count, len(self.space.knobs))

    def tell(self, values: Sequence[Sequence[float] | None]) -> None:
        """Objectives of each design that was asked for; None where it is impossible or breaks a constraint."""
        for trial, value in zip(self._asked, values, strict=True):
            if value is None:
                self._study.tell(trial, state=self._failed)
            else:
                self._study.tell(trial, list(value))


def _storage(storage: str | None) -> Any:
    if storage is None or "://" in storage:
        return storage
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(storage))
