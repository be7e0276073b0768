"""Empirical bias correction (paper, section 4.2): the mean error of every output channel goes into its bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import accelsim_kernels as kernels
import numpy as np
from accelsim_kernels.names import SCHEMES

from accelsim.frontend.observe import Observation
from accelsim.graph import IntegerGraph
from accelsim.ops.base import Op
from accelsim.ops.mac import MacOp
from accelsim.simulator import input_codes

#: wide enough that no sum of a calibration run overflows
_EXACT_BITS = 63


def correct_biases(graph: IntegerGraph, seen: Observation) -> IntegerGraph:
    """b <- b - E[W^ x^] + E[W x], layer by layer, each fed by the already corrected integer network.

    Expectations are over the calibration data and, for convolutions, over all positions; before the activation.
    """
    means = seen.channel_means
    tensors = {
        name: np.concatenate([batch[i].numpy() for batch in seen.batches]) for i, name in enumerate(graph.inputs)
    }
    alive: dict[str, np.ndarray] = dict(input_codes(graph, tensors, kernels))
    last_reader = {name: op.name for op in graph.ops for name in op.inputs}
    ops: list[Op] = []
    for op in graph.ops:
        inputs = [alive[name] for name in op.inputs]
        if isinstance(op, MacOp):
            accumulators, _ = op.accumulate(inputs, kernels, _exact(graph, op))
            error = _mean_error(graph, op, accumulators, means[op.name])
            op = replace(op, bias=_added(op.bias, error))
            alive[op.output] = op.rescale(_held(op, accumulators + error), kernels)
        else:
            alive[op.output] = op.run(inputs, kernels, {}).values
        ops.append(op)
        for name in op.inputs:
            if last_reader[name] == op.name:
                alive.pop(name, None)
    return replace(graph, ops=tuple(ops))


def _mean_error(graph: IntegerGraph, op: MacOp, accumulators: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """What to add to the bias codes, int64 per output channel."""
    scale = graph.tensors[op.inputs[0]].params.scale * np.asarray(op.weight_params.scale)
    got = accumulators.reshape(-1, accumulators.shape[-1]).mean(axis=0, dtype=np.float64)
    return np.rint(expected / scale - got).astype(np.int64)


def _exact(graph: IntegerGraph, op: MacOp) -> dict[str, Any]:
    """An accumulator that holds every sum of the layer: 32 bits, the fast one, wherever they are enough."""
    x = graph.tensors[op.inputs[0]].params
    largest_input = max(abs(x.qmin - op.x_zero_point), abs(x.qmax - op.x_zero_point))
    centred = op.weight.astype(np.int64).reshape(len(op.weight), -1)
    centred = np.abs(centred - np.reshape(op.weight_params.zero_point, (-1, 1)))
    bound = largest_input * int(centred.sum(axis=1).max())
    if op.bias is not None:
        bound += int(np.abs(op.bias.astype(np.int64)).max())
    return {"levels": [(32 if bound < 2**31 else _EXACT_BITS, "wrap", None)]}


def _added(bias: np.ndarray | None, error: np.ndarray) -> np.ndarray:
    total = error if bias is None else bias.astype(np.int64) + error
    return total.astype(np.int32) if np.abs(total).max(initial=0) < 2**31 else total


def _held(op: MacOp, accumulators: np.ndarray) -> np.ndarray:
    """Accumulators as the layer's scheme can take them: int32 where they fit, clipped to its domain."""
    bits = 63 if op.requantizer is None else SCHEMES[op.requantizer.scheme].accumulator_bits
    limit = (1 << (bits - 1)) - 1
    clipped = np.clip(accumulators, -limit - 1, limit)
    return clipped.astype(np.int32) if np.abs(clipped).max(initial=0) < 2**31 else clipped
