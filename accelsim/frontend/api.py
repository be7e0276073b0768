"""`accelsim.from_torch`: capture, fold, calibrate, quantize, lower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend import calibrate
from accelsim.frontend.bias_correction import correct_biases
from accelsim.frontend.capture import capture
from accelsim.frontend.config import QuantConfig, as_config
from accelsim.frontend.float_graph import FloatGraph
from accelsim.frontend.fold import fold_batch_norm, fuse_activations
from accelsim.frontend.lower import Lowering
from accelsim.frontend.observe import Observation, batches_of, observe
from accelsim.graph import IntegerGraph
from accelsim.profiles import load_profile
from accelsim.store import digest


def from_torch(
    model: torch.nn.Module | Any, calibration: Any, config: QuantConfig | None = None, **keywords: Any
) -> IntegerGraph:
    """Quantize a torch network after training and lower it to integer operators.

    model: torch.nn.Module (evaluation mode is used; the module is left as it was) or a
        torch.export.ExportedProgram with a dynamic batch.
    calibration: inputs the ranges are set from: an array or tensor (N, …), a tuple of them for several inputs,
        or an iterable of batches (a DataLoader; labels are ignored).
    config, keywords: QuantConfig or its fields: weight_bits=8, activation_bits=8, per_channel=True,
        ranges="mse", profile="tflm", overrides=None, …; keywords win.
    Returns an IntegerGraph. Raises AccelsimError naming every unsupported operator (module path, source line),
    or the layer or field that is wrong.
    Method: Nagel et al., A White Paper on Neural Network Quantization, sections 2 and 3.
    """
    return quantized(calibrated(model, calibration), as_config(config, keywords))


@dataclass(frozen=True)
class Calibrated:
    """A captured network and what it did on the calibration data; may be quantized many times."""

    name: str
    seen: Observation


def calibrated(model: torch.nn.Module | Any, calibration: Any) -> Calibrated:
    """Capture, fold and observe: the part of `from_torch` that does not depend on the configuration."""
    batches = batches_of(calibration)
    graph = float_graph(model, batches)
    name = type(model).__name__ if isinstance(model, torch.nn.Module) else "network"
    return Calibrated(name, observe(graph, batches))


def quantized(network: Calibrated, config: QuantConfig) -> IntegerGraph:
    """Choose grids, quantize weights, lower: the part of `from_torch` that depends on the configuration."""
    graph = network.seen.graph
    config.check_layers([node.layer for node in graph.nodes] + ["input"])
    activations = calibrate.activation_params(network.seen, config)
    weights = calibrate.quantize_weights(graph, activations, config)
    lowering = Lowering(graph, activations, weights, load_profile(config.profile))
    lowered = lowering.build(network.name, _notes(activations, weights, config))
    return correct_biases(lowered, network.seen) if config.bias_correction else lowered


def float_graph(model: torch.nn.Module | Any, batches: list[tuple[torch.Tensor, ...]]) -> FloatGraph:
    """The captured network with batch norm folded and activations fused."""
    first = batches[0]
    if first[0].shape[0] < 2:  # a batch of one would be taken for a constant by torch.export
        first = tuple(torch.cat([x, x]) for x in first)
    graph = capture(model, tuple(x[:2] for x in first))
    if len(graph.inputs) != len(first):
        raise AccelsimError(f"the network takes {len(graph.inputs)} inputs, the calibration data has {len(first)}")
    return fuse_activations(fold_batch_norm(graph))


def _notes(activations: dict, weights: dict, config: QuantConfig) -> tuple[str, ...]:
    """What a reader of results must know of the profile at these widths."""
    profile = load_profile(config.profile)
    widths = {
        "weights": {codes.params.bits for codes in weights.values()},
        "activations": {params.bits for params in activations.values()},
    }
    notes = []
    for what, bits in widths.items():
        foreign = sorted(b for b in bits if not profile.has_width(b))
        if foreign:
            notes.append(
                f"{profile.runtime} has no {', '.join(map(str, foreign))}-bit {what}: profile {profile.name!r} "
                "keeps its rounding at these widths"
            )
    return tuple(notes)


def network_digest(network: Calibrated) -> str:
    """A hash of the captured network (operators, attributes, parameters) and its calibration data."""
    nodes = [
        [
            node.name,
            node.operator.__name__,
            [ref.name for ref in node.inputs],
            repr(sorted(node.attributes.items())),
            repr(node.clamp),
            {name: value.numpy() for name, value in node.parameters.items()},
        ]
        for node in network.seen.graph.nodes
    ]
    return digest(nodes, [[x.numpy() for x in batch] for batch in network.seen.batches])
