"""Suspects: what may be wrong in distributions and configuration, each with the change that would mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from accelsim.frontend.calibrate import mac_nodes
from accelsim.frontend.config import QuantConfig
from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.ranges import Histogram
from accelsim.frontend.recipes.chains import Reader, chains, input_ranges, output_ranges
from accelsim.frontend.recipes.draft import Draft
from accelsim.frontend.recipes.layerwise import adjust_layers, exact_accumulator
from accelsim.ops.mac import MacOp
from accelsim.quant import QuantParams, choose_params

_OUTLIER = 16.0  # times the median range of the layer's channels
_WRONG_RANGE = 4.0  # times the squared error of the best range at these bits
_SHIFTED = 0.2  # share of a channel's squared error that is a constant


@dataclass(frozen=True)
class Suspect:
    """kind: "channel-range", "activation-range", "few-bits" or "bias-shift". what: in words, the layer named.

    remedy: in words; changed: the configuration that would mend it.
    """

    kind: str
    layer: str
    what: str
    remedy: str
    changed: QuantConfig


def suspects(draft: Draft) -> list[Suspect]:
    """Everything that looks wrong, without regard to whether it matters: `debug` tries each remedy."""
    return [*_channel_ranges(draft), *_activation_ranges(draft), *_few_bits(draft), *_bias_shifts(draft)]


def _channel_ranges(draft: Draft) -> Iterator[Suspect]:
    config = draft.config
    chained = {chain.first.name for chain in chains(draft.graph)}
    chained |= {reader.node.name for chain in chains(draft.graph) for reader in chain.readers}
    for node in mac_nodes(draft.graph):
        for side, ranges in _sides(draft, node):
            middle = float(np.median(ranges[ranges > 0])) if (ranges > 0).any() else 0.0
            channel = int(ranges.argmax())
            if middle == 0 or ranges[channel] < _OUTLIER * middle:
                continue
            times = f"{ranges[channel] / middle:.0f} times the median channel's"
            what = (
                f"layer {node.layer!r}: the range of its {side} channel {channel} is {times}, and they share one scale"
            )
            if node.name in chained and "equalize" not in [step.partition("(")[0] for step in config.steps]:
                rest = tuple(step for step in config.steps if step != "fold")
                changed = replace(config, recipe=("fold", "equalize", *rest))
                remedy = "equalize the layers (recipe 'white-paper', or the step 'equalize' first)"
            elif not config.for_layer(node.layer).per_channel:
                changed = _overridden(config, node.layer, per_channel=True)
                remedy = "give this layer weight scales per channel (per_channel=True)"
            else:
                bits = min(16, config.for_layer(node.layer).activation_bits + 4)
                changed = _overridden(config, node.layer, activation_bits=bits)
                remedy = f"give its output more bits (activation_bits={bits}), or retrain with quantization"
            yield Suspect("channel-range", node.layer, what, remedy, changed)
            break


def _sides(draft: Draft, node: FloatNode) -> Iterator[tuple[str, np.ndarray]]:
    """Ranges of channels that share a scale: weights by output and by input channel, and the layer's outputs."""
    if not draft.config.for_layer(node.layer).per_channel:
        yield "weights of output", output_ranges(node)
    inputs = input_ranges(Reader(node))
    if len(inputs) > 1 and node.attributes.get("groups", 1) == 1:
        yield "weights of input", inputs
    if node.operator is not Linear or len(node.shape) == 1:
        yield "output", draft.seen.values(node.name).abs().movedim(1, 0).flatten(1).amax(dim=1).double().numpy()


def _activation_ranges(draft: Draft) -> Iterator[Suspect]:
    grids = draft.config.activation_grids
    layers = {node.name: node.layer for node in draft.graph.nodes}
    for owner, histogram in draft.seen.histograms.items():
        params = (draft.activations or {}).get(owner)
        if params is None:
            continue
        lower, upper = histogram.least_squared_error(params.bits, grids["symmetric"])
        best = choose_params(lower, upper, bits=params.bits, **grids)
        ratio = grid_error(histogram, params) / max(grid_error(histogram, best), 1e-30)
        if ratio < _WRONG_RANGE:
            continue
        layer = layers.get(owner, "input")
        what = (
            f"layer {layer!r}: the grid of its output is {params.real_min:.4g} … {params.real_max:.4g}, its values are "
            f"{histogram.lower:.4g} … {histogram.upper:.4g}; {best.real_min:.4g} … {best.real_max:.4g} would leave "
            f"{ratio:.3g} times less squared error"
        )
        overrides = {
            pattern: {key: value for key, value in change.items() if key != "activation_range"}
            for pattern, change in (draft.config.overrides or {}).items()
        }
        changed = _overridden(replace(draft.config, overrides=overrides), layer, ranges="mse")
        yield Suspect(
            "activation-range", layer, what, "set this range by 'mse' on data that looks like the real", changed
        )


