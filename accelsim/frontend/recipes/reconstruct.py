"""Block reconstruction with activations quantized at random, for 4 bits and below.

Li et al., BRECQ, 2021: rounding is learned for a block at a time, so that errors inside a block may cancel.
Wei et al., QDrop, 2022: while it is learned, each activation element is quantized or left real by a coin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatNode, clamped
from accelsim.frontend.recipes.blocks import Block, blocks
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.frontend.recipes.layerwise import tensor_codes
from accelsim.frontend.recipes.rounding import SoftWeight, annealed_beta, one_thread
from accelsim.quant import QTensor, QuantParams, dequantize

_MINIBATCH = 32  # samples of one step
_WEIGHT_OF_REGULARIZER = 0.01


@step("reconstruct")
def reconstruct(
    draft: Draft, iterations: int = 300, learning_rate: float = 0.03, drop: float = 0.5, seed: int = 0
) -> Draft:
    """min over the rounding of a block's weights of ||block(x) - block^(x^)||^2 + lambda regularizer, block by block.

    x^: the block's inputs as the already quantized network computes them. drop: the share of activation elements
    (of x^ and inside the block) left real at each step; 0 quantizes all of them. Each block keeps its codes where
    learning did not bring it closer. All random choices come from `seed`. AccelsimError where there is no block.
    """
    if draft.weights is None or draft.activations is None:
        raise AccelsimError("recipe: 'reconstruct' comes after 'activation-ranges' and 'weight-ranges'")
    if not 0 <= drop < 1:
        raise AccelsimError(f"recipe: reconstruct(drop={drop}): drop must be in [0, 1)")
    found = blocks(draft.graph)
    if not found:
        raise AccelsimError(
            f"recipe: 'reconstruct' learns blocks with one tensor in and one out, and this network of "
            f"{len(draft.graph.inputs)} input(s) has none; 'adaround' learns layer by layer"
        )
    draft.report("reconstruction", 0, len(found))
    with one_thread():
        for place, block in enumerate(found):
            generator = torch.Generator().manual_seed(seed + place)
            learned = _learn(draft, block, iterations, learning_rate, drop, generator)
            draft = replace(draft, weights={**(draft.weights or {}), **learned})
            draft.report("reconstruction", place + 1, len(found))
    return draft


def _learn(
    draft: Draft, block: Block, iterations: int, learning_rate: float, drop: float, generator: torch.Generator
) -> dict[str, QTensor]:
    weights, activations = draft.weights or {}, draft.activations or {}
    real, coded = draft.seen.values(block.source), _quantized_input(draft, block.source)
    target = draft.seen.values(block.output.name)
    soft = {
        n.name: SoftWeight(n.parameters["weight"], weights[n.name].params) for n in block.nodes if n.name in weights
    }
    biases = {name: torch.from_numpy(draft.biases[name]).float() for name in soft if name in draft.biases}
    before = {name: weights[name] for name in soft}

    def error(values: Mapping[str, torch.Tensor], chosen: torch.Tensor | slice, share: float) -> torch.Tensor:
        def through(node: FloatNode, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
            if node.name in values:
                parameters = {**node.parameters, "weight": values[node.name]}
                if node.name in biases:
                    parameters["bias"] = biases[node.name]
                node = replace(node, parameters=parameters)
            y = clamped(node.operator.execute(node, *tensors), node.clamp)
            grid = activations.get(node.name)
            # the block's own output is compared before its grid
            return (
                y if grid is None or node is block.output or node.operator.tied else _dropped(y, _fake(y, grid), share)
            )

        x = _dropped(real[chosen], coded[chosen], share)
        difference = block.run(x, through) - target[chosen]
        return difference.square().flatten(1).sum(dim=1).mean()

    def _dropped(y: torch.Tensor, quantized: torch.Tensor, share: float) -> torch.Tensor:
        if share == 0:
            return quantized
        return torch.where(torch.rand(y.shape, generator=generator) < share, y, quantized)

    with torch.no_grad():
        start = float(error({name: _real(codes) for name, codes in before.items()}, slice(None), 0.0))
    unit = start / target.shape[1] or 1.0
    optimizer = torch.optim.Adam([one.v for one in soft.values()], lr=learning_rate)
    for iteration in range(iterations):
        chosen = torch.randint(len(target), (min(_MINIBATCH, len(target)),), generator=generator)
        loss = error({name: one() for name, one in soft.items()}, chosen, drop) / unit
        beta = annealed_beta(iteration / iterations)
        if beta is not None:
            loss = loss + _WEIGHT_OF_REGULARIZER * sum(one.regularizer(beta) for one in soft.values())
            if iteration % 25 == 0 and all(one.settled() for one in soft.values()):
                break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    after = {name: one.rounded() for name, one in soft.items()}
    with torch.no_grad():
        end = float(error({name: _real(codes) for name, codes in after.items()}, slice(None), 0.0))
    return after if end < start else before


def _quantized_input(draft: Draft, tensor: str) -> torch.Tensor:
    """What the integer network computes for a tensor on the calibration data, in torch's layout."""
    graph = draft.integer_graph()
    real = dequantize(tensor_codes(graph, draft.seen, tensor), graph.tensors[tensor].params).astype(np.float32)
    if real.ndim == 4 and tensor not in graph.inputs:
        real = np.ascontiguousarray(real.transpose(0, 3, 1, 2))
    return torch.from_numpy(real)


class _RoundThrough(torch.autograd.Function):
    """rint forwards, the identity backwards (straight-through estimator)."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def _fake(y: torch.Tensor, grid: QuantParams) -> torch.Tensor:
    codes = _RoundThrough.apply(y / grid.scale) + grid.zero_point
    return (torch.clamp(codes, grid.qmin, grid.qmax) - grid.zero_point) * grid.scale


def _real(codes: QTensor) -> torch.Tensor:
    return torch.from_numpy(dequantize(codes.values, codes.params)).float()
