"""Attention written out: a mask that is added to the scores, and a number they are multiplied by, join the softmax.

Minus infinity has no code. A masked place has probability 0 exactly, whatever its score (E18).
"""

from __future__ import annotations

from dataclasses import replace

from accelsim.frontend.float_graph import FloatGraph, FloatNode, Ref, rewrite
from accelsim.frontend.operators.arithmetic import Add
from accelsim.frontend.operators.attention import MASKED, Softmax, split_mask
from accelsim.frontend.operators.constant import Constant
from accelsim.frontend.operators.mask_inputs import MaskBias
from accelsim.frontend.operators.product import Affine


def join_masks(graph: FloatGraph) -> FloatGraph:
    """The graph with constant masks and gains in front of a softmax taken into it, where nobody else reads them."""
    changed = True
    while changed:
        changed = False
        users, nodes = graph.users(), {node.name: node for node in graph.nodes}
        for node in graph.nodes:
            before = nodes.get(node.inputs[0].name) if node.operator is Softmax else None
            if before is None or len(users[before.name]) > 1 or before.name in graph.outputs:
                continue
            joined = _with_mask(graph, node, before, nodes) or _with_gain(graph, node, before)
            if joined is not None:
                graph, changed = joined, True
                break
    return graph


def _with_mask(graph: FloatGraph, softmax: FloatNode, add: FloatNode, nodes: dict[str, FloatNode]) -> FloatGraph | None:
    if add.operator is not Add or add.clamp != (None, None):
        return None
    operands = [nodes.get(ref.name) for ref in add.inputs]
    for place, node in enumerate(operands):
        mask = None if node is None else added_mask(node, nodes)
        if mask is not None and len(softmax.inputs) == 1 and add.inputs[1 - place].shape == add.shape:
            scores = add.inputs[1 - place]
            both = replace(softmax, inputs=(scores, mask))
            return rewrite(graph, {softmax.name: both}, {})
    constants = [node is not None and node.operator is Constant for node in operands]
    if constants not in ([True, False], [False, True]) or "keep" in softmax.parameters:
        return None
    if softmax.attributes["gain"] != 1:  # a gain behind the mask: the bias would need it, too
        return None
    constant, scores = operands[constants.index(True)], add.inputs[constants.index(False)]
    assert constant is not None
    found = split_mask(constant.parameters["value"])
    if scores.shape != add.shape or ("bias" in found and "keep" not in found):
        return None
    masked = replace(softmax, parameters={"keep": found["keep"]}) if "keep" in found else softmax
    if "bias" not in found:
        return rewrite(graph, {softmax.name: masked}, {add.name: scores.name})
    bias = replace(constant, name=f"{add.name}.bias", parameters={"value": found["bias"]})
    inputs = tuple(Ref(bias.name, bias.shape) if ref.name == constant.name else ref for ref in add.inputs)
    place = graph.nodes.index(add)
    wider = replace(graph, nodes=(*graph.nodes[:place], bias, *graph.nodes[place:]))
    return rewrite(wider, {softmax.name: masked, add.name: replace(add, inputs=inputs)}, {})


def added_mask(node: FloatNode, nodes: dict[str, FloatNode]) -> Ref | None:
    """The 0/1 input of which the node makes 0 (kept) and a number that masks, in steps such as (1 - mask) * -1e4."""
    if node.operator is MaskBias:
        return node.inputs[0]
    at_one, at_zero, found = 1.0, 0.0, []
    step: FloatNode | None = node
    while step is not None and step.operator is Affine:
        found.append(step)
        step = nodes.get(step.inputs[0].name)
    root = found[-1].inputs[0] if found else None
    origin = root
    while origin is not None and origin.name in nodes:  # only changes of shape between the input and here
        maker = nodes[origin.name]
        origin = maker.inputs[0] if maker.operator.tied and len(maker.inputs) == 1 else None
    if origin is None:
        return None
    for affine in reversed(found):
        at_one, at_zero = (x * affine.attributes["gain"] + affine.attributes["offset"] for x in (at_one, at_zero))
    return root if at_one == 0 and at_zero <= MASKED else None


def _with_gain(graph: FloatGraph, softmax: FloatNode, affine: FloatNode) -> FloatGraph | None:
    a = affine.attributes
    if affine.operator is not Affine or affine.clamp != (None, None) or a["offset"] or a["gain"] <= 0:
        return None
    scaled = replace(softmax, attributes={"gain": softmax.attributes["gain"] * a["gain"]})
    return rewrite(graph, {softmax.name: scaled}, {affine.name: affine.inputs[0].name})
