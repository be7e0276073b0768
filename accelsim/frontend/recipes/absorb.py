"""Absorption of high biases (Nagel et al., Data-Free Quantization, 2019, section 4.1.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from accelsim.frontend.float_graph import Bound, FloatGraph
from accelsim.frontend.operators.shape import Concat, Reshape
from accelsim.frontend.operators.transpose_conv import ConvTranspose2d
from accelsim.frontend.recipes.chains import POOLS, RESIZES, Chain, by_input, chains
from accelsim.frontend.recipes.draft import Draft, step


@step("absorb-bias")
def absorb_bias(draft: Draft, deviations: float = 3.0) -> Draft:
    """c_i = max(0, mean_i - 3 deviation_i); b1 <- b1 - c; b2 <- b2 + W2 c.

    relu(x) - c equals relu(x - c) where x >= c: for all but a thousandth of a normal distribution. Only where mean
    and deviation are known (folded batch norm), behind a ReLU or ReLU6, and where every output of a reader sees all of
    its filter: behind a border of zeros, or in a transpose convolution, the constant would not be one.
    """
    graph = draft.graph
    changed = False
    for name in [chain.first.name for chain in chains(graph)]:
        chain = next(found for found in chains(graph) if found.first.name == name)
        constants = _constants(chain, deviations)
        if constants is not None and np.any(constants > 0):
            graph, changed = _absorbed(graph, chain, constants), True
    return draft.rewritten(graph) if changed else draft


def _constants(chain: Chain, deviations: float) -> np.ndarray | None:
    first = chain.first
    if "mean" not in first.parameters or first.clamp[0] != 0.0 or "bias" not in first.parameters:
        return None
    if any(reader.node.operator is ConvTranspose2d for reader in chain.readers):
        return None
    if any(_pads(node.attributes.get("padding", ())) for node in (*chain.through, *(r.node for r in chain.readers))):
        return None
    if any(node.operator not in (*POOLS, *RESIZES, Reshape, Concat) for node in chain.through):
        return None
    mean, deviation = (first.parameters[key].double().numpy() for key in ("mean", "deviation"))
    return np.maximum(0.0, mean - deviations * deviation)


def _pads(padding: tuple) -> bool:
    return any(side for pair in padding for side in pair)


def _absorbed(graph: FloatGraph, chain: Chain, constants: np.ndarray) -> FloatGraph:
    first = chain.first
    shift = torch.from_numpy(constants)
    parameters = dict(first.parameters)
    for key in ("bias", "mean"):
        parameters[key] = (parameters[key].double() - shift).to(parameters[key].dtype)
    clamp: tuple[Bound, Bound] = (0.0, None)
    if first.clamp[1] is not None:
        clamp = (0.0, tuple((np.asarray(first.clamp[1]) - constants).clip(min=0.0).tolist()))
    changed = {first.name: replace(first, parameters=parameters, clamp=clamp)}
    for reader in chain.readers:
        node = changed.get(reader.node.name, reader.node)  # one that reads the channels twice
        weight, placed = by_input(node, reader.repeat), reader.placed(constants, 0.0)
        added = np.einsum("gkct,gc->gk", weight, placed.reshape(weight.shape[0], -1)).reshape(-1)
        parameters = dict(node.parameters)
        bias = parameters.get("bias", torch.zeros(len(added)))
        parameters["bias"] = (bias.double() + torch.from_numpy(added)).float()
        changed[node.name] = replace(node, parameters=parameters)
    return replace(graph, nodes=tuple(changed.get(node.name, node) for node in graph.nodes))
