"""`accelsim.from_torch`: capture, fold, calibrate, quantize, lower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend import pt2e
from accelsim.frontend.capture import capture
from accelsim.frontend.config import QuantConfig, as_config
from accelsim.frontend.float_graph import FloatGraph
from accelsim.frontend.fold import fold_batch_norm, fuse_activations
from accelsim.frontend.observe import Observation, batches_of, observe
from accelsim.frontend.recipes.draft import Draft, Progress, run_steps
from accelsim.frontend.training.network import PreparedNetwork
from accelsim.graph import IntegerGraph
from accelsim.profiles import load_profile
from accelsim.quant import QTensor, QuantParams
from accelsim.store import digest


def from_torch(
    model: torch.nn.Module | Any,
    calibration: Any = None,
    config: QuantConfig | None = None,
    *,
    progress: Progress | None = None,
    **keywords: Any,
) -> IntegerGraph:
    """Quantize a torch network after training and lower it to integer operators.

    model: torch.nn.Module (evaluation mode is used; the module is left as it was), a
        torch.export.ExportedProgram with a dynamic batch, or a network of `prepare_qat`, trained or not: its codes
        are taken as they are, and it needs no calibration and takes no configuration. A program that brings its
        quantizers along (PT2E: `convert_pt2e` of torchao, or its export) keeps their scales, zero points and weight
        codes; its profile is then "fbgemm" unless one is given, and calibration serves only what it left in float32.
    calibration: inputs the ranges are set from: an array or tensor (N, …), a tuple of them for several inputs,
        or an iterable of batches (a DataLoader; labels are ignored).
    config, keywords: QuantConfig or its fields: weight_bits=8, activation_bits=8, per_channel=True,
        ranges="mse", profile="tflm", recipe=None, overrides=None, …; keywords win.
    progress: called with (what is being done, units done, units in all) by steps that take long.
    Returns an IntegerGraph. Raises AccelsimError naming every unsupported operator (module path, source line),
    or the layer or field that is wrong.
    Method: Nagel et al., A White Paper on Neural Network Quantization, sections 2 and 3.
    """
    if isinstance(model, PreparedNetwork):
        if config is not None or keywords:
            raise AccelsimError("a prepared network has its configuration already: give it to prepare_qat")
        return model.lower()
    if pt2e.brings_quantizers(model):
        if config is None:
            keywords.setdefault("profile", pt2e.DEFAULT_PROFILE)
        return pt2e.from_quantized(model, calibration, as_config(config, keywords))
    return quantized(calibrated(model, calibration), as_config(config, keywords), progress)


@dataclass(frozen=True)
class Calibrated:
    """A captured network and what it did on the calibration data; may be quantized many times.

    rewritten: what recipes made of the float network, by their steps, so that it is done once.
    """

    name: str
    seen: Observation
    rewritten: dict[tuple[str, ...], Observation] = field(default_factory=dict, compare=False, repr=False)


def calibrated(model: torch.nn.Module | Any, calibration: Any) -> Calibrated:
    """Capture, fold and observe: the part of `from_torch` that does not depend on the configuration."""
    batches = batches_of(calibration)
    graph = float_graph(model, batches)
    name = type(model).__name__ if isinstance(model, torch.nn.Module) else "network"
    return Calibrated(name, observe(graph, batches))


def quantized(network: Calibrated, config: QuantConfig, progress: Progress | None = None) -> IntegerGraph:
    """Choose grids, quantize weights, lower: the part of `from_torch` that depends on the configuration."""
    draft = drafted(network, config, progress)
    return draft.integer_graph(notes_of(draft.activations_or_stand_in, draft.weights or {}, config))


def drafted(network: Calibrated, config: QuantConfig, progress: Progress | None = None) -> Draft:
    """The network after every step of the configuration's recipe, before it is lowered."""
    config.check_layers([node.layer for node in network.seen.graph.nodes] + ["input"])
    draft = run_steps(Draft(network.name, network.seen, config, progress=progress), config.steps, network.rewritten)
    if draft.activations is None or draft.weights is None:
        missing = "weight-ranges" if draft.weights is None else "activation-ranges"
        raise AccelsimError(f"recipe: no step chooses grids of these; add '{missing}'")
    return draft


def float_graph(model: torch.nn.Module | Any, batches: list[tuple[torch.Tensor, ...]]) -> FloatGraph:
    """The captured network with batch norm folded and activations fused."""
    first = batches[0]
    if first[0].shape[0] < 2:  # a batch of one would be taken for a constant by torch.export
        first = tuple(torch.cat([x, x]) for x in first)
    graph = capture(model, tuple(x[:2] for x in first))
    if len(graph.inputs) != len(first):
        raise AccelsimError(f"the network takes {len(graph.inputs)} inputs, the calibration data has {len(first)}")
    return fuse_activations(fold_batch_norm(graph))


def notes_of(
    activations: Mapping[str, QuantParams], weights: Mapping[str, QTensor], config: QuantConfig
) -> tuple[str, ...]:
    """What a reader of results must know: the recipe, and the profile at these widths."""
    profile = load_profile(config.profile)
    widths = {
        "weights": {codes.params.bits for codes in weights.values()},
        "activations": {params.bits for params in activations.values()},
    }
    notes = [] if config.recipe is None else [f"recipe: {', '.join(config.steps)}"]
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
