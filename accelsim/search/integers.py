"""Which designs compute the same integers, and what accuracy those have: simulated once for all that share them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accelsim.dataflow.accumulation import accumulation_order
from accelsim.evaluation import Metric, intermediates, score, signal_to_noise_db
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec
from accelsim.proof.ranges import certify
from accelsim.search.costing import Workload
from accelsim.simulator import accumulation_orders, simulate


@dataclass(frozen=True)
class Network:
    """What workers need. network: a calibrated float network, or an IntegerGraph. config: a QuantConfig, changed by
    the knobs; None for a graph. expected: outputs of the float network, where it is known.
    """

    network: Any
    config: Any
    inputs: Any = None
    labels: np.ndarray | None = None
    metric: Metric = "top1"
    expected: np.ndarray | None = None

    def graph(self, changes: Mapping[str, Any], draft: bool = False) -> IntegerGraph:
        """The network quantized so. draft: with the quickest ranges: the same shapes and widths, other integers."""
        if self.config is None:
            return self.network
        from accelsim.frontend.api import quantized

        quick: dict[str, Any] = {"ranges": "min-max", "bias_correction": False, "recipe": None} if draft else {}
        return quantized(self.network, replace(self.config, **{**changes, **quick}))

    def workload(self, changes: Mapping[str, Any]) -> Workload:
        return workload_of(self.graph(changes, draft=True))


def workload_of(graph: IntegerGraph) -> Workload:
    """What a graph asks of hardware for one sample."""
    layers = tuple((op.name, op.kind, op.loop_nest(graph.tensors, 1)) for op in graph.ops)
    return Workload(layers, tuple(intermediates(graph)))


def sums_of(workload: Workload, spec: AcceleratorSpec) -> str:
    """How a spec walks and holds the sums of each layer, as text: with equal text come equal integers."""
    return json.dumps({name: accumulation_order(nest, spec) for name, nest in workload.macs}, sort_keys=True)


def same_integers(graph: IntegerGraph, spec: AcceleratorSpec) -> str:
    """As `sums_of`, but a layer whose sums provably never leave their accumulators is the same on all such specs."""
    orders: dict[str, Any] = dict(accumulation_orders(graph, spec))
    for layer in certify(graph, spec).layers:
        if layer.safe:
            orders[layer.name] = "exact"
    return json.dumps(orders, sort_keys=True)


@dataclass(frozen=True)
class Asked:
    """One accuracy simulation. changes: of the quantization. others: (name, spec) that may compute the same."""

    changes: Mapping[str, Any]
    spec: AcceleratorSpec
    workload: Workload
    others: tuple[tuple[str, AcceleratorSpec], ...] = ()


def accuracy_of(shared: Network, asked: Asked) -> dict[str, Any]:
    """Accuracy and SQNR of one configuration, and which of the others provably compute the same integers."""
    graph = shared.graph(asked.changes)
    if workload_of(graph) != asked.workload:
        raise AssertionError("the network that is simulated is not the one that was priced: a defect, please report it")
    outputs = simulate(graph, shared.inputs, asked.spec).real()
    same: list[str] = []
    if asked.others:
        mine = same_integers(graph, asked.spec)
        same = [name for name, spec in asked.others if same_integers(graph, spec) == mine]
    assert shared.labels is not None
    return {
        "accuracy": score(shared.metric, outputs, shared.labels),
        "sqnr_db": None if shared.expected is None else signal_to_noise_db(shared.expected, outputs),
        "same": same,
    }
