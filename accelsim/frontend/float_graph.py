"""A captured network as a plain list of float operators: what calibration runs and lowering reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from accelsim.errors import AccelsimError

#: one side of a clamp: open, one real value, or one per channel (dimension 1 of the batched tensor)
Bound = float | tuple[float, ...] | None


@dataclass(frozen=True)
class Ref:
    """A tensor that flows through the network (as opposed to a parameter). Shape without the batch."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FloatNode:
    """One operator in torch's own layout (NCHW). Its output tensor carries the node's name.

    shape: of the output, without the batch. parameters: float tensors (weight, bias, …; a layer with folded batch
    norm has "mean" and "deviation", the moments of its outputs before the activation).
    clamp: (lower, upper) of an activation fused into the output, in real values; None where open, a tuple where
    each channel has its own.
    layer: the module path that users know (equal for every call of a shared module).
    where: module path and source line, for messages.
    """

    name: str
    operator: Any
    inputs: tuple[Ref, ...]
    shape: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, torch.Tensor] = field(default_factory=dict)
    clamp: tuple[Bound, Bound] = (None, None)
    layer: str = ""
    where: str = ""

    def run(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The output, and what it was before the fused clamp."""
        y = self.operator.execute(self, *tensors)
        return clamped(y, self.clamp), y


def clamped(y: torch.Tensor, clamp: tuple[Bound, Bound]) -> torch.Tensor:
    """y within the bounds of a FloatNode's clamp."""
    lower, upper = clamp
    if not (isinstance(lower, tuple) or isinstance(upper, tuple)):
        return y if clamp == (None, None) else torch.clamp(y, lower, upper)
    view = (-1, *[1] * (y.ndim - 2))
    if lower is not None:
        y = torch.maximum(y, torch.tensor(lower, dtype=y.dtype).view(view))
    return y if upper is None else torch.minimum(y, torch.tensor(upper, dtype=y.dtype).view(view))


def per_channel(clamp: tuple[Bound, Bound]) -> bool:
    return any(isinstance(bound, tuple) for bound in clamp)


@dataclass(frozen=True)
class FloatGraph:
    """Nodes in the order of execution; inputs and outputs by tensor name."""

    nodes: tuple[FloatNode, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[str, ...]

    def node(self, name: str) -> FloatNode:
        return next(node for node in self.nodes if node.name == name)

    def users(self) -> dict[str, list[FloatNode]]:
        """Tensor name → the nodes that read it."""
        table: dict[str, list[FloatNode]] = {ref.name: [] for ref in self.inputs}
        for node in self.nodes:
            table.setdefault(node.name, [])
            for ref in node.inputs:
                table[ref.name].append(node)
        return table

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**{r.name: r.shape for r in self.inputs}, **{n.name: n.shape for n in self.nodes}}

    @torch.no_grad()
    def run(
        self,
        inputs: Sequence[torch.Tensor],
        observe: Callable[[str, torch.Tensor, torch.Tensor], None] | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Float outputs; `observe(name, tensor, tensor before the clamp)` sees every tensor, inputs included."""
        last_use = {ref.name: node.name for node in self.nodes for ref in node.inputs}
        alive = {ref.name: x for ref, x in zip(self.inputs, inputs, strict=True)}
        if observe:
            for name, x in alive.items():
                observe(name, x, x)
        for node in self.nodes:
            y, before_clamp = node.run(*(alive[ref.name] for ref in node.inputs))
            if observe:
                observe(node.name, y, before_clamp)
            alive[node.name] = y
            for ref in node.inputs:
                if last_use[ref.name] == node.name and ref.name not in self.outputs:
                    alive.pop(ref.name, None)
        return tuple(alive[name] for name in self.outputs)


def rewrite(graph: FloatGraph, replaced: dict[str, FloatNode], renamed: dict[str, str]) -> FloatGraph:
    """The graph with some nodes replaced and others dropped.

    replaced: node name → its new version. renamed: dropped node → the tensor that its readers now read.
    Nodes that no output depends on any more fall away.
    """

    def resolve(name: str) -> str:
        while name in renamed:
            name = renamed[name]
        return name

    nodes = [replaced.get(node.name, node) for node in graph.nodes if node.name not in renamed]
    nodes = [replace(node, inputs=tuple(Ref(resolve(ref.name), ref.shape) for ref in node.inputs)) for node in nodes]
    outputs = tuple(resolve(name) for name in graph.outputs)
    return FloatGraph(tuple(_reachable(nodes, outputs)), graph.inputs, outputs)


def _reachable(nodes: Iterable[FloatNode], outputs: Iterable[str]) -> list[FloatNode]:
    wanted, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if node.name in wanted:
            kept.append(node)
            wanted.update(ref.name for ref in node.inputs)
    return kept[::-1]


def check_finite(graph: FloatGraph) -> None:
    """Raises AccelsimError naming the layer whose parameters hold NaN or infinity."""
    for node in graph.nodes:
        for name, value in node.parameters.items():
            bad = int((~torch.isfinite(value)).sum())
            if bad:
                raise AccelsimError(
                    f"layer {node.layer!r}: {name} holds {bad} NaN or infinite value(s) of {value.numel()}; "
                    "mend or retrain the network before quantizing it"
                )
