"""What is explored: a float network that can be quantized, or an integer graph, and what identifies it."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric, check_labels, score, split
from accelsim.graph import IntegerGraph
from accelsim.search.integers import Network
from accelsim.search.metrics import metric_identity, portable
from accelsim.store import digest
from accelsim.versions import computing


@dataclass(frozen=True)
class About:
    """origin: hash of network, configuration, data, metric and versions. chance: accuracy of a constant answer."""

    name: str
    origin: str
    metric: Metric
    float_accuracy: float | None = None
    chance: float | None = None

    def range_of(self, given: tuple[float, float] | None) -> tuple[float, float]:
        """(worst, best) of the metric."""
        if given is not None:
            worst, best = map(float, given)
            if not worst < best:
                raise AccelsimError(f"metric_range must be (worst, best) with worst below best, not {given!r}")
            return worst, best
        if callable(self.metric) or self.chance is None:
            raise AccelsimError("a metric that is a function needs metric_range=(its worst value, its best)")
        return min(self.chance, 0.99), 1.0


def network_of(
    model: Any, calibration: Any, data: Any, metric: Metric, config: dict[str, Any], stored: bool
) -> tuple[Network, About]:
    """stored: whether `origin` will be part of stored keys, so that the metric must be known by its code.

    Raises AccelsimError for options that a quantized graph does not take, and for data without labels.
    """
    inputs = labels = None
    if data is not None:
        inputs, labels = split(data)
        if labels is None:
            raise AccelsimError("accuracy needs labels: data=(inputs, labels); or leave data out")
    metric_parts = [] if data is None else [inputs, labels, metric_identity(metric) if stored else []]
    chance = None
    if labels is not None and not callable(metric):
        chance = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    if isinstance(model, IntegerGraph):
        if calibration is not None or config:
            raise AccelsimError("an IntegerGraph is quantized already: leave calibration and quantization options out")
        if labels is not None:
            check_labels(model, labels, metric)
        origin = digest("explore", _file_of(model), *metric_parts, computing())
        return Network(model, None, inputs, labels, portable(metric)), About(model.name, origin, metric, None, chance)
    from accelsim.frontend.api import calibrated, network_digest
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.reference_model import float_outputs

    base = QuantConfig(**config)
    network = calibrated(model, calibration)
    fields = repr(sorted(asdict(base).items()))
    origin = digest("explore", network_digest(network), fields, *metric_parts, computing())
    expected = None if data is None else float_outputs(model, inputs)
    accuracy = None if expected is None or labels is None else score(metric, expected, labels)
    return (
        Network(network, base, inputs, labels, portable(metric), expected),
        About(network.name, origin, metric, accuracy, chance),
    )


def _file_of(graph: IntegerGraph) -> np.ndarray:
    """The bytes that the graph is saved as."""
    with tempfile.TemporaryDirectory(prefix="accelsim-") as folder:
        path = Path(folder) / "graph.acsim"
        graph.save(path)
        return np.frombuffer(path.read_bytes(), dtype=np.uint8)
