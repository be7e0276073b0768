"""sweep: a grid of bit widths and accelerators, accuracy against cost, resumable."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric, price_graph, score, signal_to_noise_db, split
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.search.engine import check_engine, crew
from accelsim.search.metrics import metric_identity, portable
from accelsim.search.workers import told
from accelsim.simulator import accumulation_orders, simulate
from accelsim.store import ResultFile, digest
from accelsim.versions import computing

if TYPE_CHECKING:
    import pandas

    from accelsim.graph import IntegerGraph

Spec = str | Path | AcceleratorSpec
TOGETHER = 16  # points of one configuration that one task computes, at most


@dataclass(frozen=True)
class Failure:
    """A point that could not be computed.

    error: the message of an AccelsimError, of a defect the traceback; traceback: of both, "" where a worker was lost.
    """

    weight_bits: Any
    activation_bits: Any
    spec: str
    error: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"W{self.weight_bits}A{self.activation_bits} on {self.spec}: {self.error}"

    @property
    def short(self) -> str:
        """In one line: of a traceback the last."""
        return str(replace(self, error=self.error.strip().split("\n")[-1]))


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep.

    frame: one row per point: weight_bits, activation_bits, spec, accuracy, float_accuracy, sqnr_db, energy_pj,
    latency_s, power_w, area_mm2, dram_bytes, weight_size_bytes, pareto. Energy and latency are those of one
    inference of batch 1.
    failures: points that could not be computed, and why.
    """

    network: str
    profile: str
    frame: pandas.DataFrame
    failures: tuple[Failure, ...] = ()

    @property
    def pareto(self) -> pandas.DataFrame:
        """Points that no other point beats in both accuracy and energy, by rising energy."""
        return self.frame[self.frame.pareto].sort_values("energy_pj")

    def save(self, path: str | Path) -> None:
        """Write .html (table and plot), .csv or .json."""
        from accelsim.report.sweep import save_sweep

        save_sweep(self, path)

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False)


def sweep(
    model: Any,
    calibration: Any,
    test_data: Any,
    *,
    specs: Spec | Sequence[Spec] = ("edge-16x16",),
    weight_bits: int | Iterable[int] = range(2, 9),
    activation_bits: int | Iterable[int] = range(4, 9),
    metric: Metric = "top1",
    results: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_failure: Callable[[Failure], None] | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    **config: Any,
) -> Sweep:
    """Quantize, simulate and price a network at every combination of bit widths and accelerators.

    model, calibration: as `from_torch`. test_data: (inputs, labels). config: further fields of QuantConfig.
    results: a JSON-lines file; points found there are not computed again, so that a killed sweep continues.
        The key is a hash of network, data, metric, configuration, accelerator and versions.
    progress: called with (points done, points in all). on_failure: called with each Failure when it happens.
    engine: "local" (workers: processes, by default one per core), "dask" or "ray" (address: of the cluster). The
        result is the same, bit for bit, whatever computes it.
    A point that fails does not stop the others: it is warned of and listed in `failures`.
    """
    from accelsim.frontend.api import calibrated, network_digest
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.reference_model import float_outputs

    check_engine(engine, workers, address)
    inputs, labels = split(test_data)
    if labels is None:
        raise AccelsimError("a sweep needs labels: test_data=(inputs, labels)")
    chosen = [load_spec(s) for s in ([specs] if isinstance(specs, (str, Path, AcceleratorSpec)) else specs)]
    grid = [(w, a) for w in _widths(weight_bits) for a in _widths(activation_bits)]
    if not grid or not chosen:
        raise AccelsimError("nothing to sweep: give at least one spec, weight width and activation width")
    configs = [QuantConfig(weight_bits=w, activation_bits=a, **config) for w, a in grid]

    network = calibrated(model, calibration)
    origin = digest(network_digest(network), inputs, labels, metric_identity(metric) if results else [], computing())
    store = ResultFile(results)
    expected = float_outputs(model, inputs)
    shared = _Shared(network, inputs, labels, expected, portable(metric), score(metric, expected, labels))
    points = [(quant, spec) for quant in configs for spec in chosen]
    keys = [digest(origin, _config_fields(quant), spec.model_dump(mode="json")) for quant, spec in points]
    missing = [i for i, key in enumerate(keys) if store.get(key) is None]
    done = len(points) - len(missing)
    if progress and done:
        progress(done, len(points))
    failures: dict[int, Failure] = {}
    for i, row, problem in _computed(shared, points, missing, engine=engine, workers=workers, address=address):
        if row is None:
            quant, spec = points[i]
            failures[i] = Failure(quant.weight_bits, quant.activation_bits, spec.name, *problem)
            if on_failure:
                on_failure(failures[i])
        else:
            store.put(keys[i], row)
        done += 1
        if progress:
            progress(done, len(points))
    found = [row for key in keys if (row := store.get(key)) is not None]
    failed = tuple(failure for _, failure in sorted(failures.items()))
    _tell(failed, len(points))
    return Sweep(network.name, configs[0].profile, _frame(found), failed)


