"""RMS norm written out: x * rsqrt(mean(x²) + eps), perhaps times a weight, becomes the operator it is.

In steps of their own, the mean square would be rounded to a code of 8 bits and its root taken from there.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from accelsim.frontend.float_graph import FloatGraph, FloatNode, Ref, rewrite
from accelsim.frontend.operators.constant import Constant
from accelsim.frontend.operators.curves import Power, Rsqrt
from accelsim.frontend.operators.norm import RmsNorm
from accelsim.frontend.operators.pool import AxisMean
from accelsim.frontend.operators.product import Affine, Mul


def joined_norms(graph: FloatGraph) -> FloatGraph:
    """The graph with every RMS norm over the last dimension that was written out as one node."""
    users, nodes = graph.users(), {node.name: node for node in graph.nodes}
    replaced, renamed = {}, {}
    for root in graph.nodes:
        found = _source(root, nodes) if root.operator is Rsqrt else None
        product = _only(users[root.name], Mul)
        if found is None or product is None or {ref.name for ref in product.inputs} != {root.name, found[0].name}:
            continue
        x, eps = found
        if product.clamp != (None, None) or x.shape != product.shape:
            continue
        weight, fixed = torch.ones(x.shape[-1]), True
        scaled = _only(users[product.name], Mul)
        own = _weight(scaled, product, nodes)
        last = product
        if scaled is not None and own is not None and product.name not in graph.outputs:
            weight, fixed, last = own.parameters["value"].reshape(-1), own.attributes["fixed"], scaled
            renamed[product.name] = x.name
        replaced[last.name] = replace(last, operator=RmsNorm, inputs=(x,), attributes={"eps": eps, "fixed": fixed},
                                      parameters={"weight": weight})  # fmt: skip
    return rewrite(graph, replaced, renamed)


def _source(root: FloatNode, nodes: dict[str, FloatNode]) -> tuple[Ref, float] | None:
    """(x, eps) where the node is rsqrt(mean(x², last dimension) + eps)."""
    added = nodes.get(root.inputs[0].name)
    if added is None or added.operator is not Affine or added.attributes["gain"] != 1 or added.attributes["offset"] < 0:
        return None
    mean = nodes.get(added.inputs[0].name)
    if mean is None or mean.operator is not AxisMean or not mean.attributes["keepdim"]:
        return None
    if mean.attributes["axes"] != (len(mean.inputs[0].shape) - 1,):
        return None
    square = nodes.get(mean.inputs[0].name)
    if square is None:
        return None
    power = square.operator is Power and square.attributes["exponent"] == 2
    if power or (square.operator is Mul and square.inputs[0].name == square.inputs[1].name):
        return square.inputs[0], added.attributes["offset"]
    return None


def _only(users: list[FloatNode], operator: type) -> FloatNode | None:
    """The only reader of a tensor, where it is of that kind."""
    return users[0] if len(users) == 1 and users[0].operator is operator else None


def _weight(scaled: FloatNode | None, product: FloatNode, nodes: dict[str, FloatNode]) -> FloatNode | None:
    """The constant that the product is times, one number for each place of the last dimension."""
    others = [] if scaled is None else [nodes.get(ref.name) for ref in scaled.inputs if ref.name != product.name]
    if len(others) != 1 or others[0] is None or others[0].operator is not Constant:
        return None
    value = others[0].parameters["value"]
    return others[0] if value.numel() == product.shape[-1] == value.shape[-1] else None
