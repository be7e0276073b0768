"""Blocks of a float network: stretches of nodes with one tensor in and one tensor out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from accelsim.frontend.calibrate import mac_nodes
from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.operators.shape import Permute, Reshape


@dataclass(frozen=True)
class Block:
    """nodes in the order of execution; source: the tensor they read; the last node makes the block's output."""

    source: str
    nodes: tuple[FloatNode, ...]

    @property
    def output(self) -> FloatNode:
        return self.nodes[-1]

    @property
    def name(self) -> str:
        return _unit(self.nodes[0]) or self.nodes[0].name

    def run(
        self, x: torch.Tensor, through: Callable[[FloatNode, tuple[torch.Tensor, ...]], torch.Tensor]
    ) -> torch.Tensor:
        """The output for an input, each node computed by `through(node, tensors)`."""
        alive = {self.source: x}
        for node in self.nodes:
            alive[node.name] = through(node, tuple(alive[ref.name] for ref in node.inputs))
        return alive[self.output.name]


def blocks(graph: FloatGraph) -> list[Block]:
    """The network cut wherever a single tensor is alive, stretches of one module (two names deep) taken together.

    A residual block is never cut; an inverted residual without an addition is one block by its module. Stretches
    before the first and behind the last cut with more than one tensor in or out are left out, as are those
    without a MAC layer.
    """
    macs = {node.name for node in mac_nodes(graph)}
    if len(graph.inputs) != 1:
        return []
    last_use = {ref.name: i for i, node in enumerate(graph.nodes) for ref in node.inputs}
    last_use.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    source, stretch, found = graph.inputs[0].name, [], []
    alive = {source}
    for i, node in enumerate(graph.nodes):
        stretch.append(node)
        alive = {name for name in alive | {node.name} if last_use.get(name, -1) > i}
        if alive <= {node.name} and node.operator not in (Reshape, Permute):
            found.append(Block(source, tuple(stretch)))
            source, stretch = node.name, []
    merged: list[Block] = []
    for block in found:
        if merged and _unit(block.nodes[0]) and _unit(block.nodes[0]) == _unit(merged[-1].nodes[0]):
            merged[-1] = Block(merged[-1].source, (*merged[-1].nodes, *block.nodes))
        else:
            merged.append(block)
    return [block for block in merged if any(node.name in macs for node in block.nodes)]


def _unit(node: FloatNode) -> str:
    return ".".join(node.layer.split(".")[:2]) if node.layer.count(".") >= 2 else ""
