"""Cross-layer equalization (paper, section 4.1; Nagel et al., Data-Free Quantization, 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from accelsim.frontend.float_graph import Bound, FloatGraph, FloatNode
from accelsim.frontend.recipes.chains import Chain, by_input, chains, largest_reading_weights, output_ranges
from accelsim.frontend.recipes.draft import Draft, step

_CONVERGED = 1e-3  # largest abs(log s) of a whole pass
LARGEST = 2.0**16  # of s: weights that are nearly 0 must not blow up what reads them


@step("equalize")
def equalize(draft: Draft, iterations: int = 50) -> Draft:
    """W1 <- S^-1 W1, b1 <- S^-1 b1, W2 <- W2 S with s_i = sqrt(r_i(1) r_i(2)) / r_i(2), pair by pair until still.

    Along every chain of the network, through depthwise and transpose convolutions, pools, resizes, concatenations;
    layers whose channels meet in an addition or leave the network are left alone. Bounded activations (ReLU6) get a
    bound per channel, divided by s_i.
    """
    graph = draft.graph
    names = [chain.first.name for chain in chains(graph)]
    for _ in range(iterations):
        largest = 0.0
        for name in names:
            chain = next(found for found in chains(graph) if found.first.name == name)
            scales = equalizing_scales(chain)
            largest = max(largest, float(np.abs(np.log(scales)).max()))
            graph = rescale(graph, chain, scales)
        if largest < _CONVERGED:
            break
    return draft.rewritten(graph) if names else draft


def equalizing_scales(chain: Chain) -> np.ndarray:
    """s_i that makes the ranges of channel i equal before and behind; 1 where a side is all zeros."""
    first = output_ranges(chain.first)
    second = largest_reading_weights(chain)
    alive = (first > 0) & (second > 0)
    scales = np.ones(chain.channels)
    scales[alive] = np.sqrt(first[alive] / second[alive])
    return np.clip(scales, 1 / LARGEST, LARGEST)


def rescale(graph: FloatGraph, chain: Chain, scales: np.ndarray) -> FloatGraph:
    """The same function with channel i of the chain divided by scales[i]."""
    changed = {chain.first.name: _divided(chain.first, scales)}
    for reader in chain.readers:
        node = changed.get(reader.node.name, reader.node)  # one that reads the channels twice
        weight = by_input(node, reader.repeat)
        weight = weight * reader.placed(scales, 1.0).reshape(weight.shape[0], 1, -1, 1)
        parameters = dict(node.parameters)
        parameters["weight"] = torch.from_numpy(weight.reshape(parameters["weight"].shape)).float()
        changed[node.name] = replace(node, parameters=parameters)
    return _exchanged(graph, changed)


def _exchanged(graph: FloatGraph, changed: Mapping[str, FloatNode]) -> FloatGraph:
    return replace(graph, nodes=tuple(changed.get(node.name, node) for node in graph.nodes))


def _divided(node: FloatNode, scales: np.ndarray) -> FloatNode:
    parameters = dict(node.parameters)
    divisor = torch.from_numpy(scales)
    for name in ("bias", "mean", "deviation"):
        if name in parameters:
            parameters[name] = (parameters[name].double() / divisor).to(parameters[name].dtype)
    weight = parameters["weight"]
    parameters["weight"] = (weight.double() / divisor.view(-1, *[1] * (weight.ndim - 1))).float()
    return replace(node, parameters=parameters, clamp=(_bound(node.clamp[0], scales), _bound(node.clamp[1], scales)))


def _bound(bound: Bound, scales: np.ndarray) -> Bound:
    if bound is None or bound == 0.0:
        return bound
    return tuple((np.asarray(bound) / scales).tolist())
