"""Which tensors get a quantizer, what range each one saw, and the grids that follow (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.config import QuantConfig
from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.operators.arithmetic import Add
from accelsim.frontend.operators.mac import Conv2d, Linear
from accelsim.frontend.operators.shape import Concat
from accelsim.frontend.ranges import BINS, Histogram, weight_limits
from accelsim.profiles import load_profile
from accelsim.quant import QTensor, QuantParams, choose_params, quantize

_BIAS_LIMIT = float(2**30)  # biases stay well inside int32


def grid_owners(graph: FloatGraph) -> dict[str, str]:
    """Tensor → the tensor whose quantizer it shares.

    Pools, reshapes and pads hand their input's grid on; the parts of a concatenation and its result share one
    (TFLite requires it, and it costs no requantization).
    """
    owner = {name: name for name in graph.shapes()}

    def root(name: str) -> str:
        while owner[name] != name:
            name = owner[name]
        return name

    for node in graph.nodes:
        if _shares_grid(node):
            first = root(node.inputs[0].name)
            for name in [*(ref.name for ref in node.inputs[1:]), node.name]:
                owner[root(name)] = first
    return {name: root(name) for name in owner}


def _shares_grid(node: FloatNode) -> bool:
    return node.operator.tied or node.operator is Concat


def raw_outputs(graph: FloatGraph, config: QuantConfig) -> set[str]:
    """Outputs that leave as accumulators: made by a MAC layer, read by nobody, without an activation."""
    if config.output_bits is not None:
        return set()
    users = graph.users()
    return {
        node.name
        for node in graph.nodes
        if node.operator in (Conv2d, Linear)
        and node.name in graph.outputs
        and not users[node.name]
        and node.clamp == (None, None)
    }


@dataclass(frozen=True)
class Observation:
    """What the float network's tensors looked like on the calibration data; independent of any bit width.

    owners: tensor → the tensor whose quantizer it shares. limits: owner → (smallest, largest) value.
    """

    graph: FloatGraph
    batches: Sequence[tuple[torch.Tensor, ...]]
    owners: Mapping[str, str]
    limits: Mapping[str, tuple[float, float]]

    @cached_property
    def histograms(self) -> dict[str, Histogram]:
        """Owner → histogram of the values of its group (a second pass over the data, made on first use)."""
        found = {owner: Histogram.over(low, high) for owner, (low, high) in self.limits.items() if low < high}
        moved = {node.name for node in self.graph.nodes if _shares_grid(node)}  # counted where they were made

        def count(name: str, x: torch.Tensor) -> None:
            histogram = found.get(self.owners[name])
            if name not in moved and histogram is not None:
                counts = torch.histc(x, BINS, histogram.lower, histogram.upper)  # ten times np.histogram's speed
                histogram.add(counts.numpy())

        for batch in self.batches:
            self.graph.run(batch, count)
        return found

    @cached_property
    def channel_means(self) -> dict[str, np.ndarray]:
        """MAC layer → mean of each output channel before its activation (float64)."""
        sums: dict[str, torch.Tensor] = {}
        counts: dict[str, int] = {}
        for batch in self.batches:
            alive: dict[str, torch.Tensor] = {}

            def keep(name: str, x: torch.Tensor, alive: dict[str, torch.Tensor] = alive) -> None:
                alive[name] = x

            self.graph.run(batch, keep)
            for node in self.graph.nodes:
                if node.operator not in (Conv2d, Linear):
                    continue
                y = alive[node.name]
                if node.clamp != (None, None):
                    y = node.operator.execute(node, *(alive[ref.name] for ref in node.inputs))
                channels = y.movedim(1, -1) if node.operator is Conv2d else y
                rows = channels.reshape(-1, channels.shape[-1]).double()
                sums[node.name] = sums.get(node.name, 0) + rows.sum(dim=0)
                counts[node.name] = counts.get(node.name, 0) + len(rows)
        return {name: (total / counts[name]).numpy() for name, total in sums.items()}


def observe(graph: FloatGraph, batches: Sequence[tuple[torch.Tensor, ...]]) -> Observation:
    """Run the float network over the calibration data. AccelsimError names a tensor with NaN or infinity."""
    owners = grid_owners(graph)
    limits = dict.fromkeys(owners.values(), (np.inf, -np.inf))
    names = _described(graph)

    def see(name: str, x: torch.Tensor) -> None:
        if not bool(torch.isfinite(x).all()):
            raise AccelsimError(f"{names[name]} has NaN or infinite values on the calibration data")
        low, high = limits[owners[name]]
        limits[owners[name]] = (min(low, float(x.min())), max(high, float(x.max())))

    for batch in batches:
        graph.run(batch, see)
    return Observation(graph, batches, owners, limits)


def activation_params(seen: Observation, config: QuantConfig) -> dict[str, QuantParams]:
    """A quantizer for every tensor that has one, from what was observed.

    Raises AccelsimError naming a tensor that was constant: it has no range.
    """
    graph = seen.graph
    raw = raw_outputs(graph, config)
    residual = _residual_operands(graph)
    power_of_two = load_profile(config.profile).power_of_two
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
        lower, upper = seen.limits[owner]
        if lower == upper:
            raise AccelsimError(
                f"{_described(graph)[owner]} is the constant {lower:g} on all calibration data: no range can be "
                "chosen for it. Calibrate with real data, or remove the dead layer"
            )
        if choice.ranges == "percentile":
            lower, upper = seen.histograms[owner].percentile(config.percentile)
        elif choice.ranges == "mse":
            lower, upper = seen.histograms[owner].least_squared_error(bits, config.symmetric_activations)
        chosen = choose_params(
            lower, upper, bits=bits, symmetric=config.symmetric_activations, power_of_two=power_of_two
        )
        params.update(dict.fromkeys(members, chosen))
    return params


def _residual_operands(graph: FloatGraph) -> set[str]:
    """Outputs of MAC layers that only additions read: what an accelerator adds before it rounds to its activations."""
    users = graph.users()
    return {
        node.name
        for node in graph.nodes
        if node.operator in (Conv2d, Linear)
        and users[node.name]
        and all(user.operator is Add for user in users[node.name])
        and node.name not in graph.outputs
    }


def _described(graph: FloatGraph) -> dict[str, str]:
    """Tensor → words for a message."""
    names = {ref.name: f"the input {ref.name!r}" for ref in graph.inputs}
    return names | {node.name: f"the output of layer {node.layer!r}" for node in graph.nodes}


def quantize_weights(graph: FloatGraph, activations: dict[str, QuantParams], config: QuantConfig) -> dict[str, QTensor]:
    """Weight codes of every MAC layer, in torch's layout; the output channel is axis 0."""
    return {
        node.name: quantize_weight(node, activations[node.inputs[0].name].scale, config)
        for node in graph.nodes
        if node.operator in (Conv2d, Linear)
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
    codes = np.rint(bias / (input_scale * np.asarray(weight.params.scale)))
    wide = np.abs(codes).max(initial=0) >= 2**31
    if wide and np.abs(codes).max() >= 2**62:
        raise AccelsimError(f"layer {node.layer!r}: the bias does not fit 63 bits at the scale of its products")
    return codes.astype(np.int64 if wide else np.int32)


def batches_of(data: Any, size: int = 64) -> list[tuple[torch.Tensor, ...]]:
    """Calibration data as float32 batches, one tensor per network input in each.

    data: an array or tensor (N, …); a tuple of them, one per network input; or an iterable of batches such as a
    DataLoader, of which the first element of each batch is taken (labels are not needed).
    """
    if isinstance(data, (np.ndarray, torch.Tensor)):
        data = (data,)
    if isinstance(data, tuple):
        tensors = [torch.as_tensor(x).float() for x in data]
        lengths = {x.shape[0] if x.ndim else 0 for x in tensors}
        if len(lengths) > 1:
            raise AccelsimError(f"the calibration inputs have different numbers of samples: {sorted(lengths)}")
        batches = list(zip(*(x.split(size) for x in tensors), strict=True)) if lengths != {0} else []
    else:
        firsts = [item[0] if isinstance(item, (tuple, list)) else item for item in data]
        batches = [(torch.as_tensor(first).float(),) for first in firsts]
    if not batches:
        raise AccelsimError("the calibration data is empty: give at least one sample")
    for index, batch in enumerate(batches):
        for x in batch:
            if 0 in x.shape or x.ndim == 0:
                raise AccelsimError(f"calibration batch {index} of shape {tuple(x.shape)} has no elements")
            if not torch.isfinite(x).all():
                raise AccelsimError(f"calibration batch {index} holds NaN or infinite values")
    return batches
