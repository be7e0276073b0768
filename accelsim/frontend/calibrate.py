"""The grids that follow from what was observed: activations, weights, biases (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.frontend.config import QuantConfig
from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.groups import quantize_by_group, sum_scale
from accelsim.frontend.observe import Observation, described
from accelsim.frontend.operators.arithmetic import Add
from accelsim.frontend.operators.constant import Constant
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.operators.mask_inputs import MASK_GRID, whole_grids
from accelsim.frontend.operators.transpose_conv import MAC_LAYERS
from accelsim.frontend.ranges import weight_limits
from accelsim.profiles import NumericProfile, load_profile
from accelsim.quant import QTensor, QuantParams, choose_params, quantize

_BIAS_LIMIT = float(2**30)  # biases stay well inside int32


def raw_outputs(graph: FloatGraph, config: QuantConfig) -> set[str]:
    """Outputs that leave as accumulators: made by a MAC layer, read by nobody, without an activation."""
    if config.output_bits is not None:
        return set()
    users = graph.users()
    return {
        node.name
        for node in graph.nodes
        if node.operator in MAC_LAYERS
        and node.name in graph.outputs
        and not users[node.name]
        and node.clamp == (None, None)
    }


def activation_params(seen: Observation, config: QuantConfig) -> dict[str, QuantParams]:
    """A quantizer for every tensor that has one, from what was observed.

    Raises AccelsimError naming a tensor that was constant: it has no range.
    """
    graph = seen.graph
    raw = raw_outputs(graph, config)
    residual = _residual_operands(graph)
    grids, profile = config.activation_grids, load_profile(config.profile)
    makers, whole = {node.name: node for node in graph.nodes}, whole_grids(graph, seen.owners)
    layers = {node.name: node.layer for node in graph.nodes} | {ref.name: "input" for ref in graph.inputs}
    groups: dict[str, list[str]] = {}
    for name, owner in seen.owners.items():
        if name not in raw:
            groups.setdefault(owner, []).append(name)
    params: dict[str, QuantParams] = {}
    for owner, members in groups.items():
        choice = config.for_layer(layers[owner])
        bits = choice.activation_bits
        if owner in residual:
            bits = max(bits, config.residual_bits)
        if config.output_bits is not None and any(name in graph.outputs for name in members):
            bits = config.output_bits
        if owner in whole:
            low, high = seen.limits[owner]
            if whole[owner] == MASK_GRID and (low < 0 or high > 1):
                raise AccelsimError(
                    f"{described(graph)[owner]} is a mask with values {low:g} .. {high:g}; only 0 and 1"
                )
            params.update(dict.fromkeys(members, whole[owner]))
            continue
        lower, upper = seen.limits[owner]
        if lower == upper and owner in makers and makers[owner].operator is Constant:
            lower, upper = (min(lower, 0.0), max(upper, 0.0)) if lower else (0.0, 1.0)
        if lower == upper:
            raise AccelsimError(
                f"{described(graph)[owner]} is the constant {lower + 0.0:g} on all calibration data: no range can be "
                "chosen for it. Calibrate with real data, or remove the dead layer"
            )
        fixed = fixed_limits(makers.get(owner), profile, bits, grids["symmetric"])
        if choice.activation_range is not None:
            lower, upper = choice.activation_range
        elif fixed is not None and fixed[0] <= lower and upper <= fixed[1] + 2.0**-bits:
            lower, upper = fixed
        elif choice.ranges == "percentile":
            lower, upper = seen.histograms[owner].percentile(config.percentile)
        elif choice.ranges == "mse":
            lower, upper = seen.histograms[owner].least_squared_error(bits, grids["symmetric"])
        chosen = choose_params(lower, upper, bits=bits, **grids)
        params.update(dict.fromkeys(members, chosen))
    return params


def fixed_limits(
    node: FloatNode | None, profile: NumericProfile, bits: int, symmetric: bool
) -> tuple[float, float] | None:
    """The range of an output whose grid the profile's runtime prescribes."""
    prescribed = getattr(node and node.operator, "fixed_limits", None)
    return None if prescribed is None else prescribed(profile, bits, symmetric)


