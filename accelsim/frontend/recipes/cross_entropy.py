"""The grid of the logits by cross-entropy (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.frontend.calibrate import raw_outputs
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.quant import QuantParams, choose_params, dequantize, quantize

_FRACTIONS = np.linspace(0.1, 1.0, 91)


@step("cross-entropy-range")
def cross_entropy_range(draft: Draft) -> Draft:
    """argmin over ranges of H(softmax(v), softmax(v^)), v the logits on the calibration data.

    For each output of shape (classes,) that has a grid (`output_bits`); logits that leave as accumulators have
    none, and nothing is to be chosen. Comes after the step that chooses the other activation grids.
    """
    if draft.activations is None:
        raise AccelsimError("recipe: 'cross-entropy-range' comes after 'activation-ranges'")
    shapes = draft.graph.shapes()
    raw = raw_outputs(draft.graph, draft.config)
    params = dict(draft.activations)
    for index, name in enumerate(draft.graph.outputs):
        if len(shapes[name]) != 1 or name in raw:
            continue
        logits = np.concatenate([draft.graph.run(batch)[index].double().numpy() for batch in draft.seen.batches])
        bits = params[name].bits
        best = best_range(logits, bits, **draft.config.activation_grids)
        owner = draft.seen.owners[name]
        params.update(
            {member: best for member, held in draft.seen.owners.items() if held == owner and member in params}
        )
    return replace(draft, activations=params)


def best_range(logits: np.ndarray, bits: int, **grids: bool) -> QuantParams:
    """The grid of the shrunk ranges [f lower, f upper] with the least cross-entropy.

    logits: (N, classes). grids: keywords of choose_params().
    """
    target = _softmax(logits)
    lower, upper = min(float(logits.min()), 0.0), max(float(logits.max()), 0.0)
    candidates = [choose_params(f * lower, f * upper, bits=bits, **grids) for f in _FRACTIONS]
    losses = [
        -(target * _log_softmax(dequantize(quantize(logits, grid), grid))).sum(axis=1).mean() for grid in candidates
    ]
    return candidates[len(losses) - 1 - int(np.argmin(losses[::-1]))]


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(_log_softmax(x))
