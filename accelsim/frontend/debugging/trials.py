"""Trials: the integer network with some of its quantizers off, measured against the float network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from accelsim.evaluation import Metric, score, signal_to_noise_db
from accelsim.frontend import calibrate
from accelsim.frontend.bias_correction import correct_biases
from accelsim.frontend.recipes.draft import STAND_IN_BITS, Draft
from accelsim.hardware import AcceleratorSpec
from accelsim.quant import QTensor, QuantParams
from accelsim.simulator import Run, simulate


@dataclass(frozen=True)
class Score:
    """accuracy: the metric, None without labels. sqnr_db: of the outputs against the float network's."""

    accuracy: float | None
    sqnr_db: float


@dataclass(frozen=True)
class Quantizer:
    """One quantizer. kind: "weight" or "activation"; tensor: the MAC layer, or the owner of the activation's grid.

    alone: only this quantizer on. without: all quantizers on but this one. "Off" is STAND_IN_BITS bits.
    """

    kind: str
    layer: str
    tensor: str
    bits: int
    alone: Score
    without: Score


class Trials:
    """Builds and measures variants of one draft on one set of data."""

    def __init__(
        self, draft: Draft, inputs: np.ndarray | tuple[np.ndarray, ...], labels: np.ndarray | None,
        expected: np.ndarray, metric: Metric, spec: AcceleratorSpec,
    ) -> None:  # fmt: skip
        self.draft, self.inputs, self.labels = draft, inputs, labels
        self.expected, self.metric, self.spec = expected, metric, spec
        self.wide = spec.replace(**{"array.accumulators": {"bits": 32, "overflow": "wrap", "order": "serial"}})
        fine = replace(draft.config, weight_bits=STAND_IN_BITS, ranges="min-max", overrides=None, per_channel=True)
        self.fine_activations = dict(replace(draft, activations=None).activations_or_stand_in)
        self.fine_weights = calibrate.quantize_weights(draft.graph, self.fine_activations, fine)
        self.owners = {
            owner: [name for name in self.activations if draft.seen.owners[name] == owner]
            for owner in dict.fromkeys(draft.seen.owners[name] for name in self.activations)
        }

    @property
    def activations(self) -> Mapping[str, QuantParams]:
        return self.draft.activations or {}

    @property
    def weights(self) -> Mapping[str, QTensor]:
        return self.draft.weights or {}

    def score(self, run: Run) -> Score:
        outputs = run.real()
        accuracy = None if self.labels is None else score(self.metric, outputs, self.labels)
        return Score(accuracy, signal_to_noise_db(self.expected, outputs))

    def measure(
        self, weights: Mapping[str, QTensor], activations: Mapping[str, QuantParams], corrected: bool = False
    ) -> Score:
        """corrected: where the recipe changed biases they are corrected anew for the quantizers that are on here
        (what makes up for a quantizer that is off would harm). Else the float network's own.
        """
        graph = replace(self.draft, weights=weights, activations=activations, biases={}).integer_graph()
        if corrected and self.draft.biases:
            graph = correct_biases(graph, self.draft.seen)
        return self.score(simulate(graph, self.inputs, self.wide))

    def of_draft(self, draft: Draft) -> Score:
        return self.score(simulate(draft.integer_graph(), self.inputs, self.spec))

    def all_off(self) -> Score:
        return self.measure(self.fine_weights, self.fine_activations)

    def weights_only(self) -> Score:
        return self.measure(self.weights, self.fine_activations, corrected=True)

    def activations_only(self) -> Score:
        return self.measure(self.fine_weights, self.activations)

    def weight_quantizer(self, name: str) -> Quantizer:
        alone = self.measure({**self.fine_weights, name: self.weights[name]}, self.fine_activations)
        without = self.measure({**self.weights, name: self.fine_weights[name]}, self.activations, corrected=True)
        layer = self.draft.graph.node(name).layer
        return Quantizer("weight", layer, name, self.weights[name].params.bits, alone, without)

    def activation_quantizer(self, owner: str) -> Quantizer:
        members = self.owners[owner]
        mine = {name: self.activations[name] for name in members}
        fine = {name: self.fine_activations[name] for name in members}
        alone = self.measure(self.fine_weights, {**self.fine_activations, **mine})
        without = self.measure(self.weights, {**self.activations, **fine}, corrected=True)
        layers = {node.name: node.layer for node in self.draft.graph.nodes}
        bits = self.activations[members[0]].bits
        return Quantizer("activation", layers.get(owner, "input"), owner, bits, alone, without)
