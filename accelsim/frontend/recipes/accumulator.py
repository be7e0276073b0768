"""Weights that cannot overflow a narrow accumulator, whatever the input (A2Q+; Colbert et al., 2024)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.calibrate import mac_nodes
from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.recipes.budget import Budget, Quadratic
from accelsim.frontend.recipes.coordinates import descend
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.frontend.recipes.layerwise import adjust_layers, input_grid, real_input
from accelsim.frontend.recipes.rows import draw, input_rows
from accelsim.ops.grouped_linear import GroupedLinear
from accelsim.ops.mac import MacOp
from accelsim.profiles import load_profile
from accelsim.quant import QTensor, QuantParams

# scales tried, relative to the chosen grid: larger steps spend less of the budget
_COARSEST = 256.0
_STILL = 0.995  # of the error that is left: two coarser scales that gain less are the last
_PULL = 0.01  # towards the float weights, as a share of the mean diagonal of the Gram matrix


@step("accumulator")
def accumulator(draft: Draft, bits: int = 16, zero_centred: bool = False, rows: int = 4096, seed: int = 0) -> Draft:
    """Weight codes and biases for which no input can make a `bits`-bit accumulator overflow, layer by layer.

    Each layer's codes minimise ||W x + b - (W^ x^ + b^)||^2 over the calibration data within the budget (B1) of its
    bias, zero point and weights; x^ are the inputs that the already projected network computes. Coarser weight
    scales are tried, because larger steps spend less of the budget. Comes last in a recipe: it sets weights and
    biases for good. The bound holds for accumulators with zero points at the operands and one level, the bias
    first or last; `certify` says what holds for a specification. zero_centred: also sum(q) = 0 for each channel.
    Raises AccelsimError naming a layer whose bias alone does not fit.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 8 <= bits <= 32:
        raise AccelsimError(f"recipe: accumulator(bits={bits}): bits must be 8 to 32")
    if draft.weights is None or draft.activations is None:
        raise AccelsimError("recipe: 'accumulator' comes after 'activation-ranges' and 'weight-ranges'")
    coarser = 2.0 if load_profile(draft.config.profile).power_of_two else 2.0**0.5
    graph = draft.integer_graph()
    nodes = {node.name: node for node in mac_nodes(draft.graph)}
    weights, biases = dict(draft.weights), dict(draft.biases)
    done = 0
    draft.report("accumulators", 0, len(nodes))

    def project(op: MacOp, codes: np.ndarray) -> MacOp:
        nonlocal done
        if op.name not in nodes:
            raise AccelsimError(
                f"layer {op.name!r}: 'accumulator' bounds layers with weights, not products of activations"
            )
        node, x = nodes[op.name], input_grid(graph, op)
        if isinstance(op, GroupedLinear):
            raise AccelsimError(
                f"layer {node.layer!r}: 'accumulator' needs one weight scale for a whole sum: no groups"
            )
        if not op.weight_params.symmetric:
            raise AccelsimError(f"layer {node.layer!r}: 'accumulator' needs symmetric weights (weight zero point 0)")
        chosen = draw(node, len(codes), rows, torch.Generator().manual_seed(seed))
        inputs = input_rows(node, real_input(graph, op, codes), chosen).double().numpy() / x.scale
        real = input_rows(node, draft.seen.values(node.inputs[0].name), chosen).double().numpy()
        most = (1 << (bits - 1)) - 1
        budget = Budget(x.qmin - op.x_zero_point, x.qmax - op.x_zero_point, -most - 1, most)
        u = np.rint(inputs)
        weights[op.name], bias = _project(
            node, u, real, x.scale, op.weight_params, budget, coarser, zero_centred=zero_centred
        )
        scale = np.asarray(weights[op.name].params.scale)
        biases[op.name] = bias * (x.scale * scale)
        done += 1
        draft.report("accumulators", done, len(nodes))
        new = draft_graph_op(replace(draft, weights=weights, biases=biases), op.name)
        return replace(new, inputs=op.inputs)

    adjust_layers(graph, draft.seen, project)
    return replace(draft, weights=weights, biases=biases)


def draft_graph_op(draft: Draft, name: str) -> MacOp:
    """One MAC operator of the draft as it is lowered now: a new weight scale has a new requantizer."""
    return next(op for op in draft.integer_graph().mac_ops if op.name == name)


def _project(
    node: FloatNode,
    u: np.ndarray,
    x: np.ndarray,
    x_scale: float,
    params: QuantParams,
    budget: Budget,
    coarser: float,
    *,
    zero_centred: bool,
) -> tuple[QTensor, np.ndarray]:
    """(codes in torch's layout, bias codes). u, x: (groups, rows, taps): quantized inputs in steps, float inputs."""
    weight = node.parameters["weight"].double().numpy()
    groups = u.shape[0]
    w = weight.reshape(groups, len(weight) // groups, -1)
    own = node.parameters["bias"].double().numpy() if "bias" in node.parameters else np.zeros(len(weight))
    y = np.einsum("grk,gnk->grn", x, w) + own.reshape(groups, 1, -1)
    mean, level = u.mean(axis=1), y.mean(axis=1)
    centred = u - mean[:, None]
    gram = np.matmul(centred.transpose(0, 2, 1), centred) / u.shape[1]
    cross = np.matmul((y - level[:, None]).transpose(0, 2, 1), centred) / u.shape[1]
    pull = _PULL * np.maximum(np.einsum("gkk->gk", gram).mean(axis=1), 1e-9)[:, None, None]
    gram = gram + pull * np.eye(gram.shape[1])
    scale = np.broadcast_to(np.asarray(params.scale, np.float64), len(weight)).reshape(groups, -1)
    # the error of no weight at all, in squared steps of x: what the codes take away is counted from here
    nothing = y.var(axis=1) / x_scale**2 + pull[:, :, 0] * np.square(w).sum(axis=2)
    problem = Quadratic(gram)
    best: dict[str, np.ndarray] = {}
    factor, useless = 1.0, 0
    while factor <= _COARSEST and useless < 2:
        unit = scale * factor
        target = cross / (unit * x_scale)[:, :, None] + pull * w / unit[:, :, None]
        q, bias, cost = descend(
            problem, target, mean, level / (unit * x_scale), (params.qmin, params.qmax), budget, zero_centred
        )
        error = nothing + cost * np.square(unit)
        if params.axis is None:
            error = np.broadcast_to(error.sum(), error.shape)
        best = best or {"q": q, "bias": bias, "error": np.full(error.shape, np.inf), "unit": unit}
        before, better = best["error"].sum(), error < best["error"]
        for name, value in (("q", q), ("bias", bias), ("error", error), ("unit", unit)):
            best[name] = np.where(better[:, :, None] if name == "q" else better, value, best[name])
        after = best["error"].sum()
        useless = 0 if np.isinf(after) or after < _STILL * before else useless + 1
        factor *= coarser
    if not np.isfinite(best["error"]).all():
        raise AccelsimError(f"layer {node.layer!r}: its bias alone does not fit the accumulator; give it more bits")
    units = best["unit"].reshape(-1)
    scales = units if params.axis is not None else units[0]
    narrow = np.asarray(scales, np.float32).astype(np.float64)
    grid = replace(params, scale=narrow if params.axis is not None else float(narrow))
    return QTensor(best["q"].reshape(weight.shape).astype(params.dtype), grid), best["bias"].reshape(-1)
