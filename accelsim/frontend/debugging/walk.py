"""acs.debug: walk the flowchart, try the remedies, say in plain language what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric, score, split
from accelsim.frontend.api import Calibrated, calibrated, drafted
from accelsim.frontend.config import QuantConfig, as_config
from accelsim.frontend.debugging.suspects import Suspect, suspects
from accelsim.frontend.debugging.trials import Quantizer, Score, Trials
from accelsim.frontend.recipes.chains import output_ranges
from accelsim.frontend.reference_model import float_outputs
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.simulator import simulate

_EQUAL_DB = 30.0  # at 12 bits a faithful simulation is at least this close
_MATTERS_DB = 0.5  # a remedy that gains less is not worth naming


@dataclass(frozen=True)
class Finding:
    """A suspect whose remedy was tried. gain_db: of the outputs' SQNR; mended: the network's score with the remedy."""

    kind: str
    layer: str
    what: str
    remedy: str
    gain_db: float
    mended: Score


@dataclass(frozen=True)
class Distribution:
    """What a plot shows. counts over equal bins between lower and upper, and the grid's ends."""

    layer: str
    lower: float
    upper: float
    counts: np.ndarray
    grid: tuple[float, float]


@dataclass(frozen=True)
class Diagnosis:
    """What `debug` found; str() is the conclusion, save() writes .html (with plots), .json or .csv.

    high_precision: every quantizer at 12 bits. findings: by falling gain. quantizers: weights in order, then
    activations. overflows: MAC layer → share of its outputs whose accumulator overflowed.
    """

    network: str
    config: QuantConfig
    samples: int
    float_accuracy: float | None
    quantized: Score
    high_precision: Score
    weights_only: Score
    activations_only: Score
    quantizers: tuple[Quantizer, ...]
    findings: tuple[Finding, ...]
    overflows: dict[str, float]
    weight_ranges: dict[str, np.ndarray]
    activation_distributions: tuple[Distribution, ...]

    @property
    def faithful(self) -> bool:
        """Whether the simulation without quantization error equals the float network."""
        return self.high_precision.sqnr_db >= _EQUAL_DB

    def worst(self, kind: str) -> Quantizer:
        """The quantizer of that kind whose error alone harms the outputs most."""
        return min((q for q in self.quantizers if q.kind == kind), key=lambda q: q.alone.sqnr_db)

    @property
    def conclusion(self) -> tuple[str, ...]:
        """Plain sentences: what is lost, where, and what to do next."""
        from accelsim.report.diagnosis import conclusion

        return conclusion(self)

    def __str__(self) -> str:
        return "\n".join(self.conclusion)

    def to_dict(self) -> dict[str, Any]:
        from accelsim.report.diagnosis import plain_diagnosis

        return plain_diagnosis(self)

    def save(self, path: str | Path) -> Path:
        """Write .html, .json or .csv (the quantizers)."""
        from accelsim.report.diagnosis import save_diagnosis

        return save_diagnosis(self, path)


def debug(
    model: Any,
    calibration: Any,
    data: Any,
    config: QuantConfig | None = None,
    *,
    spec: str | Path | AcceleratorSpec = "edge-16x16",
    metric: Metric = "top1",
    samples: int = 256,
    progress: Callable[[int, int], None] | None = None,
    **keywords: Any,
) -> Diagnosis:
    """Why is a quantized network worse than the float one, and what to do about it.

    model, calibration, config, keywords: as `from_torch`; the network has one output. data: (inputs, labels), inputs a
    tuple of arrays where the network has several, labels may be None; the first `samples` are used. Walks the flowchart
    of the paper's section 3.6: the simulator at high precision equals the float network; weights only, activations
    only; each quantizer alone, and all but it; the distributions. For whatever looks wrong there the remedy is tried,
    and kept as a finding where it helps.
    progress: called with (trials done, trials in all).
    """
    chosen, accelerator = as_config(config, keywords), load_spec(spec)
    inputs, labels = split(data)
    if samples < 1:
        raise AccelsimError(f"samples must be at least 1, not {samples}")
    count_of = len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)
    inputs = tuple(x[:samples] for x in inputs) if isinstance(inputs, tuple) else inputs[:samples]
    labels = None if labels is None else labels[:samples]
    network = calibrated(model, calibration)
    if len(network.seen.graph.outputs) != 1:
        raise AccelsimError(
            f"debug judges one output, the network has {len(network.seen.graph.outputs)}: wrap it in a module that "
            "returns the one to look at"
        )
    draft = drafted(network, chosen)
    expected = float_outputs(model, inputs)
    trials = Trials(draft, inputs, labels, expected, metric, accelerator)
    tried = suspects(draft)
    whole = 4 + len(trials.weights) + len(trials.owners) + len(tried)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, whole)

    def counted(value: Any) -> Any:
        count()
        return value

    quantized_run = simulate(draft.integer_graph(), inputs, accelerator)
    quantized = counted(trials.score(quantized_run))
    high, weights_only, activations_only = (
        counted(trial()) for trial in (trials.all_off, trials.weights_only, trials.activations_only)
    )
    quantizers = [counted(trials.weight_quantizer(name)) for name in trials.weights]
    quantizers += [counted(trials.activation_quantizer(owner)) for owner in trials.owners]
    findings = [counted(_tried(network, suspect, trials, quantized)) for suspect in tried]
    return Diagnosis(
        network=network.name,
        config=chosen,
        samples=min(samples, count_of),
        float_accuracy=None if labels is None else score(metric, expected, labels),
        quantized=quantized,
        high_precision=high,
        weights_only=weights_only,
        activations_only=activations_only,
        quantizers=tuple(quantizers),
        findings=tuple(sorted((f for f in findings if f.gain_db >= _MATTERS_DB), key=lambda f: -f.gain_db)),
        overflows={event.name: event.fraction for event in quantized_run.events if event.outputs_with_events},
        weight_ranges={node.layer: output_ranges(node) for node in draft.graph.nodes if node.name in trials.weights},
        activation_distributions=_distributions(trials),
    )


def _tried(network: Calibrated, suspect: Suspect, trials: Trials, quantized: Score) -> Finding:
    mended = trials.of_draft(drafted(network, suspect.changed))
    gain = mended.sqnr_db - quantized.sqnr_db
    return Finding(suspect.kind, suspect.layer, suspect.what, suspect.remedy, gain, mended)


def _distributions(trials: Trials) -> tuple[Distribution, ...]:
    layers = {node.name: node.layer for node in trials.draft.graph.nodes}
    found = []
    for owner, histogram in trials.draft.seen.histograms.items():
        if owner in trials.activations:
            params = trials.activations[owner]
            counts = histogram.counts.reshape(64, -1).sum(axis=1)
            grid = float(params.real_min), float(params.real_max)
            found.append(Distribution(layers.get(owner, "input"), histogram.lower, histogram.upper, counts, grid))
    return tuple(found)
