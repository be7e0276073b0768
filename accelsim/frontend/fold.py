"""Rewrites of the float graph before quantization: batch norm folding and activation fusion (paper, 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import Bound, FloatGraph, FloatNode, per_channel, rewrite
from accelsim.frontend.operators.arithmetic import Clamp
from accelsim.frontend.operators.mac import BatchNorm, Conv2d, Linear
from accelsim.frontend.operators.transpose_conv import MAC_LAYERS


def fold_batch_norm(graph: FloatGraph) -> FloatGraph:
    """W_k <- g_k W_k / sqrt(v_k + e); b_k <- beta_k + (b_k - mean_k) g_k / sqrt(v_k + e)   (paper, eq. 10, 11).

    Into the convolution or fully connected layer before it where nothing else reads that layer's output;
    elsewhere the batch norm becomes a 1×1 depthwise convolution of its own.
    """
    users = graph.users()
    nodes = {node.name: node for node in graph.nodes}
    replaced: dict[str, FloatNode] = {}
    dropped: dict[str, str] = {}
    for norm in graph.nodes:
        if norm.operator is not BatchNorm:
            continue
        source = norm.inputs[0].name
        before = nodes.get(source)
        alone = len(users[source]) == 1 and source not in graph.outputs
        # behind a fully connected layer over sequences, batch norm works on another axis than the layer does
        channels_match = before is None or before.operator is not Linear or len(before.shape) == 1
        if before is not None and channels_match and before.operator in MAC_LAYERS and alone:
            replaced[source] = _scaled(before, norm)
            dropped[norm.name] = source
        else:
            replaced[norm.name] = _as_depthwise(norm)
    return rewrite(graph, replaced, dropped)


def fuse_activations(graph: FloatGraph) -> FloatGraph:
    """A clamp (ReLU, ReLU6, hardtanh …) joins the requantizer of the layer before it, if it is its only reader.

    Bounds per channel join convolutions and fully connected layers alone: no other operator has them.
    """
    while True:
        users = graph.users()
        nodes = {node.name: node for node in graph.nodes}
        for clamp in (node for node in graph.nodes if issubclass(node.operator, Clamp)):
            source = nodes.get(clamp.inputs[0].name)
            if (
                source is not None
                and source.operator.fuses_clamp
                and len(users[source.name]) == 1
                and source.name not in graph.outputs
                and (source.operator in MAC_LAYERS or not per_channel(clamp.clamp))
            ):
                fused = _clamped(source, clamp)
                graph = rewrite(graph, {source.name: fused}, {clamp.name: source.name})
                break
        else:
            return graph


def _clamped(node: FloatNode, clamp: FloatNode) -> FloatNode:
    return replace(
        node, clamp=(_tighter(max, node.clamp[0], clamp.clamp[0]), _tighter(min, node.clamp[1], clamp.clamp[1]))
    )


def _tighter(choose: Callable[..., float], a: Bound, b: Bound) -> Bound:
    if a is None or b is None:
        return b if a is None else a
    if not (isinstance(a, tuple) or isinstance(b, tuple)):
        return choose(a, b)
    count = len(a) if isinstance(a, tuple) else len(b)  # type: ignore[arg-type]
    each = (bound if isinstance(bound, tuple) else (bound,) * count for bound in (a, b))
    return tuple(map(choose, *each))


def _scaled(layer: FloatNode, norm: FloatNode) -> FloatNode:
    scale, offset = norm.parameters["scale"], norm.parameters["offset"]
    weight = layer.parameters["weight"].double()
    if layer.clamp != (None, None):
        raise AssertionError("activations are fused after batch norm is folded")
    if weight.shape[0] != scale.numel():
        raise AccelsimError(f"layer {norm.layer!r}: batch norm over {scale.numel()} of {weight.shape[0]} channels")
    bias = layer.parameters.get("bias", torch.zeros(weight.shape[0])).double() * scale + offset
    weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
    return replace(layer, parameters={"weight": weight.float(), "bias": bias.float(), **_moments(norm)})


def _moments(norm: FloatNode) -> dict[str, torch.Tensor]:
    """beta and abs(gamma): mean and standard deviation of each channel behind the batch norm, float64."""
    scale, offset = norm.parameters["scale"].double(), norm.parameters["offset"].double()
    deviation = torch.sqrt(norm.parameters["variance"].double() + norm.attributes["eps"])
    return {"mean": offset + norm.parameters["mean"].double() * scale, "deviation": scale.abs() * deviation}


def _as_depthwise(norm: FloatNode) -> FloatNode:
    channels = norm.parameters["scale"].numel()
    if len(norm.shape) != 3:
        raise AccelsimError(
            f"{norm.where}: batch norm over a tensor of shape {norm.shape} (without the batch) that follows no "
            "convolution or fully connected layer is not supported; fold it into the layer after it"
        )
    return replace(
        norm,
        operator=Conv2d,
        attributes={"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": channels},
        parameters={
            "weight": norm.parameters["scale"].float().view(channels, 1, 1, 1),
            "bias": norm.parameters["offset"].float(),
            **_moments(norm),
        },
    )
