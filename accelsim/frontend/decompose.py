"""Operators that consist of others: attention is two products and a softmax, each with a grid of its own."""

from __future__ import annotations

from dataclasses import replace

from accelsim.frontend.float_graph import FloatGraph


def decomposed(graph: FloatGraph) -> FloatGraph:
    """The graph with every node that has a `decompose` replaced by the nodes it consists of."""
    nodes = []
    for node in graph.nodes:
        nodes += node.operator.decompose(node) if node.operator.decompose else (node,)
    return replace(graph, nodes=tuple(nodes))
