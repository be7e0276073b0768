"""Empirical bias correction (paper, section 4.2): the mean error of every output channel goes into its bias."""

from __future__ import annotations

from dataclasses import replace

import accelsim_kernels as kernels
import numpy as np

from accelsim.frontend.observe import Observation
from accelsim.frontend.recipes.layerwise import adjust_layers, exact_accumulator
from accelsim.graph import IntegerGraph
from accelsim.ops.mac import MacOp


def correct_biases(graph: IntegerGraph, seen: Observation) -> IntegerGraph:
    """b <- b - E[W^ x^] + E[W x], layer by layer, each fed by the already corrected integer network.

    Expectations are over the calibration data and, for convolutions, over all positions; before the activation.
    """

    def corrected(op: MacOp, codes: np.ndarray) -> MacOp:
        accumulators, _ = op.accumulate([codes], kernels, exact_accumulator(graph, op))
        error = _mean_error(graph, op, accumulators, seen.channel_means[op.name])
        return replace(op, bias=_added(op.bias, error))

    return adjust_layers(graph, seen, corrected)


def _mean_error(graph: IntegerGraph, op: MacOp, accumulators: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """What to add to the bias codes, int64 per output channel."""
    scale = graph.tensors[op.inputs[0]].params.scale * np.asarray(op.weight_params.scale)
    got = accumulators.reshape(-1, accumulators.shape[-1]).mean(axis=0, dtype=np.float64)
    return np.rint(expected / scale - got).astype(np.int64)


def _added(bias: np.ndarray | None, error: np.ndarray) -> np.ndarray:
    total = error if bias is None else bias.astype(np.int64) + error
    return total.astype(np.int32) if np.abs(total).max(initial=0) < 2**31 else total
