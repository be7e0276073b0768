"""Bias correction as steps: from data (empirical) and from batch-norm statistics (paper, section 4.2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.frontend.bias_correction import correct_biases
from accelsim.frontend.calibrate import mac_nodes
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.frontend.recipes.moments import output_moments, summed_taps, through_layer
from accelsim.graph import IntegerGraph
from accelsim.quant import dequantize


@step("bias-correction")
def bias_correction(draft: Draft) -> Draft:
    """b <- b - E[W^ x^] + E[W x] over the calibration data, layer by layer through the integer network."""
    return replace(draft, biases=real_biases(correct_biases(draft.integer_graph(), draft.seen)))


@step("analytic-bias-correction")
def analytic_bias_correction(draft: Draft) -> Draft:
    """b <- b - (W^ - W) E[x], E[x] the mean of the clipped normal distribution that batch norm left behind."""
    if draft.weights is None:
        raise AccelsimError("recipe: 'analytic-bias-correction' comes after a step that chooses weight codes")
    moments = output_moments(draft.seen)
    biases = dict(draft.biases)
    for node in mac_nodes(draft.graph):
        weight = node.parameters["weight"].double().numpy()
        codes = draft.weights[node.name]
        error = dequantize(codes.values, codes.params) - weight
        own = node.parameters["bias"].double().numpy() if "bias" in node.parameters else np.zeros(len(weight))
        shift = through_layer(node, summed_taps(node, error), moments[node.inputs[0].name].mean)
        biases[node.name] = biases.get(node.name, own) - shift
    return replace(draft, biases=biases)


def real_biases(graph: IntegerGraph) -> dict[str, np.ndarray]:
    """MAC layer → its bias in real values, float64: exactly code * s_x * s_w."""
    return {
        op.name: op.bias * (graph.tensors[op.inputs[0]].params.scale * np.asarray(op.weight_params.scale))
        for op in graph.mac_ops
        if op.bias is not None
    }
