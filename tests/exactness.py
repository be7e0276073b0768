"""A network's integers against float64 and against the scheme in Python integers, layer by layer."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from accelsim_kernels import reference

import accelsim as acs
from accelsim.ops.mac import Conv2d, MacOp
from accelsim.quant import dequantize


def float64_accumulators(graph: acs.IntegerGraph, op: MacOp, codes: np.ndarray) -> np.ndarray:
    """The layer in float64 torch on dequantized values, divided by the scale of its products."""
    params = graph.tensors[op.inputs[0]].params
    x = torch.as_tensor(dequantize(codes, params))
    weight = torch.as_tensor(dequantize(op.weight, op.weight_params))
    scale = params.scale * np.asarray(op.weight_params.scale)
    if isinstance(op, Conv2d):
        (top, bottom), (left, right) = op.padding
        x = F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
        y = F.conv2d(x, weight.permute(0, 3, 1, 2), stride=op.stride, dilation=op.dilation, groups=op.groups).permute(
            0, 2, 3, 1
        )
    else:
        y = F.linear(x, weight)
    return y.numpy() / scale + (0 if op.bias is None else op.bias)


def check_layers(graph: acs.IntegerGraph, images: np.ndarray) -> None:
    """float64 sums give the accumulators; the scheme in Python integers gives the outputs: no difference."""
    run = acs.simulate(graph, images, keep="all")
    for op in graph.mac_ops:
        expected = np.rint(float64_accumulators(graph, op, run.tensors[op.inputs[0]]))
        accumulators = run.accumulators[op.name]
        assert np.array_equal(expected, accumulators), op.name
        # one Python-integer evaluation for each (channel, accumulator) that occurs
        for channel in range(accumulators.shape[-1]):
            values, where = np.unique(accumulators[..., channel], return_inverse=True)
            outputs = run.tensors[op.output][..., channel]
            if op.requantizer is None:
                assert np.array_equal(outputs, accumulators[..., channel])
                continue
            keywords = {
                key: value[channel] if isinstance(value, np.ndarray) else value
                for key, value in op.requantizer.kwargs().items()
            }
            slow = reference.requantize(values, **keywords)
            assert np.array_equal(slow[where].reshape(outputs.shape), outputs), (op.name, channel)
