"""Functions of one element that are written out in steps become one function, hence one table.

GPT-2's GELU is eight torch calls; x * sigmoid(x) is two. Each step as an operator of its own would round to codes each
time and read its operand anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from accelsim.frontend.float_graph import FloatGraph, FloatNode, rewrite
from accelsim.frontend.operators.arithmetic import Add, Clamp
from accelsim.frontend.operators.functions import Function
from accelsim.frontend.operators.product import Mul, Sub
from accelsim.frontend.registry import lowers

_PAIRS = (Add, Mul, Sub)


@lowers()
class Composition(Function):
    """attributes: steps, the captured nodes in order, all of them functions of the one input `root`."""

    function = "composition"

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        found = {node.attributes["root"]: x}
        for step in node.attributes["steps"]:
            found[step.name], _ = step.run(*(found[ref.name] for ref in step.inputs))
        return found[node.attributes["steps"][-1].name]


def composed(graph: FloatGraph) -> FloatGraph:
    """The graph with every function of one tensor that takes several steps as a Composition."""
    nodes, shapes, users = {node.name: node for node in graph.nodes}, graph.shapes(), graph.users()
    roots: dict[str, str] = {}
    for node in graph.nodes:
        root = _root(node, roots, shapes)
        if root is not None:
            roots[node.name] = root
    replaced = {}
    for name, root in roots.items():
        if name not in graph.outputs and all(roots.get(user.name) == root for user in users[name]) and users[name]:
            continue  # a step on the way
        steps = _steps(nodes[name], root, nodes)
        if len(steps) > 1:
            attributes: dict[str, Any] = {"root": root, "steps": tuple(steps)}
            inputs = tuple({ref.name: ref for step in steps for ref in step.inputs if ref.name == root}.values())
            replaced[name] = replace(nodes[name], operator=Composition, inputs=inputs, attributes=attributes,
                                     parameters={}, clamp=(None, None))  # fmt: skip
    return rewrite(graph, replaced, {})


def _root(node: FloatNode, roots: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> str | None:
    """The tensor that the node is a function of, element by element; None where there is no such one."""
    sources = {roots.get(ref.name, ref.name) for ref in node.inputs}
    if len(sources) != 1 or any(isinstance(bound, tuple) for bound in node.clamp):
        return None
    (source,) = sources
    if shapes[source] != node.shape:
        return None
    if issubclass(node.operator, Clamp):  # behind a layer it joins the layer's own rescaling
        return source if node.inputs[0].name in roots else None
    return source if issubclass(node.operator, (Function, *_PAIRS)) else None


def _steps(node: FloatNode, root: str, nodes: dict[str, FloatNode]) -> list[FloatNode]:
    """The nodes between the root and this one, in order of execution."""
    found: dict[str, FloatNode] = {}

    def visit(step: FloatNode) -> None:
        for ref in step.inputs:
            if ref.name != root and ref.name not in found:
                visit(nodes[ref.name])
        found[step.name] = step

    visit(node)
    return list(found.values())
