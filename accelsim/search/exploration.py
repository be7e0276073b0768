"""explore: hardware and bits together. Costs of thousands of designs as columns, accuracy only where it can matter."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec
from accelsim.search.designs import Designs
from accelsim.search.engine import check_engine
from accelsim.search.fronts import hypervolume, nondominated
from accelsim.search.goals import Goals
from accelsim.search.integers import Network
from accelsim.search.knobs import Space, SpecBuilder, space_of
from accelsim.search.network import network_of
from accelsim.search.proposals import Proposals
from accelsim.search.trials import Trials

if TYPE_CHECKING:
    import pandas

METHODS = ("grid", "random", "optuna")
#: what is tried where nothing is said
KNOBS: dict[str, Any] = {
    "weight_bits": (2, 3, 4, 6, 8),
    "activation_bits": (4, 6, 8),
    "array": ((8, 8), (16, 16), (32, 32)),
    "dataflow": ("weight_stationary", "output_stationary"),
}
LARGEST_GRID = 200_000
Progress = Callable[[str, int, int, int], None]


@dataclass(frozen=True)
class Exploration:
    """The designs of an exploration.

    frame: one row per design: a column per knob (and "spec"), energy_pj, latency_s, power_w, area_mm2, dram_bytes of
    one inference of batch 1, accuracy and sqnr_db where they are known, status, front. status: "known" (accuracy
    simulated, for it or for a design with the same integers), "priced" (no data given), "out of reach" (its accuracy
    cannot matter), "left out" (beyond the number of simulations), "refused" (breaks a constraint), "impossible" (why:
    in `problems`, by row), "failed" (its simulation raised: in `problems`, too).
    objectives, constraints: as asked. box: objective → (best, worst), the corners that hypervolume is measured
    between. history: (accuracy simulations, seconds, hypervolume as a fraction of the box), after each simulation.
    configurations: different integer configurations among the designs that keep the constraints on costs;
    simulations: how many accuracy simulations were made (now or in an earlier run whose results were found).
    """

    network: str
    knobs: Mapping[str, tuple[Any, ...]]
    method: str
    objectives: tuple[str, ...]
    constraints: Mapping[str, float]
    frame: pandas.DataFrame
    problems: Mapping[int, str]
    box: Mapping[str, tuple[float, float]]
    history: tuple[tuple[int, float, float], ...]
    configurations: int
    simulations: int
    float_accuracy: float | None
    notes: tuple[str, ...]
    _space: Space
    _indices: np.ndarray

    @property
    def front(self) -> pandas.DataFrame:
        """Designs that no other beats in one objective without losing in another, by rising first cost."""
        goals = Goals(self.objectives, self.constraints)
        front = self.frame[self.frame.front]
        return front.sort_values(
            [goals.columns[name] for name in self.objectives if name != "accuracy"] or ["accuracy"]
        )

    def hypervolume(self, box: Mapping[str, tuple[float, float]] | None = None) -> float:
        """Of the front, as a fraction of a box (this exploration's own, where none is given)."""
        goals = Goals(self.objectives, self.constraints)
        return hypervolume(goals.scaled(self.frame[self.frame.front], box or self.box))

    def design(self, row: int) -> tuple[dict[str, Any], AcceleratorSpec]:
        """(fields of QuantConfig, spec) of a row: what `from_torch` and `evaluate` take."""
        index = self._indices[row]
        spec = SpecBuilder(self._space).of(index)
        if isinstance(spec, str):
            raise AccelsimError(f"design {row} is impossible: {spec}")
        return self._space.quantized(index), spec

    def save(self, path: str | Path) -> Path:
        """Write .html (fronts, parallel coordinates, tables), .json or .csv."""
        from accelsim.report.exploration import save_exploration

        return save_exploration(self, path)

    def __str__(self) -> str:
        from accelsim.report.exploration import summary

        return "\n".join(summary(self))

    def _repr_html_(self) -> str:
        return self.front.to_html(index=False)


def explore(
    model: Any,
    calibration: Any = None,
    data: Any = None,
    *,
    knobs: Mapping[str, Any] | None = None,
    spec: str | Path | AcceleratorSpec | Sequence[Any] = "edge-16x16",
    objectives: Sequence[str] | None = None,
    constraints: Mapping[str, float] | None = None,
    method: str = "grid",
    designs: int | None = None,
    simulations: int | None = None,
    monotone: float | None = None,
    metric: Metric = "top1",
    metric_range: tuple[float, float] | None = None,
    seed: int = 0,
    sampler: str = "nsga2",
    storage: str | None = None,
    batch: int = 4,
    results: str | Path | None = None,
    progress: Progress | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    **config: Any,
) -> Exploration:
    """Search accelerators and bit widths together for designs that nothing beats.

    model, calibration: as `from_torch`; or an IntegerGraph, whose widths are fixed then. data: (inputs, labels); None:
        costs alone.
    knobs: name → values. Names: weight_bits, activation_bits and other fields of QuantConfig; array ((rows, cols)
        pairs), dataflow, pe, accumulator_bits, overflow, buffer_bytes, bandwidth_bytes_per_cycle; any dotted field of
        a spec. Several specs are a knob, too.
    objectives: of "accuracy", "energy", "latency", "area", "power" (default: accuracy where data are given, energy and
        area). constraints: objective → least accuracy, or most pJ, s, mm², W.
    method: "grid" (all combinations), "random" (`designs` of them) or "optuna" (`designs` proposals of its `sampler`,
        "nsga2" or "tpe"; storage: an optuna storage URL or a journal file, to continue and to look at with its tools).
    simulations: most accuracy simulations; they go where the most hypervolume is promised. None: all that can matter.
    monotone: take for granted that narrower widths or accumulators gain no more than this much accuracy: designs that
        then cannot reach the front are not simulated. None: nothing is taken for granted but the metric's best value.
    metric, metric_range: as `evaluate`; (worst, best) value of a metric that is a function ("top1": chance, 1).
    batch: configurations simulated between two looks at the front. The result depends on it, not on the workers.
    results: a JSON-lines file; accuracies found there are not simulated again. progress: called with ("designs" or
        "simulations", done, in all, failures). engine, workers, address: as `sweep`. config: other QuantConfig fields.
    Costs rest on a short list of tilings per layer (see accelsim.search.costing): at most a few per cent above those
    of `cost`, never below. Raises AccelsimError for wrong knobs, values, objectives or constraints.
    """
    check_engine(engine, workers, address)
    if method not in METHODS:
        raise AccelsimError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    if method != "grid" and (designs is None or designs < 1):
        raise AccelsimError(f"method {method!r} needs designs=N, at least 1")
    if batch < 1 or (simulations is not None and simulations < 0):
        raise AccelsimError("batch must be at least 1, simulations at least 0")
    start = time.monotonic()
    goals = Goals.of(objectives, constraints, with_data=data is not None)
    quantizing = not isinstance(model, IntegerGraph)
    if knobs is None:
        knobs = {k: v for k, v in KNOBS.items() if quantizing or not k.endswith("_bits")}
    space = space_of(knobs, spec, quantizing)
    if method == "grid" and space.size > LARGEST_GRID:
        raise AccelsimError(f"{space.size} designs are too many for a grid: method 'random' or 'optuna' takes a part")
    network, about = network_of(model, calibration, data, metric, config, results is not None)
    known = Designs(space, network)
    with ExitStack() as stack:
        trials = None
        if data is not None:
            keywords = {"engine": engine, "workers": workers, "address": address}
            trials = stack.enter_context(
                Trials.open(network, about.origin, results, goals, about.range_of(metric_range), monotone, **keywords)
            )
        if method == "optuna":
            indices = _proposed(
                space, known, trials, goals, designs or 0, simulations, sampler, seed, storage, progress
            )
        else:
            indices = space.every() if method == "grid" else space.random(designs or 0, seed)
            known.add(indices)
            if progress:
                progress("designs", len(indices), len(indices), 0)
            if trials is not None:
                trials.reach_for(known, indices, simulations, batch, progress)
    return _result(network, about, space, known, trials, goals, indices, method, start)


PROPOSED = 32  # designs between two answers to the sampler


def _proposed(
    space: Space,
    known: Designs,
    trials: Trials | None,
    goals: Goals,
    count: int,
    simulations: int | None,
    sampler: str,
    seed: int,
    storage: str | None,
    progress: Progress | None,
) -> np.ndarray:
    """Designs that a sampler proposes, priced and simulated batch by batch; each different one once."""
    proposals = Proposals(space, len(goals.objectives), sampler, seed, storage, "accelsim")
    seen: dict[tuple[int, ...], None] = {}
    for first in range(0, count, PROPOSED):
        rows = proposals.ask(min(PROPOSED, count - first))
        new = list(dict.fromkeys(row for row in map(tuple, rows.tolist()) if row not in seen))
        seen.update(dict.fromkeys(new))
        known.add(np.array(new, dtype=np.int64).reshape(-1, len(space.knobs)))
        if trials is not None:
            trials.simulate_all(known, rows, simulations, progress)
        proposals.tell(goals.answers(known.table(rows, trials)))
        if progress:
            progress("designs", first + len(rows), count, 0)
    return np.array(list(seen), dtype=np.int64).reshape(-1, len(space.knobs))


def _result(
    network: Network,
    about: Any,
    space: Space,
    known: Designs,
    trials: Trials | None,
    goals: Goals,
    indices: np.ndarray,
    method: str,
    start: float,
) -> Exploration:
    frame, problems = known.table(indices, trials), known.problems(indices, trials)
    box = goals.box(frame, None if trials is None else trials.range)
    values = goals.scaled(frame, box)
    values[~goals.kept(frame)] = np.nan
    frame["front"] = nondominated(values)
    history = [] if trials is None else trials.history(known, indices, values, start)
    if not frame["front"].any():
        first = next(iter(problems.values()), "no design keeps the constraints")
        raise AccelsimError(f"none of {len(frame)} designs is left; the first problem: {first}")
    failed = int((frame["status"] == "failed").sum())
    if failed:
        first = next(text for row, text in problems.items() if frame["status"].iat[row] == "failed")
        warnings.warn(f"the simulation of {failed} designs failed; the first: {first}", stacklevel=3)
    return Exploration(
        network=about.name,
        knobs={knob.name: tuple(knob.label(i) for i in range(len(knob.values))) for knob in space.knobs},
        method=method,
        objectives=goals.objectives,
        constraints=goals.constraints,
        frame=frame,
        problems=problems,
        box=box,
        history=tuple(history),
        configurations=0 if trials is None else trials.asked_for(known, indices),
        simulations=0 if trials is None else trials.made,
        float_accuracy=about.float_accuracy,
        notes=() if trials is None else trials.notes(),
        _space=space,
        _indices=indices,
    )
