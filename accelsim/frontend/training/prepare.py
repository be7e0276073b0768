"""`accelsim.prepare_qat`: a float network becomes a module that trains through its own integer simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.api import calibrated, drafted, notes_of
from accelsim.frontend.calibrate import fixed_limits
from accelsim.frontend.capture import capture
from accelsim.frontend.config import QuantConfig, as_config
from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.observe import Observation, shares_grid
from accelsim.frontend.operators import mac
from accelsim.frontend.operators.mask_inputs import whole_grids
from accelsim.frontend.recipes.draft import Draft, Progress
from accelsim.frontend.training.grids import LearnedGrid
from accelsim.frontend.training.layers import BATCH_NORM, BatchNorm, TrainedLayer
from accelsim.frontend.training.network import PreparedNetwork
from accelsim.frontend.training.operands import Operands
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.profiles import load_profile
from accelsim.quant import QTensor, QuantParams, choose_params, dequantize, quantize


def prepare_qat(
    model: torch.nn.Module | Any,
    calibration: Any,
    config: QuantConfig | None = None,
    *,
    batch_norm: str = "folded",
    spec: str | Path | AcceleratorSpec = "edge-16x16",
    learn_scales: bool = True,
    learn_zero_points: bool = True,
    accumulator_bits: int | None = None,
    progress: Progress | None = None,
    **keywords: Any,
) -> PreparedNetwork:
    """Prepare a float network for quantization-aware training that sees exactly the hardware's rounding.

    model, calibration, config, keywords, progress: as for `from_torch`; the grids start where it would put them
        (ranges="mse" or "min-max", or any `recipe`: equalization, AdaRound, bias correction …). The model is copied.
    batch_norm: "folded": statically, into the weights that are trained; the statistics are gone.
        "double-forward": folded with the running statistics; in training a first, float convolution finds the
        statistics of the batch, and the requantization is rescaled to them (Krishnamoorthi 2018, section 3.2.2).
        "per-channel": weights are quantized unfolded, batch norm goes into the scale and the bias of each channel's
        requantization; needs weight scales per channel (paper, section 5.2.2).
    spec: the accelerator whose accumulators the forward pass emulates: width, wrap or saturate, order.
    learn_scales, learn_zero_points: whether the grids are trained (LSQ, LSQ+) or stay where they start.
    accumulator_bits: 8 to 32: in every forward pass, and when lowering, weight codes are projected to the nearest ones
        with which no input whatsoever overflows an accumulator of that width, bias and zero point included (A2Q+, as
        the recipe step "accumulator", which is a good start: recipe=[…, "accumulator(bits=P)"]); gradients go to the
        weights before the projection. Weight scales never become so small that biases take more than 15/16 of the
        accumulator. Needs symmetric weights, and batch norm "folded" or "double-forward".
    What is trained: weights and biases of every convolution (transpose ones too) and fully connected layer, batch norm
        unless folded, weights of norms, embeddings, positions and other constants that come from parameters, slopes
        per channel, and the grids. Grids that a runtime prescribes (softmax's) and token numbers stay. Weights that
        the network ties (embedding and head) are two in the integer graph, and are trained apart.
    Returns a torch.nn.Module in training mode: any optimizer, training loop, `state_dict`, `copy.deepcopy` and
    `torch.utils.checkpoint` work on it; `from_torch(prepared)` or `prepared.lower()` is the integer graph of its
    parameters, whose codes are those of the module's own forward pass in evaluation mode.
    Raises AccelsimError naming the option, layer or operator that is wrong.

    How forward stays exact, and the price. Sums of products are computed by the integer kernels themselves, with the
    accumulator of `spec`: no float sum (exact to 2^24 in float32, 2^53 in float64) is ever relied on, saturating and
    wrapping accumulators included, at less than the price of the float convolution it replaces. Each step lowers the
    network anew, some 0.2 ms per layer. "double-forward" adds a float convolution forward and backward,
    "per-channel" one forward. Dropout is left out, as in evaluation mode.
    """
    config = as_config(config, keywords)
    if batch_norm not in BATCH_NORM:
        raise AccelsimError(f"batch_norm must be one of {', '.join(BATCH_NORM)}, not {batch_norm!r}")
    if batch_norm != "folded" and load_profile(config.profile).power_of_two:
        raise AccelsimError(
            f"profile {config.profile!r} rescales by powers of two alone, batch_norm={batch_norm!r} by any factor: "
            "use batch_norm='folded'"
        )
    _check_accumulator(accumulator_bits, batch_norm, config)
    if any(config.for_layer(layer).weight_group_size for layer in ("", *(config.overrides or {}))):
        raise AccelsimError(
            "prepare_qat trains one weight scale per channel or per tensor: leave out weight_group_size"
        )
    network = calibrated(model, calibration)
    draft = drafted(network, config, progress)
    unfolded = None
    if batch_norm != "folded":
        if draft.graph is not network.seen.graph:
            raise AccelsimError(
                f"the recipe rewrites the folded network, batch_norm={batch_norm!r} keeps batch norm apart: use "
                "batch_norm='folded', or a recipe without equalization and bias absorption"
            )
        unfolded = capture(model, tuple(torch.cat([x[:1]] * 2) for x in draft.seen.batches[0]))
    layers, layer_of = _layers(draft, unfolded, batch_norm, learn_scales, learn_zero_points, accumulator_bits)
    grids, grid_of = _grids(draft, learn_scales, learn_zero_points)
    operands, operands_of = _operands(draft.graph, layer_of)
    skeleton = tuple(replace(node, parameters={}) for node in draft.graph.nodes)
    return PreparedNetwork(
        replace(draft.graph, nodes=skeleton),
        layers,
        layer_of,
        operands,
        operands_of,
        grids,
        grid_of,
        draft.config,
        load_spec(spec),
        network.name,
        notes_of(draft.activations, draft.weights, config),
    )


def _check_accumulator(bits: int | None, batch_norm: str, config: QuantConfig) -> None:
    if bits is None:
        return
    if isinstance(bits, bool) or not isinstance(bits, int) or not 8 <= bits <= 32:
        raise AccelsimError(f"accumulator_bits must be 8 to 32 or None, not {bits!r}")
    if not config.symmetric_weights:
        raise AccelsimError("accumulator_bits needs symmetric weights (weight zero point 0): symmetric_weights=True")
    if batch_norm == "per-channel":
        raise AccelsimError(
            "accumulator_bits bounds the weights that are deployed, batch_norm='per-channel' changes their biases "
            "behind it: use 'folded' or 'double-forward'"
        )


def _layers(
    draft: Draft,
    unfolded: FloatGraph | None,
    mode: str,
    learn_scales: bool,
    learn_zero_points: bool,
    accumulator_bits: int | None,
) -> tuple[dict[str, TrainedLayer], dict[str, str]]:
    """(layers by the node that was met first, node → that node); calls of one module share a layer."""
    layers: dict[str, TrainedLayer] = {}
    layer_of: dict[str, str] = {}
    nodes = {node.name: node for node in draft.graph.nodes}
    for name, weight in draft.weights.items():
        node = nodes[name]
        twin = next((other for other in layers if _same_module(nodes[other], node)), None)
        layer_of[name] = twin or name
        if twin is not None:
            continue
        norm_node = None if unfolded is None else _norm_of(unfolded, nodes, node)
        norm = None if norm_node is None else BatchNorm(norm_node)
        folded = _inside_cells(node.parameters["weight"].double(), weight)
        bias = torch.as_tensor(draft.biases[name]) if name in draft.biases else node.parameters.get("bias")
        params = weight.params
        if norm is not None:
            folded, bias, params = _unfolded(node, unfolded, norm, folded, bias, params, mode)
        choice = draft.config.for_layer(node.layer)
        per_filter = folded[0].numel() if choice.per_channel else folded.numel()
        grid = LearnedGrid(
            params,
            label=f"the weights of layer {node.layer!r}",
            elements=per_filter,
            learn_scale=learn_scales,
            learn_offset=learn_zero_points and not draft.config.symmetric_weights,
            power_of_two=load_profile(draft.config.profile).power_of_two,
        )
        layers[name] = TrainedLayer(
            folded.float(),
            None if bias is None else bias.float(),
            grid,
            norm,
            mode=mode,
            accumulator_bits=accumulator_bits,
            train_weight=norm_node is None or unfolded.node(name).operator is not mac.BatchNorm,
        )
    return layers, layer_of


def _operands(graph: FloatGraph, layer_of: dict[str, str]) -> tuple[dict[str, Operands], dict[str, str]]:
    """(operands by the node that was met first, node → that node) of every other node that holds tensors."""
    owners: dict[str, FloatNode] = {}
    owner_of: dict[str, str] = {}
    for node in graph.nodes:
        if node.parameters and node.name not in layer_of:
            owner = next((other for other in owners.values() if _same_module(other, node)), node)
            owners.setdefault(owner.name, owner)
            owner_of[node.name] = owner.name
    return {name: Operands(node) for name, node in owners.items()}, owner_of


def _same_module(a: FloatNode, b: FloatNode) -> bool:
    return (
        a.layer == b.layer
        and a.operator is b.operator
        and a.parameters.keys() == b.parameters.keys()
        and all(torch.equal(value, b.parameters[key]) for key, value in a.parameters.items())
    )


def _norm_of(unfolded: FloatGraph, folded: dict[str, FloatNode], node: FloatNode) -> FloatNode | None:
    """The batch norm that went into the node, or that it was."""
    before = unfolded.node(node.name)
    if before.operator is mac.BatchNorm:
        return before
    users = unfolded.users()[node.name]
    return users[0] if len(users) == 1 and users[0].operator is mac.BatchNorm and users[0].name not in folded else None


def _unfolded(
    node: FloatNode,
    unfolded: FloatGraph,
    norm: BatchNorm,
    weight: torch.Tensor,
    bias: torch.Tensor,
    params: QuantParams,
    mode: str,
) -> tuple[torch.Tensor, torch.Tensor | None, QuantParams]:
    """The layer's own weight, bias and weight grid, where batch norm is trained apart.

    What a recipe changed of the folded weight and bias is carried over.
    """
    with torch.no_grad():
        norm.bias += (bias - node.parameters["bias"]).float()
        gain = (norm.weight / norm.deviation).double()
    before = unfolded.node(node.name)
    own = before.parameters.get("weight", torch.ones(weight.shape))
    if before.operator is mac.BatchNorm:
        own, own_bias = torch.ones(weight.shape), None
    else:
        own_bias = before.parameters.get("bias")
    dead = gain.abs() < np.finfo(np.float32).tiny
    safe = torch.where(dead, 1.0, gain)
    view = (-1, *[1] * (weight.ndim - 1))
    moved = (weight - node.parameters["weight"].double()) * ~dead.view(view) / safe.view(view)
    if mode == "per-channel":
        if params.axis is None:
            raise AccelsimError(
                f"layer {node.layer!r}: batch_norm='per-channel' needs weight scales per channel: per_channel=True"
            )
        largest = own.double().flatten(1).abs().amax(1).clamp_min(1e-6).numpy() / params.qmax
        scale = np.where(dead.numpy(), largest, params.scale / safe.abs().numpy())
        params = QuantParams(np.float64(np.float32(scale)), params.zero_point, params.bits, params.signed, 0)
    return own.double() + moved, own_bias, params


def _inside_cells(weight: torch.Tensor, codes: QTensor) -> torch.Tensor:
    """float64 weights that round to the given codes: those that do not are moved into the code's own interval."""
    values = weight.numpy()
    wrong = quantize(values, codes.params) != codes.values
    if not wrong.any():
        return weight
    centre = dequantize(codes.values, codes.params)
    step = np.asarray(codes.params.scale)
    step = step.reshape(-1, *[1] * (values.ndim - 1)) if step.ndim else step
    inside = centre + np.clip(values - centre, -0.45 * step, 0.45 * step)
    return torch.as_tensor(np.where(wrong, inside, values))


def _grids(draft: Draft, learn_scales: bool, learn_zero_points: bool) -> tuple[dict[str, LearnedGrid], dict[str, str]]:
    """(grids by the tensor that owns them, tensor → owner) of everything that has a quantizer."""
    profile = load_profile(draft.config.profile)
    shapes = draft.graph.shapes()
    symmetric = draft.config.symmetric_activations or profile.symmetric
    makers, whole = {node.name: node for node in draft.graph.nodes}, whole_grids(draft.graph, draft.seen.owners)
    held = {owner for owner in shapes if owner in whole or _prescribed(makers.get(owner), draft)}
    grid_of = {name: draft.seen.owners[name] for name in draft.activations}
    grids = {
        owner: LearnedGrid(
            draft.activations[owner],
            label=f"the activations {owner!r}",
            elements=math.prod(shapes[owner]),
            learn_scale=learn_scales and owner not in held,
            learn_offset=learn_zero_points and not (symmetric or owner in held or _never_negative(draft.seen, owner)),
            power_of_two=profile.power_of_two,
        )
        for owner in dict.fromkeys(grid_of.values())
    }
    return grids, grid_of


def _prescribed(node: FloatNode | None, draft: Draft) -> bool:
    """Whether the profile's runtime prescribes the grid that the node's output has."""
    if node is None or node.name not in draft.activations:
        return False
    config, grid = draft.config, draft.activations[node.name]
    limits = fixed_limits(node, load_profile(config.profile), grid.bits, config.activation_grids["symmetric"])
    return limits is not None and grid == choose_params(*limits, bits=grid.bits, **config.activation_grids)


def _never_negative(seen: Observation, owner: str) -> bool:
    """Whether an activation keeps every tensor of the group at zero or above: zero is then the smallest code."""
    makers = [node for node in seen.graph.nodes if seen.owners[node.name] == owner and not shares_grid(node)]
    bounds = [node.clamp[0] for node in makers]
    return bool(bounds) and all(bound is not None and np.min(bound) >= 0 for bound in bounds)
