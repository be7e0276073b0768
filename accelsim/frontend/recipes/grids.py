"""Steps that choose grids: of weights, of activations, of both by layer position (paper, section 3.1)."""

from __future__ import annotations

from dataclasses import replace

from accelsim.errors import AccelsimError
from accelsim.frontend import calibrate
from accelsim.frontend.config import RANGES, QuantConfig
from accelsim.frontend.recipes.draft import Draft, step
from accelsim.frontend.recipes.moments import normal_limits, output_moments
from accelsim.quant import check_bits


@step("weight-ranges")
def weight_ranges(draft: Draft, method: str | None = None) -> Draft:
    """Weight grids by "mse", "min-max" or "percentile" (default: the configuration's), weights to the nearest codes.

    Layers whose `overrides` name a method keep it.
    """
    config = _with_method(draft.config, method, "weight-ranges")
    return replace(draft, weights=calibrate.quantize_weights(draft.graph, draft.activations_or_stand_in, config))


@step("activation-ranges")
def activation_ranges(draft: Draft, method: str | None = None) -> Draft:
    """Activation grids by "mse", "min-max" or "percentile" (default: the configuration's) of the calibration data."""
    config = _with_method(draft.config, method, "activation-ranges")
    return replace(draft, activations=calibrate.activation_params(draft.seen, config))


@step("batch-norm-ranges")
def batch_norm_ranges(draft: Draft, alpha: float = 6.0) -> Draft:
    """Activation grids from batch-norm statistics: min over channels of mean - alpha deviation to the max of
    mean + alpha deviation, within the activation's clamp. Only the range of the network's inputs is observed.
    """
    if not 0 < alpha < float("inf"):
        raise AccelsimError(f"recipe: batch-norm-ranges(alpha={alpha}): alpha must be greater than 0")
    limits = normal_limits(draft.graph, output_moments(draft.seen), alpha)
    inputs = {draft.seen.owners[ref.name] for ref in draft.graph.inputs}
    owned: dict[str, tuple[float, float]] = {}
    for name, owner in draft.seen.owners.items():
        low, high = limits[name]
        before = owned.get(owner, (low, high))
        owned[owner] = (min(low, before[0]), max(high, before[1]))
    owned.update({owner: draft.seen.limits[owner] for owner in inputs})
    config = replace(draft.config, ranges="min-max", overrides=_without_ranges(draft.config))
    seen = replace(draft.seen, limits=owned)
    return replace(draft, activations=calibrate.activation_params(seen, config))


@step("first-last-bits")
def first_last_bits(draft: Draft, weight_bits: int = 8, activation_bits: int = 8) -> Draft:
    """The first and the last MAC layer get these weight bits, the inputs of both these activation bits.

    Comes before the steps that choose grids.
    """
    if draft.weights is not None or draft.activations is not None:
        raise AccelsimError("recipe: 'first-last-bits' comes before the steps that choose grids")
    check_bits(weight_bits, "first-last-bits: weight_bits")
    check_bits(activation_bits, "first-last-bits: activation_bits")
    layers = calibrate.mac_nodes(draft.graph)
    if not layers:
        raise AccelsimError("first-last-bits: the network has no convolution or fully connected layer")
    makers = {node.name: node.layer for node in draft.graph.nodes}
    changes: dict[str, dict[str, int]] = {}
    for node in (layers[0], layers[-1]):
        changes.setdefault(node.layer, {})["weight_bits"] = weight_bits
        owner = draft.seen.owners[node.inputs[0].name]
        changes.setdefault(makers.get(owner, "input"), {})["activation_bits"] = activation_bits
    merged = {**(draft.config.overrides or {})}
    for layer, change in changes.items():
        merged[layer] = {**change, **merged.pop(layer, {})}
    return replace(draft, config=replace(draft.config, overrides=merged))


def _with_method(config: QuantConfig, method: str | None, name: str) -> QuantConfig:
    if method is None:
        return config
    if method not in RANGES:
        raise AccelsimError(f"recipe: {name}(method={method}): method must be one of {', '.join(RANGES)}")
    return replace(config, ranges=method)


def _without_ranges(config: QuantConfig) -> dict[str, dict[str, object]]:
    overrides = config.overrides or {}
    return {layer: {k: v for k, v in change.items() if k != "ranges"} for layer, change in overrides.items()}