def _residual_operands(graph: FloatGraph) -> set[str]:
    """Outputs of MAC layers that only additions read: what an accelerator adds before it rounds to its activations."""
    users = graph.users()
    return {
        node.name
        for node in graph.nodes
        if node.operator in MAC_LAYERS
        and users[node.name]
        and all(user.operator is Add for user in users[node.name])
        and node.name not in graph.outputs
    }


def mac_nodes(graph: FloatGraph) -> list[FloatNode]:
    """Convolutions and fully connected layers, in the order of execution."""
    return [node for node in graph.nodes if node.operator in MAC_LAYERS]


def quantize_weights(
    graph: FloatGraph, activations: Mapping[str, QuantParams], config: QuantConfig
) -> dict[str, QTensor]:
    """Weight codes of every MAC layer, in torch's layout; the output channel is axis 0."""
    return {
        node.name: quantize_weight(node, activations[node.inputs[0].name].scale, config) for node in mac_nodes(graph)
    }


def quantize_weight(node: FloatNode, input_scale: float, config: QuantConfig) -> QTensor:
    """One layer's weight codes by its range method.

    A channel whose weights are so small that its bias would not fit 31 bits at scale s_x * s_w gets a larger
    scale, as TFLite's converter does.
    """
    choice = config.for_layer(node.layer)
    weight = node.parameters["weight"].numpy().astype(np.float64)
    if weight.size == 0:
        raise AccelsimError(f"layer {node.layer!r}: the weight of shape {weight.shape} has no elements")
    channels = weight.shape[0]
    rows = weight.reshape(channels, -1) if choice.per_channel else weight.reshape(1, -1)
    bits = choice.weight_bits
    symmetric = config.symmetric_weights
    lower, upper = weight_limits(rows, choice.ranges, bits, symmetric, config.percentile)
    floor = np.full(len(rows), np.finfo(np.float32).tiny * 2.0**24)
    if "bias" in node.parameters:
        bias = np.abs(node.parameters["bias"].numpy().astype(np.float64))
        smallest = bias / (input_scale * _BIAS_LIMIT)
        floor = np.maximum(floor, smallest if choice.per_channel else smallest.max())
    if choice.weight_group_size is not None and node.operator is Linear and weight.shape[1] > choice.weight_group_size:
        return quantize_by_group(
            weight,
            choice.weight_group_size,
            choice.ranges,
            bits,
            symmetric=symmetric,
            percentile=config.percentile,
            per_channel=choice.per_channel,
            power_of_two=load_profile(config.profile).power_of_two,
            least_common=np.broadcast_to(floor, channels),
        )
    levels = (1 << bits) - 1
    narrow = upper - lower < floor * levels
    upper = np.where(narrow, np.maximum(upper, lower + floor * levels), upper)
    params = choose_params(
        lower if choice.per_channel else lower[0],
        upper if choice.per_channel else upper[0],
        bits=bits,
        symmetric=symmetric,
        power_of_two=load_profile(config.profile).power_of_two,
        axis=0 if choice.per_channel else None,
    )
    return QTensor(quantize(weight, params), params)


def quantize_bias(node: FloatNode, input_scale: float, weight: QTensor) -> np.ndarray | None:
    """Bias codes at scale s_x * s_w, zero point 0 (paper, eq. 3); int32, or int64 where they need it."""
    if "bias" not in node.parameters:
        return None
    bias = node.parameters["bias"].numpy().astype(np.float64)
    codes = np.rint(bias / (input_scale * np.asarray(sum_scale(weight.params))))
    wide = np.abs(codes).max(initial=0) >= 2**31
    if wide and np.abs(codes).max() >= 2**62:
        raise AccelsimError(f"layer {node.layer!r}: the bias does not fit 63 bits at the scale of its products")
    return codes.astype(np.int64 if wide else np.int32)
