"""Convolution, fully connected layers, and batch norm that no convolution could absorb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.groups import GroupedParams, sum_params
from accelsim.frontend.registry import Captured, Reject, lowers, pair, parameter, tensor
from accelsim.ops.grouped_linear import GroupedLinear as IntegerGroupedLinear
from accelsim.ops.mac import Conv2d as IntegerConv2d
from accelsim.ops.mac import Linear as IntegerLinear

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


def _weights(arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
    found = {"weight": parameter(arguments["weight"], "the weight")}
    if arguments.get("bias") is not None:
        found["bias"] = parameter(arguments["bias"], "the bias")
    return found


@lowers(aten.conv2d.default, aten.conv2d.padding)
class Conv2d:
    """padding: ((top, bottom), (left, right)), also where torch was told "same" or "valid"."""

    owns_module = fuses_clamp = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["input"], "the input")
        parameters = _weights(arguments)
        if len(x.shape) != 3:
            raise Reject("the input has no batch dimension")
        stride = pair(arguments["stride"])
        dilation = pair(arguments["dilation"])
        padding = arguments["padding"]
        if padding == "valid":
            padding = ((0, 0), (0, 0))
        elif padding == "same":
            totals = [d * (k - 1) for d, k in zip(dilation, parameters["weight"].shape[2:], strict=True)]
            padding = tuple((t // 2, t - t // 2) for t in totals)
        else:
            padding = tuple((p, p) for p in pair(padding))
        attributes = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": arguments["groups"],
        }
        return Captured((x,), attributes, parameters)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        (top, bottom), (left, right) = node.attributes["padding"]
        symmetric = top == bottom and left == right
        if not symmetric:
            x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(
            x,
            node.parameters["weight"],
            node.parameters.get("bias"),
            stride=node.attributes["stride"],
            padding=(top, left) if symmetric else 0,
            dilation=node.attributes["dilation"],
            groups=node.attributes["groups"],
        )

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        weight = to.weight(node)
        to.add(
            node,
            IntegerConv2d(
                **to.names(node),
                # torch: (K, C/groups, fy, fx)
                weight=np.ascontiguousarray(weight.values.transpose(0, 2, 3, 1)),
                weight_params=weight.params,
                x_zero_point=to.params(node.inputs[0]).zero_point,
                bias=to.bias(node),
                requantizer=to.mac_requantizer(node, "conv2d" if not _depthwise(node) else "depthwise_conv2d"),
                **node.attributes,
            ),
        )


@lowers(aten.linear.default)
class Linear:
    owns_module = fuses_clamp = follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        return Captured((tensor(arguments["input"], "the input"),), {}, _weights(arguments))

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, node.parameters["weight"], node.parameters.get("bias"))

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        weight = to.weight(node)
        fields = {
            **to.names(node),
            "weight": weight.values,
            "weight_params": sum_params(weight.params),
            "x_zero_point": to.params(node.inputs[0]).zero_point,
            "bias": to.bias(node),
            "requantizer": to.mac_requantizer(node, "linear"),
        }
        if not isinstance(weight.params, GroupedParams):
            to.linear(node, IntegerLinear(**fields))
            return
        groups = {
            "group_size": weight.params.group_size,
            "zero_points": weight.params.by_group(weight.params.zero_point),
            **weight.params.rescaling(),
        }
        to.linear(node, IntegerGroupedLinear(**fields, **groups))


@lowers(aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default)
class BatchNorm:
    """scale * x + offset per channel; folded into the layer before it, or into a 1×1 depthwise convolution.

    scale = weight / sqrt(variance + eps), offset = bias - mean * scale; mean and variance are the running ones.
    """

    owns_module = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["input"], "the input")
        if arguments["running_mean"] is None:
            raise Reject("batch norm without running statistics")
        mean = parameter(arguments["running_mean"], "the running mean")
        variance = parameter(arguments["running_var"], "the running variance")
        scale = torch.rsqrt(variance.double() + arguments["eps"])
        if arguments["weight"] is not None:
            scale = scale * parameter(arguments["weight"], "the weight").double()
        offset = -mean.double() * scale
        if arguments["bias"] is not None:
            offset = offset + parameter(arguments["bias"], "the bias").double()
        attributes = {"eps": arguments["eps"], "momentum": arguments.get("momentum")}
        return Captured((x,), attributes, {"scale": scale, "offset": offset, "mean": mean, "variance": variance})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        view = (1, -1) + (1,) * (x.ndim - 2)
        scale, offset = (node.parameters[name].float().view(view) for name in ("scale", "offset"))
        return x * scale + offset

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        raise AssertionError("batch norm is folded before lowering")


def _depthwise(node: FloatNode) -> bool:
    return node.attributes["groups"] == node.inputs[0].shape[0] and node.attributes["groups"] > 1
