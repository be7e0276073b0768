"""GPTQ: weights rounded one tap at a time, each error passed on to the taps that follow (Frantar et al., 2023)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.calibrate import mac_nodes
from accelsim.frontend.groups import GroupedParams
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.frontend.recipes.layerwise import adjust_layers, real_input, with_torch_weight
from accelsim.frontend.recipes.rows import draw, input_rows
from accelsim.ops.mac import MacOp
from accelsim.quant import QTensor


@step("gptq")
def gptq(draft: Draft, rows: int = 8192, damping: float = 0.01, seed: int = 0) -> Draft:
    """Codes that come close to min ||W x^ - W^ x^||^2 for each layer, tap by tap by falling energy of the taps.

    x^: the layer's inputs as the already quantized network computes them, `rows` output positions of them. damping:
    added to the diagonal of x^ x^', as a share of its mean. Grids stay as an earlier step chose them.
    """
    if draft.weights is None:
        raise AccelsimError("recipe: 'gptq' comes after a step that chooses weight grids: add 'weight-ranges'")
    graph = draft.integer_graph()
    nodes = {node.name: node for node in mac_nodes(draft.graph)}
    weights = dict(draft.weights)
    done = 0
    draft.report("GPTQ", 0, len(nodes))

    def round_layer(op: MacOp, codes: np.ndarray) -> MacOp:
        nonlocal done
        if op.name not in nodes:
            return op
        node = nodes[op.name]
        chosen = draw(node, len(codes), rows, torch.Generator().manual_seed(seed))
        x = input_rows(node, real_input(graph, op, codes), chosen).double().numpy()
        gram = np.matmul(x.transpose(0, 2, 1), x) / x.shape[1]
        held = weights[op.name]
        real = node.parameters["weight"].double().numpy()
        scale, zero = (np.asarray(value) for value in (held.params.scale, held.params.zero_point))
        if not isinstance(held.params, GroupedParams):
            scale, zero = (np.broadcast_to(value, len(real)).reshape(-1, 1) for value in (scale, zero))
        by_group = (len(gram), len(real) // len(gram), -1)
        found = rounded(
            real.reshape(by_group),
            gram,
            scale.reshape(by_group),
            zero.reshape(by_group),
            (held.params.qmin, held.params.qmax),
            damping,
        )
        weights[op.name] = QTensor(found.reshape(real.shape).astype(held.params.dtype), held.params)
        done += 1
        draft.report("GPTQ", done, len(nodes))
        return with_torch_weight(graph, op, weights[op.name].values)

    adjust_layers(graph, draft.seen, round_layer)
    return replace(draft, weights=weights)


def rounded(
    weight: np.ndarray,
    gram: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    limits: tuple[int, int],
    damping: float,
) -> np.ndarray:
    """Codes int64 of weight (groups, outputs, taps). gram: (groups, taps, taps).

    scale, zero_point: (groups, outputs), or (groups, outputs, taps) where they differ along the taps.

    With U the upper Cholesky factor of the inverse of the damped Gram matrix, tap k is rounded and its error divided
    by U_kk goes to every later tap j with the factor U_kj: what optimal brain surgery prescribes.
    """
    taps = gram.shape[1]
    scale, zero_point = (
        np.broadcast_to(value if value.ndim == 3 else value[..., None], weight.shape) for value in (scale, zero_point)
    )
    out = np.empty(weight.shape, np.int64)
    for g in range(len(weight)):
        order = np.argsort(-np.diag(gram[g]), kind="stable")
        h = gram[g][np.ix_(order, order)]
        h = h + np.eye(taps) * max(damping * float(np.diag(h).mean()), 1e-12)
        upper = np.linalg.cholesky(np.linalg.inv(h)).T
        left = weight[g][:, order].copy()
        codes = np.empty_like(left)
        for k in range(taps):
            step, zero = scale[g][:, order[k]], zero_point[g][:, order[k]]
            codes[:, k] = np.clip(np.rint(left[:, k] / step) + zero, *limits)
            error = (left[:, k] - step * (codes[:, k] - zero)) / upper[k, k]
            left[:, k + 1 :] -= np.outer(error, upper[k, k + 1 :])
        out[g][:, order] = codes.astype(np.int64)
    return out
