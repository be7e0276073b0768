"""SmoothQuant: outliers of activations are moved into the weights that read them (Xiao et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatGraph
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.operators.transpose_conv import MAC_LAYERS
from accelsim.frontend.recipes.chains import Chain, chains, largest_reading_weights, norm_chains
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.frontend.recipes.equalize import LARGEST, rescale


@step("smooth")
def smooth(draft: Draft, alpha: float = 0.5) -> Draft:
    """Channel i divided by s_i = max|x_i|^alpha / max|w_i|^(1 - alpha), the weights that read it multiplied by s_i.

    x_i: channel i as it enters the reading layer, over the calibration data; w_i: the weights that read it. Along the
    chains that `equalize` follows, and from the gains of layer norms into the layers that read them. alpha: 0 leaves
    all difficulty to the activations, 1 to the weights.
    """
    if not 0 <= alpha <= 1:
        raise AccelsimError(f"recipe: smooth(alpha={alpha}): alpha must be in [0, 1]")
    graph = draft.graph
    names = [chain.first.name for chain in _chains(graph)]
    for name in names:
        chain = next(found for found in _chains(graph) if found.first.name == name)
        graph = rescale(graph, chain, _scales(draft, chain, alpha))
    return draft.rewritten(graph) if names else draft


def _chains(graph: FloatGraph) -> Iterator[Chain]:
    yield from chains(graph)
    yield from norm_chains(graph)


def _scales(draft: Draft, chain: Chain, alpha: float) -> np.ndarray:
    # behind pools and reshapes the largest value of a channel is at most that of the layer's own output
    images = chain.first.operator in MAC_LAYERS and chain.first.operator is not Linear
    axis = 1 if images else -1
    values = draft.seen.values(chain.first.name).abs().movedim(axis, 0).flatten(1).amax(dim=1).double().numpy()
    weights = largest_reading_weights(chain)
    alive = (values > 0) & (weights > 0)
    scales = np.ones(chain.channels)
    scales[alive] = values[alive] ** alpha / weights[alive] ** (1 - alpha)
    return np.clip(scales, 1 / LARGEST, LARGEST)
