"""What a MAC layer reads, as rows: one row of taps for each output position that is looked at."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.operators.mac import Linear
from accelsim.frontend.operators.transpose_conv import ConvTranspose2d

_IMAGES = 32  # unfolded at a time


def draw(node: FloatNode, samples: int, rows: int, generator: torch.Generator) -> torch.Tensor:
    """At most `rows` of the layer's output positions over all samples, in random order."""
    return torch.randperm(samples * positions(node), generator=generator)[:rows]


def positions(node: FloatNode) -> int:
    """Output positions of one sample."""
    shape = node.shape[:-1] if node.operator is Linear else node.shape[1:]
    return int(torch.Size(shape).numel())


def input_rows(node: FloatNode, x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(groups, rows, taps): what the chosen outputs read of x (torch's layout)."""
    if node.operator is Linear:
        return x.reshape(-1, x.shape[-1])[chosen][None]
    transposed = node.operator is ConvTranspose2d
    padded = _spread(node, x) if transposed else _padded(x, node.attributes["padding"])
    stride = (1, 1) if transposed else node.attributes["stride"]
    kernel = tuple(node.parameters["weight"].shape[2:])
    groups = node.attributes["groups"]
    image, place = chosen // positions(node), chosen % positions(node)
    rows = torch.empty(len(chosen), node.parameters["weight"][0].numel() * groups)
    for start in range(0, len(x), _IMAGES):
        here = (image >= start) & (image < start + _IMAGES)
        taps = F.unfold(padded[start : start + _IMAGES], kernel, node.attributes["dilation"], 0, stride)
        rows[here] = taps[image[here] - start, :, place[here]]
    if transposed:  # the filter meets the spread input turned round
        rows = rows.view(len(chosen), -1, *kernel).flip(2, 3)
    return rows.reshape(len(chosen), groups, -1).transpose(0, 1).contiguous()


def output_rows(node: FloatNode, y: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(rows, outputs): the chosen positions of an output in torch's layout."""
    flat = y if node.operator is Linear else y.flatten(2).transpose(1, 2)
    return flat.reshape(-1, flat.shape[-1])[chosen]


def _padded(x: torch.Tensor, padding: tuple[tuple[int, int], tuple[int, int]]) -> torch.Tensor:
    (top, bottom), (left, right) = padding
    return F.pad(x, (left, right, top, bottom))


def _spread(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    """The image on which a transpose convolution is a convolution of stride 1: zeros between pixels and around."""
    a, kernel = node.attributes, node.parameters["weight"].shape[2:]
    size = [(count - 1) * step + 1 for count, step in zip(x.shape[2:], a["stride"], strict=True)]
    wide = x.new_zeros(*x.shape[:2], *size)
    wide[:, :, :: a["stride"][0], :: a["stride"][1]] = x
    reach = [d * (k - 1) - p for d, k, p in zip(a["dilation"], kernel, a["padding"], strict=True)]
    rows, cols = ((r, r + more) for r, more in zip(reach, a["output_padding"], strict=True))
    return _padded(wide, (rows, cols))
