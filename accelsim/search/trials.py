"""Accuracy simulations of an exploration: which are made, by whom, what was found before, what their order was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.search.designs import Designs, Key
from accelsim.search.engine import Run, crew
from accelsim.search.fronts import hypervolume, nondominated
from accelsim.search.goals import Goals
from accelsim.search.integers import Asked, Network, accuracy_of
from accelsim.search.reach import Configuration, Reach
from accelsim.store import ResultFile, digest

if TYPE_CHECKING:
    import pandas

Progress = Callable[[str, int, int, int], None]


class Trials:
    """Accuracies by key. made: simulations, those found in the results file included; errors: what a simulation
    raised, by key; range: (worst, best) of the metric.
    """

    def __init__(
        self, network: Network, origin: str, store: ResultFile, goals: Goals, bounds: tuple[float, float], run: Run
    ) -> None:
        self.network, self.goals, self.range = network, goals, bounds
        self._origin, self._store, self._run = origin, store, run
        self._monotone: float | None = None
        self._found: dict[Key, dict[str, Any]] = {}
        self._events: list[tuple[float, list[Key]]] = []
        self._status: dict[Key, str] = {}
        self._widest: Reach | None = None
        self.errors: dict[Key, str] = {}

    @classmethod
    @contextmanager
    def open(
        cls,
        network: Network,
        origin: str,
        results: str | Path | None,
        goals: Goals,
        bounds: tuple[float, float],
        monotone: float | None,
        **where: Any,
    ) -> Iterator[Trials]:
        """where: engine, workers, address as `crew`. Workers start with the first simulation."""
        with ExitStack() as stack:
            started: list[Run] = []

            def run(tasks: Sequence[Any]) -> Any:
                if not started:
                    started.append(stack.enter_context(crew(accuracy_of, network, **where)))
                return started[0](tasks)

            trials = cls(network, origin, ResultFile(results), goals, bounds, run)
            trials._monotone = monotone
            yield trials

    @property
    def made(self) -> int:
        return len(self._events)

    def reach_for(
        self, known: Designs, indices: np.ndarray, most: int | None, batch: int, progress: Progress | None
    ) -> None:
        """Simulate where a design can still reach the front, the most promising first; at most so many."""
        frame, keys = known.table(indices, None), known.keys(indices)
        good = self.goals.affordable(frame) & np.array([key is not None for key in keys])
        names: list[Key] = list(dict.fromkeys(key for key, one in zip(keys, good, strict=True) if key and one))
        if not names or not self.goals.needs_accuracy:
            return
        place = {name: i for i, name in enumerate(names)}
        rows = np.flatnonzero(good)
        of = np.array([place[keys[i]] for i in rows])  # type: ignore[index]
        scaled = self.goals.scaled(frame.iloc[rows], self.goals.box(frame, self.range), only_costs=True)
        worst, best = self.range
        reach = self._widest = Reach(
            [_configuration(known, name) for name in names],
            scaled,
            of,
            best=best,
            worst=worst,
            least=self.goals.least_accuracy,
            judged=self.goals.judges_accuracy,
            monotone=self._monotone,
        )
        first = {place[keys[i]]: tuple(indices[i].tolist()) for i in reversed(rows.tolist())}  # type: ignore[index]
        while True:
            left = len(reach.reachable())
            allowed = batch if most is None else min(batch, most - self.made)
            if progress and self.made:
                progress(
                    "simulations",
                    self.made,
                    self.made + min(left, most - self.made if most else left),
                    len(self.errors),
                )
            chosen = reach.next(allowed) if allowed > 0 else []
            if not chosen:
                break
            self._simulate(known, [(names[c], first[c]) for c in chosen], {names[c]: row for c, row in first.items()})
            for c, name in enumerate(names):
                if not reach.tried[c] and (name in self._found or name in self.errors):
                    reach.learn(c, self._found[name]["accuracy"] if name in self._found else np.nan)
        reachable = set(reach.reachable())
        for c, name in enumerate(names):
            if not reach.tried[c]:
                self._status[name] = "left out" if c in reachable else "out of reach"

    def simulate_all(self, known: Designs, rows: np.ndarray, most: int | None, progress: Progress | None) -> None:
        """Every configuration among these designs that keeps the constraints on costs, up to so many in all."""
        if not self.goals.needs_accuracy:
            return
        frame, keys = known.table(rows, None), known.keys(rows)
        good = self.goals.affordable(frame)
        first = {
            key: tuple(row.tolist())
            for key, row, one in zip(reversed(keys), rows[::-1], good[::-1], strict=True)
            if one and key is not None and key not in self._found and key not in self.errors
        }
        wanted = list(reversed(list(first.items())))
        while wanted:
            # one of each quantization: the others may turn out to compute the same
            now = list({name[0]: (name, row) for name, row in reversed(wanted)}.values())[::-1]
            now = now if most is None else now[: max(0, most - self.made)]
            if not now:
                break
            self._simulate(known, now, dict(wanted))
            if progress:
                progress("simulations", self.made, self.made, len(self.errors))
            wanted = [(n, row) for n, row in wanted if n not in self._found and n not in self.errors]
        self._status.update({name: "left out" for name, _ in wanted})

    def _simulate(self, known: Designs, chosen: list[tuple[Key, Any]], all_rows: dict[Key, Any]) -> None:
        """Accuracies of these configurations, taken from the results file where they are there."""
        chosen = self._without_twins(chosen)
        asked: list[tuple[Key, Asked | None]] = []
        tasks: list[Asked] = []
        for name, row in chosen:
            if self._store.get(self._filed(known, name)) is None:
                others = [(n, r) for n, r in all_rows.items() if n[0] == name[0] and n != name]
                task = Asked(
                    known.space.quantized(row),
                    known.spec(row),
                    known.workload(row),
                    tuple((n[1], known.spec(r)) for n, r in others),
                )
                tasks.append(task)
                asked.append((name, task))
            else:
                asked.append((name, None))
        new = [name for name, task in asked if task is not None]
        for outcome in self._run(tasks) if tasks else ():
            name = new[outcome.number]
            if outcome.error:
                self.errors[name] = outcome.error
            else:
                self._store.put(self._filed(known, name), outcome.value)
        for name, _ in asked:  # in the order in which they were asked for, whatever finished first
            found = self._store.get(self._filed(known, name))
            if found is None:
                continue
            same = [(name[0], text) for text in found["same"]]
            learnt = [name, *(n for n in same if n not in self._found)]
            self._found.update(dict.fromkeys(learnt, found))
            self._events.append((time.monotonic(), learnt))

    def _without_twins(self, chosen: list[tuple[Key, Any]]) -> list[tuple[Key, Any]]:
        """Of configurations of one quantization the first alone: it may answer for the others."""
        firsts: dict[tuple[int, ...], tuple[Key, Any]] = {}
        for name, row in chosen:
            firsts.setdefault(name[0], (name, row))
        return list(firsts.values())

    def _filed(self, known: Designs, name: Key) -> str:
        values = {
            known.space.knobs[k].name: known.space.knobs[k].values[i]
            for k, i in zip(known.space.quantization, name[0], strict=True)
        }
        return digest(self._origin, {k: repr(v) for k, v in values.items()}, name[1])

    def fill(self, frame: pandas.DataFrame, known: Designs, indices: np.ndarray) -> None:
        """Accuracies and what became of each design."""
        keys = known.keys(indices)
        affordable = self.goals.affordable(frame)
        accuracy, sqnr, status = (frame[name].to_numpy(copy=True) for name in ("accuracy", "sqnr_db", "status"))
        for i, key in enumerate(keys):
            if key is None:
                status[i] = "impossible"
            elif status[i] != "impossible" and key in self._found:
                accuracy[i] = self._found[key]["accuracy"]
                value = self._found[key]["sqnr_db"]
                sqnr[i] = np.nan if value is None else value
                status[i] = "known" if affordable[i] and accuracy[i] >= self.goals.least_accuracy else "refused"
            elif status[i] != "impossible":
                if key in self.errors:
                    status[i] = "failed"
                elif not affordable[i]:
                    status[i] = "refused"
                else:
                    status[i] = self._status.get(key, "priced")
        frame["accuracy"], frame["sqnr_db"], frame["status"] = accuracy, sqnr, status
        frame.loc[frame["status"] == "impossible", ["energy_pj", "latency_s", "area_mm2", "dram_bytes", "power_w"]] = (
            np.nan
        )

    def history(
        self, known: Designs, indices: np.ndarray, values: np.ndarray, start: float
    ) -> list[tuple[int, float, float]]:
        """(simulations, seconds since the start, hypervolume) after each; values: scaled, NaN where refused."""
        rows_of: dict[Key, list[int]] = {}
        for i, key in enumerate(known.keys(indices)):
            if key is not None:
                rows_of.setdefault(key, []).append(i)
        front, history = np.zeros((0, values.shape[1])), []
        for number, (moment, learnt) in enumerate(self._events, start=1):
            new = values[[i for name in learnt for i in rows_of.get(name, [])]]
            front = np.concatenate([front, new])
            front = front[nondominated(front)]
            history.append((number, moment - start, hypervolume(front)))
        return history

    def asked_for(self, known: Designs, indices: np.ndarray) -> int:
        """Different integer configurations among the designs that keep the constraints on costs."""
        good = self.goals.affordable(known.table(indices, None))
        return len({key for key, one in zip(known.keys(indices), good, strict=True) if one and key is not None})

    def notes(self) -> tuple[str, ...]:
        if self._widest is None:
            return ()
        excess = self._widest.excess()
        if not excess:
            return ()
        return (
            f"A configuration with narrower operands or accumulators was more accurate than a wider one by up to "
            f"{100 * excess:.2f} points.",
        )


def _configuration(known: Designs, name: Key) -> Configuration:
    """What can be compared: widths that are numbers; everything else must be equal."""
    import json

    widths: list[float] = []
    kind: list[Any] = []
    for k, i in zip(known.space.quantization, name[0], strict=True):
        knob = known.space.knobs[k]
        if knob.name in ("weight_bits", "activation_bits") and knob.ordered:
            widths.append(float(knob.values[i]))
        else:
            kind.append((knob.name, i))
    levels_of: list[list[Any]] = []
    for order in json.loads(name[1]).values():
        rest = dict(order)
        levels = rest.pop("levels")
        levels_of.append([bits for bits, _, _ in levels])
        kind.append((sorted(map(repr, rest.items())), [level[1:] for level in levels]))
    for levels in {tuple(levels): None for levels in levels_of}:  # most often one for all layers
        widths += [float(bits) for bits in levels]
    return Configuration(repr(kind), tuple(widths))
