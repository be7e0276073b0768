"""What a MAC layer reads, as rows: one row of taps for each output position that is looked at."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.operators.mac import Conv2d, Linear

_IMAGES = 32  # unfolded at a time


def has_rows(node: FloatNode) -> bool:
    """Whether an output of the layer is a product of its weights with one row of its input."""
    return node.operator in (Conv2d, Linear)


def draw(node: FloatNode, samples: int, rows: int, generator: torch.Generator) -> torch.Tensor:
    """At most `rows` of the layer's output positions over all samples, in random order."""
    return torch.randperm(samples * positions(node), generator=generator)[:rows]


def positions(node: FloatNode) -> int:
    """Output positions of one sample."""
    shape = node.shape[1:] if node.operator is Conv2d else node.shape[:-1]
    return int(torch.Size(shape).numel())


def input_rows(node: FloatNode, x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(groups, rows, taps): what the chosen outputs read of x (torch's layout)."""
    if node.operator is not Conv2d:
        return x.reshape(-1, x.shape[-1])[chosen][None]
    (top, bottom), (left, right) = node.attributes["padding"]
    padded = F.pad(x, (left, right, top, bottom))
    kernel = tuple(node.parameters["weight"].shape[2:])
    groups = node.attributes["groups"]
    image, place = chosen // positions(node), chosen % positions(node)
    rows = torch.empty(len(chosen), node.parameters["weight"][0].numel() * groups)
    for start in range(0, len(x), _IMAGES):
        here = (image >= start) & (image < start + _IMAGES)
        taps = F.unfold(
            padded[start : start + _IMAGES], kernel, node.attributes["dilation"], 0, node.attributes["stride"]
        )
        rows[here] = taps[image[here] - start, :, place[here]]
    return rows.view(len(chosen), groups, -1).transpose(0, 1).contiguous()


def output_rows(node: FloatNode, y: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(rows, outputs): the chosen positions of an output in torch's layout."""
    flat = y.flatten(2).transpose(1, 2) if node.operator is Conv2d else y
    return flat.reshape(-1, flat.shape[-1])[chosen]
