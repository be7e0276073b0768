"""What an exploration is after: objectives, constraints, and the box in which hypervolume is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from accelsim.errors import AccelsimError

if TYPE_CHECKING:
    import pandas

COLUMNS = {
    "accuracy": "accuracy",
    "energy": "energy_pj",
    "latency": "latency_s",
    "area": "area_mm2",
    "power": "power_w",
}
Box = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Goals:
    """objectives: accuracy rises, everything else falls. constraints: objective → least accuracy, or most of a cost."""

    objectives: tuple[str, ...]
    constraints: Mapping[str, float]

    @classmethod
    def of(cls, objectives: Sequence[str] | None, constraints: Mapping[str, float] | None, with_data: bool) -> Goals:
        chosen = tuple(objectives) if objectives is not None else ("accuracy", "energy", "area")[not with_data :]
        limits = dict(constraints or {})
        unknown = [name for name in (*chosen, *limits) if name not in COLUMNS]
        if unknown:
            raise AccelsimError(f"unknown objective {unknown[0]!r}; known: {', '.join(COLUMNS)}")
        if not chosen or len(set(chosen)) < len(chosen):
            raise AccelsimError(f"objectives must be at least one, each once, not {chosen}")
        if "accuracy" in (*chosen, *limits) and not with_data:
            raise AccelsimError("accuracy needs data=(inputs, labels)")
        for name, limit in limits.items():
            if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not np.isfinite(limit):
                raise AccelsimError(f"constraint {name!r} must be a number, not {limit!r}")
        return cls(chosen, limits)

    @property
    def columns(self) -> Mapping[str, str]:
        return COLUMNS

    @property
    def costs(self) -> tuple[str, ...]:
        """Objectives that need no data."""
        return tuple(name for name in self.objectives if name != "accuracy")

    @property
    def judges_accuracy(self) -> bool:
        return "accuracy" in self.objectives

    @property
    def least_accuracy(self) -> float:
        return self.constraints.get("accuracy", -np.inf)

    @property
    def needs_accuracy(self) -> bool:
        return self.judges_accuracy or "accuracy" in self.constraints

    def affordable(self, frame: pandas.DataFrame) -> np.ndarray:
        """bool (designs,): possible, and within the constraints on costs."""
        kept = ~np.isnan(frame["energy_pj"].to_numpy(dtype=float))
        for name, limit in self.constraints.items():
            if name != "accuracy":
                kept &= frame[COLUMNS[name]].to_numpy(dtype=float) <= limit
        return kept

    def kept(self, frame: pandas.DataFrame) -> np.ndarray:
        """bool (designs,): within all constraints, and known as far as they and the objectives ask."""
        kept = self.affordable(frame)
        if self.needs_accuracy:
            kept &= frame["accuracy"].to_numpy(dtype=float) >= self.least_accuracy
        return kept

    def box(self, frame: pandas.DataFrame, metric_range: tuple[float, float] | None) -> dict[str, tuple[float, float]]:
        """objective → (best, worst): of costs over all affordable designs, of accuracy the metric's own range."""
        rows = frame[self.affordable(frame)]
        box = {}
        for name in self.objectives:
            if name == "accuracy" and metric_range is not None:
                box[name] = (metric_range[1], metric_range[0])
            elif len(rows):
                column = rows[COLUMNS[name]].to_numpy(dtype=float)
                box[name] = (float(column.min()), float(column.max()))
            else:
                box[name] = (0.0, 1.0)
        return box

    def scaled(self, frame: pandas.DataFrame, box: Box, only_costs: bool = False) -> np.ndarray:
        """(designs, objectives): 0 at the best, 1 at the worst corner of the box; NaN where unknown."""
        columns = []
        for name in self.costs if only_costs else self.objectives:
            best, worst = box[name]
            values = frame[COLUMNS[name]].to_numpy(dtype=float)
            columns.append((values - best) / (worst - best) if worst != best else values - best)
        return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0))

    def answers(self, frame: pandas.DataFrame) -> list[list[float] | None]:
        """What a sampler is told of each design: smaller is better; None where it is no candidate."""
        signs = [-1.0 if name == "accuracy" else 1.0 for name in self.objectives]
        kept = self.kept(frame)
        rows = frame[[COLUMNS[name] for name in self.objectives]].to_numpy(dtype=float) * signs
        return [row.tolist() if good and np.isfinite(row).all() else None for row, good in zip(rows, kept, strict=True)]
