"""AdaRound: weights rounded up or down so that each layer's outputs come closest (paper, section 4.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.calibrate import mac_nodes
from accelsim.frontend.float_graph import FloatNode, clamped
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.frontend.recipes.layerwise import adjust_layers, real_input, with_torch_weight
from accelsim.frontend.recipes.rounding import SoftWeight, annealed_beta, one_thread
from accelsim.frontend.recipes.rows import draw, input_rows, output_rows
from accelsim.ops.mac import MacOp
from accelsim.quant import QTensor, dequantize

_MINIBATCH = 256  # rows of one step
_WEIGHT_OF_REGULARIZER = 0.01
_CHECKED_EVERY = 25


@step("adaround")
def adaround(
    draft: Draft, iterations: int = 300, rows: int = 8192, learning_rate: float = 0.03, seed: int = 0
) -> Draft:
    """min over V of ||f(W x + b) - f(W~ x^ + b)||^2 + lambda sum(1 - |2 h(V) - 1|^beta), layer by layer.

    f: the layer's activation. x^: the layer's inputs as the already quantized network computes them. beta falls
    from 20 to 2 behind a warm-up. A layer stops early once every weight has decided, and keeps the nearest codes
    where those are closer. rows: output positions drawn per layer; all random choices come from `seed`.
    """
    if draft.weights is None:
        raise AccelsimError("recipe: 'adaround' comes after a step that chooses weight grids: add 'weight-ranges'")
    graph = draft.integer_graph()
    nodes = {node.name: node for node in mac_nodes(draft.graph)}
    biases = {name: torch.from_numpy(value).float() for name, value in draft.biases.items()}
    weights = dict(draft.weights)
    order = list(nodes)
    draft.report("AdaRound", 0, len(order))

    def round_layer(op: MacOp, codes: np.ndarray) -> MacOp:
        if op.name not in nodes:  # a product of two activations has no weights to round
            return op
        node = nodes[op.name]
        generator = torch.Generator().manual_seed(seed)
        problem = _Problem(node, real_input(graph, op, codes), draft.seen.values(op.name), rows, generator)
        problem.bias = biases.get(op.name, problem.bias)
        weights[op.name] = _solve(problem, weights[op.name], iterations, learning_rate, generator)
        draft.report("AdaRound", order.index(op.name) + 1, len(order))
        return with_torch_weight(graph, op, weights[op.name].values)

    with one_thread():
        adjust_layers(graph, draft.seen, round_layer)
    return replace(draft, weights=weights)


class _Problem:
    """Rows of one layer: x (groups, rows, taps), target (rows, outputs), both float32."""

    def __init__(
        self, node: FloatNode, x: torch.Tensor, target: torch.Tensor, rows: int, generator: torch.Generator
    ) -> None:
        weight = node.parameters["weight"]
        self.node = node
        self.weight = weight
        self.bias = node.parameters.get("bias", torch.zeros(len(weight))).float()
        self.groups = node.attributes.get("groups", 1)
        chosen = draw(node, len(x), rows, generator)
        self.x = input_rows(node, x, chosen)
        self.target = output_rows(node, target, chosen)

    def outputs(self, weight: torch.Tensor, chosen: torch.Tensor | slice) -> torch.Tensor:
        """f(W x + b) at the chosen rows: (rows, outputs)."""
        by_group = weight.reshape(self.groups, len(weight) // self.groups, -1)
        x = self.x[:, chosen]
        if self.groups == 1:
            y = x[0] @ by_group[0].T
        else:
            y = torch.bmm(x, by_group.transpose(1, 2))  # (groups, rows, outputs of the group)
            y = y.transpose(0, 1).reshape(y.shape[1], -1)
        return clamped(y + self.bias, self.node.clamp)

    def error(self, weight: torch.Tensor, chosen: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Squared error, summed over outputs, mean over rows."""
        return (self.outputs(weight, chosen) - self.target[chosen]).square().sum(dim=1).mean()


def _solve(
    problem: _Problem, codes: QTensor, iterations: int, learning_rate: float, generator: torch.Generator
) -> QTensor:
    soft = SoftWeight(problem.weight, codes.params)
    nearest = soft.to_nearest()
    with torch.no_grad():
        unit = float(problem.error(_real(nearest))) / problem.target.shape[1] or 1.0
    optimizer = torch.optim.Adam([soft.v], lr=learning_rate)
    count = problem.target.shape[0]
    for iteration in range(iterations):
        chosen = torch.randint(count, (min(_MINIBATCH, count),), generator=generator)
        loss = problem.error(soft(), chosen) / unit
        beta = annealed_beta(iteration / iterations)
        if beta is not None:
            loss = loss + _WEIGHT_OF_REGULARIZER * soft.regularizer(beta)
            if iteration % _CHECKED_EVERY == 0 and soft.settled():
                break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    rounded = soft.rounded()
    with torch.no_grad():
        return min(rounded, nearest, key=lambda found: float(problem.error(_real(found))))


def _real(codes: QTensor) -> torch.Tensor:
    return torch.from_numpy(dequantize(codes.values, codes.params)).float()
