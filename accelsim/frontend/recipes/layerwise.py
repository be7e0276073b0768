"""A walk through the integer network that may change each MAC layer before the next one sees its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import accelsim_kernels as kernels
import numpy as np
import torch
from accelsim_kernels.names import SCHEMES

from accelsim.frontend.groups import FRACTION_BITS
from accelsim.frontend.observe import Observation
from accelsim.graph import IntegerGraph
from accelsim.ops.base import Op
from accelsim.ops.grouped_linear import GroupedLinear
from accelsim.ops.mac import MacOp
from accelsim.ops.spread import Spread
from accelsim.quant import QuantParams, dequantize
from accelsim.simulator import input_codes

#: wide enough that no sum of a calibration run overflows
_EXACT_BITS = 63

#: (operator, its input codes) → the operator to go on with
Adjust = Callable[[MacOp, np.ndarray], MacOp]


def adjust_layers(graph: IntegerGraph, seen: Observation, adjust: Adjust) -> IntegerGraph:
    """The graph with every MAC layer as `adjust` returns it, each fed by the layers adjusted before it.

    Over all calibration data at once; accumulators are wide enough for every sum.
    """
    alive = calibration_codes(graph, seen)
    last_reader = {name: op.name for op in graph.ops for name in op.inputs}
    ops: list[Op] = []
    for op in graph.ops:
        inputs = [alive[name] for name in op.inputs]
        if isinstance(op, MacOp):
            op = adjust(op, inputs[0])
            accumulators, _ = op.accumulate(inputs, kernels, exact_accumulator(graph, op))
            alive[op.output] = op.rescale(held(op, accumulators), kernels)
        else:
            alive[op.output] = _run(op, inputs, alive)
        ops.append(op)
        for name in op.inputs:
            if last_reader[name] == op.name:
                alive.pop(name, None)
    return replace(graph, ops=tuple(ops))


def tensor_codes(graph: IntegerGraph, seen: Observation, wanted: str) -> np.ndarray:
    """Codes of one tensor on all calibration data; operators behind it are not run."""
    alive = calibration_codes(graph, seen)
    for op in graph.ops:
        if wanted in alive:
            break
        inputs = [alive[name] for name in op.inputs]
        if isinstance(op, MacOp):
            accumulators, _ = op.accumulate(inputs, kernels, exact_accumulator(graph, op))
            alive[op.output] = op.rescale(held(op, accumulators), kernels)
        else:
            alive[op.output] = _run(op, inputs, alive)
    return alive[wanted]


def _run(op: Op, inputs: list[np.ndarray], alive: dict[str, np.ndarray]) -> np.ndarray:
    """Codes of an operator without weights; a constant's are repeated for every sample."""
    values = op.run(inputs, kernels, {}).values
    return values if inputs else np.repeat(values, len(next(iter(alive.values()))), axis=0)


def calibration_codes(graph: IntegerGraph, seen: Observation) -> dict[str, np.ndarray]:
    """All calibration inputs as codes, by tensor name."""
    tensors = {
        name: np.concatenate([batch[i].numpy() for batch in seen.batches]) for i, name in enumerate(graph.inputs)
    }
    return dict(input_codes(graph, tensors, kernels))


def exact_accumulator(graph: IntegerGraph, op: MacOp) -> dict[str, Any]:
    """An accumulator that holds every sum of the layer: 32 bits, the fast one, wherever they are enough."""
    x = input_grid(graph, op)
    largest_input = max(abs(x.qmin - op.x_zero_point), abs(x.qmax - op.x_zero_point))
    centred = op.weight.astype(np.int64).reshape(len(op.weight), -1)
    centred = np.abs(centred - np.reshape(op.weight_params.zero_point, (-1, 1)))
    bound = largest_input * int(centred.sum(axis=1).max())
    if op.bias is not None:
        bound += int(np.abs(op.bias.astype(np.int64)).max())
    if isinstance(op, GroupedLinear):
        bound <<= FRACTION_BITS + 1  # the common scale of its groups is finer
    return {"levels": [(32 if bound < 2**31 else _EXACT_BITS, "wrap", None)]}


def held(op: MacOp, accumulators: np.ndarray) -> np.ndarray:
    """Accumulators as the layer's scheme can take them: int32 where they fit, clipped to its domain."""
    bits = 63 if op.requantizer is None else SCHEMES[op.requantizer.scheme].accumulator_bits
    limit = (1 << (bits - 1)) - 1
    clipped = np.clip(accumulators, -limit - 1, limit)
    return clipped.astype(np.int32) if np.abs(clipped).max(initial=0) < 2**31 else clipped


def input_grid(graph: IntegerGraph, op: MacOp) -> QuantParams:
    """The grid of what the layer reads."""
    params = graph.tensors[op.inputs[0]].params
    assert isinstance(params, QuantParams)  # only outputs of the network leave as accumulators
    return params


def real_input(graph: IntegerGraph, op: MacOp, codes: np.ndarray) -> torch.Tensor:
    """What the codes that the operator reads stand for, float32, as torch's layer reads it."""
    spread = _spread_before(graph, op)
    if spread is not None:
        codes = codes[:, :: spread.stride[0], :: spread.stride[1]]
    real = dequantize(codes, graph.tensors[op.inputs[0]].params).astype(np.float32)
    if op.weight.ndim == 4:
        real = np.ascontiguousarray(real.transpose(0, 3, 1, 2))
    return torch.from_numpy(real)


def with_torch_weight(graph: IntegerGraph, op: MacOp, codes: np.ndarray) -> MacOp:
    """The operator with other weight codes, given in the float network's layout: (K, C/groups, fy, fx) or (K, C)."""
    weight = codes.transpose(0, 2, 3, 1) if codes.ndim == 4 else codes
    if _spread_before(graph, op) is not None:
        weight = weight[:, ::-1, ::-1]
    return replace(op, weight=np.ascontiguousarray(weight.astype(op.weight.dtype)))


def _spread_before(graph: IntegerGraph, op: MacOp) -> Spread | None:
    """What a transpose convolution with groups or dilation is preceded by: its own operator convolves the other way."""
    maker = next((other for other in graph.ops if other.output == op.inputs[0]), None)
    return maker if isinstance(maker, Spread) else None