def grid_error(histogram: Histogram, params: QuantParams) -> float:
    """Sum of squared errors of the histogram's values on a grid."""
    codes = np.clip(np.rint(histogram.centres / params.scale) + params.zero_point, params.qmin, params.qmax)
    return float(histogram.counts @ np.square(histogram.centres - params.scale * (codes - params.zero_point)))


def _few_bits(draft: Draft) -> Iterator[Suspect]:
    macs = mac_nodes(draft.graph)
    widths = {node.layer: draft.config.for_layer(node.layer).weight_bits for node in macs}
    counts = Counter(widths.values())
    usual = max(counts, key=lambda bits: (counts[bits], bits), default=0)
    for layer, bits in widths.items():
        if bits < usual:
            what = f"layer {layer!r} has {bits}-bit weights among layers of {usual} bits"
            changed = _overridden(draft.config, layer, weight_bits=usual)
            yield Suspect("few-bits", layer, what, f"give it {usual} bits, or round it with 'adaround'", changed)


def _bias_shifts(draft: Draft) -> Iterator[Suspect]:
    if any("bias-correction" in step.partition("(")[0] for step in draft.config.steps):
        return
    shares = bias_shares(draft)
    shifted = {name: relative for name, (share, relative) in shares.items() if share >= _SHIFTED}
    if not shifted:
        return
    worst = max(shifted, key=lambda name: shifted[name])
    layer = draft.graph.node(worst).layer
    what = (
        f"layer {layer!r}: {shares[worst][0]:.0%} of the squared error of its outputs is a constant per channel, "
        "which a bias can take away"
    )
    changed = replace(draft.config, recipe=(*draft.config.steps, "bias-correction"))
    yield Suspect("bias-shift", layer, what, "correct the biases (the step 'bias-correction')", changed)


def bias_shares(draft: Draft) -> dict[str, tuple[float, float]]:
    """MAC layer → (share of the squared error of its outputs that is constant per channel, that constant's square
    relative to the outputs' variance), both before the activation.

    Each layer is fed by the quantized network with the constants of earlier layers taken away, so that a shift is
    found where it is made.
    """
    import accelsim_kernels as kernels

    graph = draft.integer_graph()
    nodes = {node.name: node for node in mac_nodes(draft.graph)}
    shares: dict[str, tuple[float, float]] = {}

    def compare(op: MacOp, codes: np.ndarray) -> MacOp:
        if op.name not in nodes:
            return op
        node = nodes[op.name]
        accumulators, _ = op.accumulate([codes], kernels, exact_accumulator(graph, op))
        scale = graph.tensors[op.inputs[0]].params.scale * np.asarray(op.weight_params.scale)
        with torch.no_grad():
            expected = node.operator.execute(node, draft.seen.values(node.inputs[0].name))
        if node.operator is not Linear:
            expected = expected.movedim(1, -1)
        real = expected.double().numpy().reshape(-1, accumulators.shape[-1])
        error = (accumulators * scale).reshape(real.shape) - real
        shift = error.mean(axis=0)
        constant = float(np.square(shift).sum())
        whole, signal = float(np.square(error).mean(axis=0).sum()), float(real.var(axis=0).sum())
        shares[op.name] = (constant / whole if whole else 0.0, constant / signal if signal else 0.0)
        bias = (0 if op.bias is None else op.bias.astype(np.int64)) - np.rint(shift / scale).astype(np.int64)
        return replace(op, bias=bias)

    adjust_layers(graph, draft.seen, compare)
    return shares


def _overridden(config: QuantConfig, layer: str, **change: Any) -> QuantConfig:
    """The configuration with one layer changed, whatever earlier patterns say."""
    overrides: dict[str, Mapping[str, Any]] = {k: v for k, v in (config.overrides or {}).items() if k != layer}
    overrides[layer] = {**(config.overrides or {}).get(layer, {}), **change}
    return replace(config, overrides=overrides)
