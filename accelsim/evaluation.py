"""cost(graph, spec) without data, evaluate(graph, data, spec) with it: one Report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.events import RescaleDifferences
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.mapping import given_tiles
from accelsim.measurement import measure_activity
from accelsim.ops.mac import MacOp
from accelsim.pricing import Activity, CostReport, price, price_both_scalings
from accelsim.pricing.choose import tiles_of
from accelsim.report import Report
from accelsim.shapes import LoopNest
from accelsim.simulator import Run, as_array, real_array, simulate

MAX_BATCH = 65536  # of one priced inference
ACTIVITY_SAMPLES = 8  # inputs whose zeros and toggles are measured

Metric = str | Callable[[np.ndarray, np.ndarray], float]


def cost(
    graph: IntegerGraph,
    spec: str | Path | AcceleratorSpec = "edge-16x16",
    *,
    batch: int = 1,
    data: Any = None,
    activity_samples: int = ACTIVITY_SAMPLES,
    objective: str = "energy",
    tilings: Mapping[str, Mapping[str, int | str]] | None = None,
) -> Report:
    """Price a network on an accelerator: energy, latency, data movement, area.

    batch: samples per inference; energy and latency are those of the whole batch. data: real inputs, samples first;
    the report then shows the energy at their activity beside that at average activity. activity_samples: how many of
    them, spread evenly, are measured. objective: "energy", "latency" or "edp" (their product), what the tilings
    minimise. tilings: of some layers, as `accelsim.mapping.price_tiled` takes them.
    Processing elements of kind "sized" are built for the network's widest weights and activations.
    """
    spec = load_spec(spec)
    options: dict[str, Any] = {"objective": objective, "tilings": tilings}
    priced = price_graph(graph, spec, batch, **options)
    results: dict[str, Any] = {"scaling_energy_pj": scaling_range(graph, priced, batch)}
    if data is not None:
        inputs, _ = split((data, None))
        results |= _with_data(graph, spec, inputs, priced, activity_samples, batch)
    return _report(graph, priced, **results)


def price_graph(
    graph: IntegerGraph,
    spec: AcceleratorSpec,
    batch: int = 1,
    *,
    activity: Mapping[str, Activity] | None = None,
    like: CostReport | None = None,
    objective: str = "energy",
    tilings: Mapping[str, Mapping[str, int | str]] | None = None,
) -> CostReport:
    """The CostReport of a graph, checked for conservation.

    activity: by layer, what its data do. like: a report of the same graph, spec and batch whose tilings are kept.
    objective, tilings: as in `cost`.
    """
    if not 1 <= batch <= MAX_BATCH:
        raise AccelsimError(f"batch must be 1 to {MAX_BATCH}, not {batch}")
    sized = spec.sized_for(graph.weight_bits, graph.activation_bits)
    layers = [(op.name, op.kind, op.loop_nest(graph.tensors, batch)) for op in graph.ops]
    options: dict[str, Any] = {"edges": intermediates(graph), "activity": activity}
    tiles = None if like is None else tiles_of(like)
    report = price(layers, sized, tiles=tiles, objective=objective, **options)
    if tilings:
        report = price(layers, sized, tiles=given_tiles(layers, tilings, tiles_of(report)), **options)
    nests = (op.loop_nest(graph.tensors, batch) for op in graph.ops if op.accumulates)
    counted = sum(nest.macs for nest in nests if isinstance(nest, LoopNest))
    if counted != report.macs:
        raise AccelsimError(f"the graph has {counted} MACs, {report.macs} were priced: a defect, please report it")
    return report


def scaling_range(graph: IntegerGraph, priced: CostReport, batch: int = 1) -> dict[str, float]:
    """Total energy of the same schedule by each published scaling table; empty where nothing is scaled."""
    if priced.spec.technology.base is None:
        return {}
    layers = [(op.name, op.kind, op.loop_nest(graph.tensors, batch)) for op in graph.ops]
    both = price_both_scalings(layers, priced.spec, tiles=tiles_of(priced), edges=intermediates(graph))
    return {table: report.total_energy_pj for table, report in both.items()}


def intermediates(graph: IntegerGraph) -> list[tuple[str, str]]:
    """(producer, consumer) of every tensor that never leaves the network: it may stay on chip where it fits."""
    makers = {op.output: op.name for op in graph.ops if op.output not in graph.outputs}
    return [(makers[name], op.name) for op in graph.ops for name in dict.fromkeys(op.inputs) if name in makers]


def evaluate(
    graph: IntegerGraph,
    data: Any,
    spec: str | Path | AcceleratorSpec = "edge-16x16",
    *,
    float_model: Any = None,
    metric: Metric = "top1",
    backend: str = "numba",
    progress: Callable[[int], None] | None = None,
    activity_samples: int = ACTIVITY_SAMPLES,
) -> Report:
    """Simulate a network on data bit for bit and price one inference, at average activity and at that of the data.

    data: (inputs, labels); inputs are real values, whatever their type. labels may be None where only costs,
        events and SQNR are wanted.
    float_model: the torch network it came from: adds float_accuracy and sqnr_db of the outputs.
    metric: "top1" (fraction of samples whose largest output is the label), or a function
        (outputs float64 (N, …), labels) → number.
    progress: called with the number of samples after each batch.
    activity_samples: inputs, spread evenly over the data, whose zeros, run lengths and bit toggles are measured for
        the energy of real data; 0: none.
    """
    _check_samples(activity_samples)
    inputs, labels = split(data)
    if labels is not None:
        check_labels(graph, labels, metric)
    run = simulate(graph, inputs, spec, backend=backend, progress=progress)
    outputs = run.real()
    accuracy = None if labels is None else score(metric, outputs, labels)
    float_accuracy = sqnr_db = None
    if float_model is not None:
        expected = _float_outputs(float_model, inputs)
        if expected.shape != outputs.shape:
            raise AccelsimError(f"float_model computes {expected.shape}, the graph {outputs.shape}")
        float_accuracy = None if labels is None else score(metric, expected, labels)
        sqnr_db = signal_to_noise_db(expected, outputs)
    priced = price_graph(graph, run.spec)
    return _report(
        graph,
        priced,
        scaling_energy_pj=scaling_range(graph, priced),
        **_with_data(graph, run.spec, inputs, priced, activity_samples),
        accuracy=accuracy,
        float_accuracy=float_accuracy,
        metric=metric if isinstance(metric, str) else getattr(metric, "__name__", "custom"),
        sqnr_db=sqnr_db,
        samples=len(outputs),
        events=run.events,
        rescale_differences=rescale_differences(graph, inputs, spec),
    )


def _check_samples(activity_samples: int) -> None:
    if not 0 <= activity_samples <= MAX_BATCH:
        raise AccelsimError(f"activity_samples must be 0 to {MAX_BATCH}, not {activity_samples}")


def _with_data(
    graph: IntegerGraph, spec: AcceleratorSpec, inputs: Any, priced: CostReport, samples: int, batch: int = 1
) -> dict[str, Any]:
    """Fields of the report that real data bring: the same schedule at their activity."""
    _check_samples(samples)
    if not samples:
        return {}
    activity = activity_of(graph, inputs, spec, samples)
    count = len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)
    return {
        "data_cost": price_graph(graph, spec, batch, activity=activity, like=priced),
        "activity": activity,
        "activity_samples": min(samples, count),
    }


def activity_of(
    graph: IntegerGraph, inputs: Any, spec: str | Path | AcceleratorSpec, samples: int = ACTIVITY_SAMPLES
) -> dict[str, Activity]:
    """What the data do in each layer on a spec, from some inputs spread evenly over all: always the same ones."""
    every = inputs if isinstance(inputs, tuple) else (inputs,)
    chosen = np.unique(np.linspace(0, len(every[0]) - 1, samples).round().astype(np.int64))
    some = tuple(x[chosen] for x in every)
    spec = load_spec(spec)
    run = simulate(graph, some if isinstance(inputs, tuple) else some[0], spec, keep="all")
    return measure_activity(graph, run.tensors, spec.sized_for(graph.weight_bits, graph.activation_bits))


def signal_to_noise_db(expected: np.ndarray, got: np.ndarray) -> float:
    """SQNR = 10 log10(sum(expected^2) / sum((expected - got)^2)) in dB; inf where they are equal."""
    noise = float(np.square(expected - got, dtype=np.float64).sum())
    signal = float(np.square(expected, dtype=np.float64).sum())
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def rescale_differences(
    graph: IntegerGraph, inputs: Any, spec: str | Path | AcceleratorSpec, *, samples: int = 64
) -> tuple[RescaleDifferences, ...]:
    """Per MAC layer: how often its scheme differs from one rounding (half away) of the real product.

    Over the first `samples` inputs. The real scale is s_x * s_w / s_y of the graph's own grids.
    """
    from accelsim_kernels import requantize

    first = tuple(x[:samples] for x in inputs) if isinstance(inputs, tuple) else inputs[:samples]
    run: Run = simulate(graph, first, spec, keep="all")
    found = []
    for op in graph.mac_ops:
        if op.requantizer is None:
            continue
        scale = _real_scale(graph, op)
        kwargs = op.requantizer.kwargs()
        limits = {key: kwargs[key] for key in ("zero_point", "qmin", "qmax")}
        once = requantize(run.accumulators[op.name], "real-double", scale=scale, **limits)
        got = run.tensors[op.output]
        found.append(RescaleDifferences(op.name, op.requantizer.scheme, int(np.count_nonzero(once != got)), got.size))
    return tuple(found)


def _real_scale(graph: IntegerGraph, op: MacOp) -> Any:
    x, y = graph.tensors[op.inputs[0]].params, graph.tensors[op.output].params
    return x.scale * np.asarray(op.weight_params.scale) / y.scale


def split(data: Any) -> tuple[Any, np.ndarray | None]:
    """(inputs, labels) as arrays, checked to have equally many samples. Inputs are real values, integers too."""
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        raise AccelsimError("data must be (inputs, labels); labels may be None")
    inputs, labels = data
    inputs = tuple(map(real_array, inputs)) if isinstance(inputs, tuple) else real_array(inputs)
    count = len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)
    if count == 0:
        raise AccelsimError("the data holds no samples")
    if labels is not None:
        labels = as_array(labels)
        if labels.ndim == 0 or len(labels) != count:
            raise AccelsimError(f"{count} inputs but {len(labels) if labels.ndim else 1} labels")
    return inputs, labels


def score(metric: Metric, outputs: np.ndarray, labels: np.ndarray) -> float:
    """The metric of real outputs against labels; "top1" is a fraction."""
    if callable(metric):
        value = metric(outputs, labels)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise AccelsimError(f"the metric must return a number, not {value!r}") from None
    return float(np.mean(outputs.argmax(axis=1) == labels))


def check_labels(graph: IntegerGraph, labels: np.ndarray, metric: Metric) -> None:
    """Whether the metric can judge these labels; AccelsimError before anything is computed."""
    if callable(metric):
        return
    if metric != "top1":
        raise AccelsimError(f"metric must be 'top1' or a function, not {metric!r}")
    shape = graph.tensors[graph.outputs[0]].shape
    if len(graph.outputs) != 1 or len(shape) != 1 or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise AccelsimError(
            f"metric 'top1' needs outputs (N, classes) and integer labels (N,), not (N, "
            f"{', '.join(map(str, shape))}) and {labels.dtype} {labels.shape}; pass a function as metric"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= shape[0]:
        raise AccelsimError(f"labels {low} … {high} do not number the {shape[0]} classes 0 … {shape[0] - 1}")


def _float_outputs(model: Any, inputs: Any) -> np.ndarray:
    from accelsim.frontend.reference_model import float_outputs

    return float_outputs(model, inputs)


def _report(graph: IntegerGraph, priced: CostReport, **results: Any) -> Report:
    from accelsim.versions import versions

    notes = graph.notes
    overflowed = [e for e in results.get("events", ()) if e.outputs_with_events]
    if overflowed:
        worst = max(overflowed, key=lambda e: e.fraction)
        notes += (
            f"Accumulators overflowed in {len(overflowed)} layer(s), most in {worst.name!r} ({worst.fraction:.2%} of "
            "its outputs): widen them, or certify which layers need it.",
        )
    bits: dict[str, tuple[int | None, int]] = {}
    for op in graph.ops:
        # tokens that choose rows are no activations
        first = graph.tensors[op.inputs[0] if op.inputs and op.kind != "embedding" else op.output]
        bits[op.name] = (op.weight_params.bits if isinstance(op, MacOp) else None, first.bits)
    return Report(
        network=graph.name,
        profile=graph.profile,
        cost=priced,
        layer_bits=bits,
        notes=notes,
        versions=versions(),
        command=" ".join(sys.argv),
        **results,
    )
