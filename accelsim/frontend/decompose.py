"""Operators that consist of others (attention: two products and a softmax), and changes of shape that follow others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accelsim.frontend.float_graph import FloatGraph, FloatNode, rewrite
from accelsim.frontend.operators.shape import Reshape


def decomposed(graph: FloatGraph) -> FloatGraph:
    """The graph with every node that has a `decompose` replaced by the nodes it consists of."""
    nodes: list[FloatNode] = []
    for node in graph.nodes:
        nodes += node.operator.decompose(node) if node.operator.decompose else (node,)
    return replace(graph, nodes=tuple(nodes))


def joined_reshapes(graph: FloatGraph) -> FloatGraph:
    """Changes of shape one behind the other as one, and none where the last shape is the first."""
    sources: dict[str, Any] = {}
    shapes, replaced, renamed = graph.shapes(), {}, {}
    for node in graph.nodes:
        if node.operator is Reshape:
            source = sources.get(node.inputs[0].name, node.inputs[0])
            sources[node.name] = source
            if shapes[source.name] != node.shape:
                replaced[node.name] = replace(node, inputs=(source,))
            elif node.name not in graph.outputs:
                renamed[node.name] = source.name
    return rewrite(graph, replaced, renamed)
