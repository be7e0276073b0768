"""What the float network does on the calibration data: ranges, histograms and means, independent of bit widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.operators.shape import Concat
from accelsim.frontend.operators.transpose_conv import MAC_LAYERS
from accelsim.frontend.ranges import BINS, Histogram
from accelsim.simulator import as_array

_KEEP_BYTES = 512 * 2**20  # tensors of one pass that are kept, so that a second pass need not compute them


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
        if shares_grid(node):
            first = root(node.inputs[0].name)
            for name in [*(ref.name for ref in node.inputs[1:]), node.name]:
                owner[root(name)] = first
    return {name: root(name) for name in owner}


def shares_grid(node: FloatNode) -> bool:
    return node.operator.tied or node.operator is Concat


@dataclass(frozen=True)
class Observation:
    """What the tensors looked like.

    owners: tensor → the tensor whose quantizer it shares. limits: owner → (smallest, largest) value.
    channel_means: MAC layer → mean of each output channel before its activation (float64).
    kept: every batch's tensors where they were small enough to keep, else None.
    """

    graph: FloatGraph
    batches: Sequence[tuple[torch.Tensor, ...]]
    owners: Mapping[str, str]
    limits: Mapping[str, tuple[float, float]]
    channel_means: Mapping[str, np.ndarray]
    kept: Sequence[Mapping[str, torch.Tensor]] | None

    def values(self, name: str) -> torch.Tensor:
        """A tensor on all calibration data, behind its activation."""
        if self.kept is not None:
            return torch.cat([tensors[name] for tensors in self.kept])
        found: list[torch.Tensor] = []

        def take(seen: str, x: torch.Tensor, _: torch.Tensor) -> None:
            if seen == name:
                found.append(x)

        for batch in self.batches:
            self.graph.run(batch, take)
        return torch.cat(found)

    @cached_property
    def histograms(self) -> dict[str, Histogram]:
        """Owner → histogram of the values of its group; made on first use."""
        found = {owner: Histogram.over(low, high) for owner, (low, high) in self.limits.items() if low < high}
        # counted where they were made
        moved = {n.name for n in self.graph.nodes if shares_grid(n) and not getattr(n.operator, "makes_values", False)}

        def count(name: str, x: torch.Tensor, _: torch.Tensor) -> None:
            histogram = found.get(self.owners[name])
            if name not in moved and histogram is not None:
                counts = torch.histc(x, BINS, histogram.lower, histogram.upper)  # ten times np.histogram's speed
                histogram.add(counts.numpy())

        if self.kept is None:
            for batch in self.batches:
                self.graph.run(batch, count)
        else:
            for tensors in self.kept:
                for name, x in tensors.items():
                    count(name, x, x)
        return found


def observe(graph: FloatGraph, batches: Sequence[tuple[torch.Tensor, ...]]) -> Observation:
    """Run the float network over the calibration data. AccelsimError names a tensor with NaN or infinity."""
    owners = grid_owners(graph)
    limits = dict.fromkeys(owners.values(), (np.inf, -np.inf))
    names = described(graph)
    nodes = {node.name: node for node in graph.nodes}
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    kept: list[dict[str, torch.Tensor]] = []
    held_bytes = 0

    def see(name: str, x: torch.Tensor, before_clamp: torch.Tensor) -> None:
        nonlocal held_bytes
        smallest, largest = float(x.min()), float(x.max())
        if not (np.isfinite(smallest) and np.isfinite(largest)):
            raise AccelsimError(f"{names[name]} has NaN or infinite values on the calibration data")
        low, high = limits[owners[name]]
        limits[owners[name]] = (min(low, smallest), max(high, largest))
        if name in nodes and nodes[name].operator in MAC_LAYERS:
            channels = before_clamp if nodes[name].operator is Linear else before_clamp.movedim(1, -1)
            rows = channels.reshape(-1, channels.shape[-1])
            sums[name] = sums.get(name, 0) + rows.sum(dim=0, dtype=torch.float64)
            counts[name] = counts.get(name, 0) + len(rows)
        held_bytes += x.nbytes
        if held_bytes <= _KEEP_BYTES:
            kept[-1][name] = x

    for batch in batches:
        kept.append({})
        graph.run(batch, see)
    return Observation(
        graph=graph,
        batches=batches,
        owners=owners,
        limits=limits,
        channel_means={name: (total / counts[name]).numpy() for name, total in sums.items()},
        kept=kept if held_bytes <= _KEEP_BYTES else None,
    )


def described(graph: FloatGraph) -> dict[str, str]:
    """Tensor → words for a message."""
    names = {ref.name: f"the input {ref.name!r}" for ref in graph.inputs}
    return names | {node.name: f"the output of layer {node.layer!r}" for node in graph.nodes}


def batches_of(data: Any, size: int = 64) -> list[tuple[torch.Tensor, ...]]:
    """Calibration data as float32 batches, one tensor per network input in each.

    data: an array or tensor (N, …); a tuple of them, one per network input; or an iterable of batches such as a
    DataLoader, of which the first element of each batch is taken (labels are not needed).
    """
    if isinstance(data, (np.ndarray, torch.Tensor)):
        data = (data,)
    if isinstance(data, tuple):
        tensors = [_as_float(x) for x in data]
        lengths = {x.shape[0] if x.ndim else 0 for x in tensors}
        if len(lengths) > 1:
            raise AccelsimError(f"the calibration inputs have different numbers of samples: {sorted(lengths)}")
        batches = list(zip(*(x.split(size) for x in tensors), strict=True)) if lengths != {0} else []
    else:
        if isinstance(data, str) or not isinstance(data, Iterable):
            raise AccelsimError(f"calibration must be an array, a tuple of arrays or batches, not {data!r}")
        firsts = [item[0] if isinstance(item, (tuple, list)) else item for item in data]
        batches = [(_as_float(first),) for first in firsts]
    if not batches:
        raise AccelsimError("the calibration data is empty: give at least one sample")
    for index, batch in enumerate(batches):
        for x in batch:
            if 0 in x.shape or x.ndim == 0:
                raise AccelsimError(f"calibration batch {index} of shape {tuple(x.shape)} has no elements")
            if not torch.isfinite(x).all():
                raise AccelsimError(f"calibration batch {index} holds NaN or infinite values")
    return batches


def _as_float(x: Any) -> torch.Tensor:
    """float32 values of an array or tensor; integers are numbers here."""
    return torch.from_numpy(np.array(as_array(x), np.float32))
