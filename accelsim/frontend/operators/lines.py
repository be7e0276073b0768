"""Layers over one-dimensional signals (N, C, L): those of images of height 1.

Each becomes a change of shape, the two-dimensional layer, and a change of shape back; `frontend/lines.py` then moves
the latter behind what follows, so that a network of such layers changes shape at its ends alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.operators import mac, pool, resize, transpose_conv
from accelsim.frontend.operators.shape import Reshape
from accelsim.frontend.registry import Captured, Reject, lowers, tensor

aten = torch.ops.aten


class _Line:
    """A layer over lines. image: the family that computes it on images of height 1."""

    image: Any
    names: tuple[str, ...] = ()  # arguments that are one number along the line and a pair for an image
    filler: dict[str, int] = {}  # noqa: RUF012  their value along the height, where it is not 1

    @classmethod
    def capture(cls, arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments.get("input", arguments.get("self")), "the input")
        if len(x.shape) != 2 or len(shape) != 2:
            raise Reject(f"a {len(x.shape) + 1}-D tensor, not (N, C, L)")
        given = dict(arguments)
        for name in cls.names:
            value = given.get(name)
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, (int, float)):
                given[name] = [cls.filler.get(name, 1), value]
        if isinstance(given.get("weight"), torch.Tensor):
            given["weight"] = given["weight"].unsqueeze(2)
        place = "input" if "input" in arguments else "self"
        given[place] = Ref(x.name, _image(x.shape))
        found = cls.image.capture(given, _image(shape))
        family = found.operator or cls.image
        return replace(found, inputs=(x,), attributes={"image": family, "given": found.attributes}, operator=cls)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("layers over lines are replaced when a network is captured")

    lower = execute

    @staticmethod
    def decompose(node: FloatNode) -> tuple[FloatNode, ...]:
        (x,) = node.inputs
        into = replace(node, name=f"{node.name}.image", operator=Reshape, shape=_image(x.shape), attributes={},
                       parameters={})  # fmt: skip
        layer = replace(
            node,
            name=f"{node.name}.layer",
            operator=node.attributes["image"],
            inputs=(Ref(into.name, into.shape),),
            shape=_image(node.shape),
            attributes=node.attributes["given"],
        )
        back = replace(node, operator=Reshape, inputs=(Ref(layer.name, layer.shape),), attributes={}, parameters={})
        return into, layer, back


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], 1, shape[1])


@lowers(aten.conv1d.default, aten.conv1d.padding)
class Conv1d(_Line):
    image = mac.Conv2d
    owns_module = True
    names = ("stride", "padding", "dilation")
    filler = {"padding": 0}  # noqa: RUF012


@lowers(aten.conv_transpose1d.default)
class ConvTranspose1d(_Line):
    image = transpose_conv.ConvTranspose2d
    owns_module = True
    names = ("stride", "padding", "output_padding", "dilation")
    filler = {"padding": 0, "output_padding": 0}  # noqa: RUF012


@lowers(aten.max_pool1d.default)
class MaxPool1d(_Line):
    image = pool.MaxPool2d
    names = ("kernel_size", "stride", "padding", "dilation")
    filler = {"padding": 0}  # noqa: RUF012


@lowers(aten.avg_pool1d.default)
class AveragePool1d(_Line):
    image = pool.AveragePool2d
    names = ("kernel_size", "stride", "padding")
    filler = {"padding": 0}  # noqa: RUF012

    @classmethod
    def capture(cls, arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return super().capture({"divisor_override": None, **arguments}, shape)


@lowers(aten.adaptive_avg_pool1d.default)
class AdaptiveAveragePool1d(_Line):
    image = pool.AdaptiveAveragePool2d


@lowers(aten.upsample_nearest1d.vec, aten.upsample_nearest1d.default)
class ResizeNearest1d(_Line):
    image = resize.ResizeNearest
    names = ("scale_factors", "scales")
    filler = {"scale_factors": 1, "scales": 1}  # noqa: RUF012


@lowers(aten.upsample_linear1d.vec, aten.upsample_linear1d.default)
class ResizeLinear1d(_Line):
    image = resize.ResizeBilinear
    names = ("scale_factors", "scales")
