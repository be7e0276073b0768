"""sweep: a grid of bit widths and accelerators, accuracy against cost, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim import __version__
from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric, price_graph, score, signal_to_noise_db, split
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.simulator import accumulation_orders, simulate
from accelsim.store import ResultFile, digest

if TYPE_CHECKING:
    import pandas

    from accelsim.graph import IntegerGraph

Spec = str | Path | AcceleratorSpec


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep.

    frame: one row per point: weight_bits, activation_bits, spec, accuracy, float_accuracy, sqnr_db, energy_pj,
    latency_s, power_w, area_mm2, dram_bytes, weight_size_bytes, pareto. Energy and latency are those of one
    inference of batch 1.
    """

    network: str
    profile: str
    frame: pandas.DataFrame

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
    **config: Any,
) -> Sweep:
    """Quantize, simulate and price a network at every combination of bit widths and accelerators.

    model, calibration: as `from_torch`. test_data: (inputs, labels). config: further fields of QuantConfig.
    results: a JSON-lines file; points found there are not computed again, so that a killed sweep continues.
        The key is a hash of network, data, configuration, accelerator and version.
    progress: called with (points done, points in all).
    """
    from accelsim.frontend.api import calibrated, network_digest, quantized
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.reference_model import float_outputs

    inputs, labels = split(test_data)
    if labels is None:
        raise AccelsimError("a sweep needs labels: test_data=(inputs, labels)")
    chosen = [load_spec(s) for s in ([specs] if isinstance(specs, (str, Path, AcceleratorSpec)) else specs)]
    grid = [(w, a) for w in _widths(weight_bits) for a in _widths(activation_bits)]
    if not grid or not chosen:
        raise AccelsimError("nothing to sweep: give at least one spec, weight width and activation width")
    configs = [QuantConfig(weight_bits=w, activation_bits=a, **config) for w, a in grid]

    network = calibrated(model, calibration)
    origin = digest(network_digest(network), inputs, labels, _metric_identity(metric) if results else [], __version__)
    store = ResultFile(results)
    expected = float_outputs(model, inputs)
    float_accuracy = score(metric, expected, labels)
    rows, done, total = [], 0, len(grid) * len(chosen)
    for quant in configs:
        graph: IntegerGraph | None = None
        simulated: dict[str, tuple[float, float]] = {}
        for spec in chosen:
            key = digest(origin, _config_fields(quant), spec.model_dump(mode="json"))
            row = store.get(key)
            if row is None:
                graph = graph or quantized(network, quant)
                numerics = json.dumps(accumulation_orders(graph, spec), sort_keys=True)
                if numerics not in simulated:
                    outputs = simulate(graph, inputs, spec).real()
                    simulated[numerics] = (score(metric, outputs, labels), signal_to_noise_db(expected, outputs))
                row = _row(graph, spec, quant, *simulated[numerics], float_accuracy)
                store.put(key, row)
            rows.append(row)
            done += 1
            if progress:
                progress(done, total)
    return Sweep(network.name, configs[0].profile, _frame(rows))


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


def _metric_identity(metric: Metric) -> list[Any]:
    """What determines a metric: its name, or a function's code and the values it closes over."""
    if isinstance(metric, str):
        return [metric]
    code = getattr(metric, "__code__", None)
    if code is None:
        raise AccelsimError("with a results file, metric must be 'top1' or a plain function: its code is in the key")
    cells = [cell.cell_contents for cell in metric.__closure__ or ()]
    try:
        digest(cells)
    except TypeError as error:
        raise AccelsimError(f"metric {code.co_name!r} closes over a value that the key cannot hold: {error}") from error
    return [code.co_code.hex(), repr(code.co_consts), repr(code.co_names), *cells]
