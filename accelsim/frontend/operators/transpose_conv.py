"""Transpose convolutions of images, and which families are MAC layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.operators.functions import numerics_of
from accelsim.frontend.operators.mac import Conv2d, Linear
from accelsim.frontend.operators.quantized import codes_of, keep_codes
from accelsim.frontend.registry import Captured, Reject, lowers, pair, parameter, tensor
from accelsim.ops.mac import Conv2d as IntegerConv2d
from accelsim.ops.spread import Spread
from accelsim.ops.transpose_conv import TransposeConv2d as IntegerTransposeConv2d
from accelsim.quant import QTensor

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


@lowers(aten.conv_transpose2d.input)
class ConvTranspose2d:
    """Its weight is kept as a convolution's, (K, C/groups, fy, fx) unflipped, so that output channels come first."""

    owns_module = fuses_clamp = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["input"], "the input")
        if len(x.shape) != 3:
            raise Reject("the input has no batch dimension")
        groups = arguments["groups"]
        weight = parameter(arguments["weight"], "the weight")
        parameters = {"weight": _own_codes(weight, groups)}
        if arguments["bias"] is not None:
            parameters["bias"] = parameter(arguments["bias"], "the bias")
        padding, dilation = pair(arguments["padding"]), pair(arguments["dilation"])
        if any(p > d * (k - 1) for p, d, k in zip(padding, dilation, weight.shape[2:], strict=True)):
            raise Reject(f"padding {padding} cuts off a whole filter")
        attributes = {
            "stride": pair(arguments["stride"]),
            "padding": padding,
            "output_padding": pair(arguments["output_padding"]),
            "dilation": dilation,
            "groups": groups,
        }
        return Captured((x,), attributes, parameters)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        weight = exchanged(node.parameters["weight"], node.attributes["groups"])
        return F.conv_transpose2d(x, weight, node.parameters.get("bias"), **node.attributes)

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        a, weight = node.attributes, to.weight(node)
        numerics = numerics_of(to.profile, "transpose_conv2d")
        codes = np.ascontiguousarray(weight.values.transpose(0, 2, 3, 1))  # (K, fy, fx, C/groups)
        fields = {
            "weight_params": weight.params,
            "x_zero_point": to.params(node.inputs[0]).zero_point,
            "bias": to.bias(node),
            "requantizer": to.mac_requantizer(node, "conv2d" if numerics is None else "transpose_conv2d"),
        }
        size, names = (node.shape[1], node.shape[2]), to.names(node)
        if a["groups"] == 1 and a["dilation"] == (1, 1):
            geometry = {"stride": a["stride"], "padding": a["padding"], "output_size": size}
            to.add(node, IntegerTransposeConv2d(**names, weight=codes, **fields, **geometry))
            return
        # the same convolution of the spread input, which has groups and dilation
        name = f"{node.name}.spread"
        source = to.between(node, Spread(name, names["inputs"], name, stride=a["stride"], value=fields["x_zero_point"]))
        around = [
            (reach - p, reach - p + more)
            for reach, p, more in zip(
                [d * (k - 1) for d, k in zip(a["dilation"], codes.shape[1:3], strict=True)],
                a["padding"],
                a["output_padding"],
                strict=True,
            )
        ]
        conv = IntegerConv2d(
            node.name,
            (source,),
            node.name,
            weight=np.ascontiguousarray(codes[:, ::-1, ::-1]),
            **fields,
            padding=tuple(around),
            dilation=a["dilation"],
            groups=a["groups"],
        )
        to.add(node, conv)


def exchanged(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """(C, K/groups, …) ↔ (K, C/groups, …): input and output channels of each group change places."""
    by_group = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return by_group.transpose(1, 2).reshape(-1, weight.shape[0] // groups, *weight.shape[2:]).contiguous()


def _own_codes(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """The exchanged weight, with its codes where the program brought some."""
    own, codes = exchanged(weight, groups), codes_of(weight)
    if codes is not None and (groups == 1 or codes.params.axis is None):
        axis = codes.params.axis if codes.params.axis not in (0, 1) else 1 - codes.params.axis
        values = exchanged(torch.from_numpy(codes.values), groups).numpy()
        keep_codes(own, QTensor(values, replace(codes.params, axis=axis)))
    return own


#: families whose nodes have weights and an accumulator
MAC_LAYERS = (Conv2d, Linear, ConvTranspose2d)