@dataclass(frozen=True)
class _Shared:
    """What every point of a sweep needs."""

    network: Any
    inputs: Any
    labels: np.ndarray
    expected: np.ndarray
    metric: Metric
    float_accuracy: float


Point = tuple[Any, AcceleratorSpec]
Row = dict[str, Any] | None
Problem = tuple[str, str]


def _computed(
    shared: _Shared, points: list[Point], missing: list[int], **where: Any
) -> Iterator[tuple[int, Row, Problem]]:
    """(number, row or None, (error, traceback)) of each missing point, as they finish."""
    if not missing:
        return
    with crew(_compute, shared, most=len(missing), **where) as run:
        tasks = _tasks(points, missing, run.places)
        for outcome in run([task for _, task in tasks]):
            numbers = tasks[outcome.number][0]
            lost = [(None, (outcome.error, outcome.traceback))] * len(numbers)
            for i, (row, problem) in zip(numbers, lost if outcome.error else outcome.value, strict=True):
                yield i, row, problem


def _tasks(
    points: list[Point], missing: list[int], workers: int
) -> list[tuple[list[int], tuple[Any, list[AcceleratorSpec]]]]:
    """Points of one configuration together, as one network serves them; groups are cut so that every worker has some,
    and because what is in flight is lost where a worker or the driver dies.
    """
    largest = min(TOGETHER, max(1, len(missing) // (4 * workers)))
    groups: list[list[int]] = []
    for i in missing:
        if groups and points[groups[-1][0]][0] is points[i][0] and len(groups[-1]) < largest:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [(group, (points[group[0]][0], [points[i][1] for i in group])) for group in groups]


def _compute(shared: _Shared, task: tuple[Any, list[AcceleratorSpec]]) -> list[tuple[Row, Problem]]:
    """(row, ("", "")) of each accelerator, or (None, (what went wrong, its traceback))."""
    from accelsim.frontend.api import quantized

    quant, specs = task
    graph = quantized(shared.network, quant)
    simulated: dict[str, tuple[float, float]] = {}
    found: list[tuple[Row, Problem]] = []
    for spec in specs:
        try:
            numerics = json.dumps(accumulation_orders(graph, spec), sort_keys=True)
            if numerics not in simulated:
                outputs = simulate(graph, shared.inputs, spec).real()
                accuracy = score(shared.metric, outputs, shared.labels)
                simulated[numerics] = accuracy, signal_to_noise_db(shared.expected, outputs)
            found.append((_row(graph, spec, quant, *simulated[numerics], shared.float_accuracy), ("", "")))
        except Exception as error:
            found.append((None, told(error)))
    return found


def _tell(failures: tuple[Failure, ...], points: int) -> None:
    """Failures are said; where nothing but failures came out, they are the result."""
    if not failures:
        return
    text = f"{len(failures)} of {points} points failed; the first, {failures[0]}"
    if len(failures) == points:
        raise AccelsimError(text)
    warnings.warn(text, stacklevel=3)


def pareto_front(accuracy: np.ndarray, energy_pj: np.ndarray) -> np.ndarray:
    """bool (N,): points that no other point beats in one of both without losing in the other."""
    better_or_equal = (accuracy[None, :] >= accuracy[:, None]) & (energy_pj[None, :] <= energy_pj[:, None])
    strictly = (accuracy[None, :] > accuracy[:, None]) | (energy_pj[None, :] < energy_pj[:, None])
    return ~(better_or_equal & strictly).any(axis=1)


def _row(
    graph: IntegerGraph, spec: AcceleratorSpec, quant: Any, accuracy: float, sqnr_db: float, float_accuracy: float
) -> dict[str, Any]:
    priced = price_graph(graph, spec)
    return {
        "weight_bits": quant.weight_bits,
        "activation_bits": quant.activation_bits,
        "spec": spec.name,
        "accuracy": accuracy,
        "float_accuracy": float_accuracy,
        "sqnr_db": sqnr_db,
        "energy_pj": priced.total_energy_pj,
        "latency_s": priced.latency_s,
        "power_w": priced.power_w,
        "area_mm2": priced.total_area_mm2,
        "dram_bytes": priced.dram_bytes,
        "weight_size_bytes": graph.weight_size_bytes,
    }


def _frame(rows: list[dict[str, Any]]) -> pandas.DataFrame:
    import pandas

    frame = pandas.DataFrame(rows)
    frame["pareto"] = pareto_front(frame.accuracy.to_numpy(), frame.energy_pj.to_numpy())
    return frame


def _widths(bits: int | Iterable[int]) -> list[int]:
    return [bits] if isinstance(bits, int) else [b.item() if isinstance(b, np.generic) else b for b in bits]


def _config_fields(quant: Any) -> str:
    return json.dumps(asdict(quant), sort_keys=True)
