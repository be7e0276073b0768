"""Changes of shape between lines (N, C, L) and images (N, C, 1, L), moved to where they meet and vanish."""

from __future__ import annotations

from dataclasses import replace

from accelsim.frontend.float_graph import FloatGraph, FloatNode, Ref, rewrite
from accelsim.frontend.operators.arithmetic import Add, Clamp
from accelsim.frontend.operators.functions import Function
from accelsim.frontend.operators.mac import BatchNorm
from accelsim.frontend.operators.product import Mul, Sub
from accelsim.frontend.operators.shape import Reshape


def lines_as_images(graph: FloatGraph) -> FloatGraph:
    """The same network with images of height 1 kept as images by whatever does not care.

    Batch norm, activations, sums and products between such layers work on the images themselves: batch norm then
    folds, activations fuse, and the changes of shape between two layers cancel.
    """
    images: dict[str, Ref] = {}  # a line → the image of height 1 with the same values
    lines: dict[str, Ref] = {}  # a moved node, now an image → the line for those who need one
    nodes: list[FloatNode] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if node.operator is Reshape and _flattens(node) and node.inputs[0].name not in lines:
            images[node.name] = node.inputs[0]
        elif node.operator is Reshape and node.inputs[0].name in images and _is_image_of(node, node.inputs[0]):
            renamed[node.name] = images[node.inputs[0].name].name
        elif _indifferent(node) and all(ref.name in images for ref in node.inputs) and len(node.shape) == 2:
            sources = tuple(images[ref.name] for ref in node.inputs)
            moved = replace(node, inputs=sources, shape=(node.shape[0], 1, node.shape[1]))
            line = replace(node, name=f"{node.name}.line", operator=Reshape, inputs=(Ref(node.name, moved.shape),),
                           attributes={}, parameters={}, clamp=(None, None))  # fmt: skip
            images[node.name] = Ref(node.name, moved.shape)
            lines[node.name] = Ref(line.name, node.shape)
            nodes += [moved, line]
            continue
        nodes.append(replace(node, inputs=tuple(lines.get(ref.name, ref) for ref in node.inputs)))
    outputs = tuple(lines[name].name if name in lines else name for name in graph.outputs)
    return rewrite(FloatGraph(tuple(nodes), graph.inputs, outputs), {}, renamed)


def _flattens(node: FloatNode) -> bool:
    """(C, 1, L) → (C, L)."""
    before = node.inputs[0].shape
    return len(before) == 3 and before[1] == 1 and node.shape == (before[0], before[2])


def _is_image_of(node: FloatNode, line: Ref) -> bool:
    return len(line.shape) == 2 and node.shape == (line.shape[0], 1, line.shape[1])


def _indifferent(node: FloatNode) -> bool:
    """Whether the operator computes the same on images of height 1, channels being dimension 1."""
    same = all(ref.shape == node.shape for ref in node.inputs)
    elementwise = node.operator in (Add, Mul, Sub, BatchNorm)
    return same and bool(node.inputs) and (elementwise or issubclass(node.operator, (Clamp, Function)))
