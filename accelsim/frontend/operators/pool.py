"""Pooling and means over height and width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.registry import Captured, Reject, lowers, pair, tensor
from accelsim.ops.adaptive_pool import AdaptiveAveragePool2d as IntegerAdaptiveAveragePool2d
from accelsim.ops.pool import AveragePool2d as IntegerAveragePool2d
from accelsim.ops.pool import MaxPool2d as IntegerMaxPool2d
from accelsim.ops.pool import Mean as IntegerMean

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


def _window(arguments: dict[str, Any]) -> dict[str, Any]:
    kernel = pair(arguments["kernel_size"])
    stride = pair(arguments["stride"]) if arguments["stride"] else kernel
    padding = tuple((p, p) for p in pair(arguments["padding"]))
    return {"window": kernel, "stride": stride, "padding": padding}


def _torch_padding(node: FloatNode) -> tuple[int, int]:
    return tuple(pair[0] for pair in node.attributes["padding"])  # type: ignore[return-value]


@lowers(aten.max_pool2d.default)
class MaxPool2d:
    tied = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        if pair(arguments["dilation"]) != (1, 1):
            raise Reject("dilated max-pool")
        x, window = tensor(arguments["self"], "the input"), _window(arguments)
        if arguments["ceil_mode"]:  # windows that begin inside and end outside: padding behind, which never wins
            ends = zip(x.shape[1:], shape[1:], *window.values(), strict=True)
            behind = [(n - 1) * s + k - size - p for size, n, k, s, (p, _) in ends]
            window["padding"] = tuple((p, max(p, b)) for (p, _), b in zip(window["padding"], behind, strict=True))
        return Captured((x,), window)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        (top, bottom), (left, right) = node.attributes["padding"]
        x = F.pad(x, (left, right, top, bottom), value=-torch.inf)
        return F.max_pool2d(x, node.attributes["window"], node.attributes["stride"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        to.add(node, IntegerMaxPool2d(**to.names(node), **node.attributes))


@lowers(aten.avg_pool2d.default)
class AveragePool2d:
    """Average over windows, on the grid of the input."""

    tied = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        if arguments["divisor_override"] is not None:
            raise Reject("divisor_override")
        if arguments["ceil_mode"]:
            raise Reject("ceil_mode=True")
        divisor = "window" if arguments["count_include_pad"] else "valid"
        window = {**_window(arguments), "divisor": divisor}
        return Captured((tensor(arguments["self"], "the input"),), window)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        window, stride = node.attributes["window"], node.attributes["stride"]
        include = node.attributes["divisor"] == "window"
        return F.avg_pool2d(x, window, stride, _torch_padding(node), count_include_pad=include)

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        to.add(node, IntegerAveragePool2d(**to.names(node), **node.attributes, **to.average_pool_numerics(node)))


@lowers(aten.adaptive_avg_pool2d.default)
class AdaptiveAveragePool2d(AveragePool2d):
    """An average pool with equal windows, or the global mean."""

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        rows, cols = x.shape[1:]
        if (shape[1], shape[2]) == (1, 1):
            return Captured((x,), {"keepdim": True}, operator=Mean)
        if rows % shape[1] or cols % shape[2]:
            return Captured((x,), operator=UnequalAveragePool2d)
        window = (rows // shape[1], cols // shape[2])
        padding = ((0, 0), (0, 0))
        return Captured((x,), {"window": window, "stride": window, "padding": padding, "divisor": "valid"})


@lowers()
class UnequalAveragePool2d:
    """An adaptive average pool whose windows differ in size or overlap, on the grid of the input."""

    tied = True

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(x, node.shape[1:])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        size = node.shape[1], node.shape[2]
        numerics = to.average_pool_numerics(node)
        to.add(node, IntegerAdaptiveAveragePool2d(**to.names(node), output_size=size, **numerics))


@lowers(aten.mean.dim)
class Mean:
    """Mean over height and width of (N, C, H, W), with an output grid of its own."""

    fuses_clamp = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        rank = len(x.shape) + 1
        axes = sorted({axis % rank for axis in arguments["dim"] or range(rank)})
        if axes[0] == 0:
            raise Reject("a mean over the batch")
        keepdim = bool(arguments["keepdim"])
        if (rank, axes) == (4, [2, 3]):
            return Captured((x,), {"keepdim": keepdim})
        return Captured((x,), {"keepdim": keepdim, "axes": tuple(axis - 1 for axis in axes)}, operator=AxisMean)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=node.attributes["keepdim"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        numerics = to.mean_numerics(node)
        to.add(node, IntegerMean(**to.names(node), keep_dims=node.attributes["keepdim"], **numerics))


@lowers()
class AxisMean:
    """Mean over any axes but the batch (of tokens, of channels); axes: of the sample, in torch's order."""

    fuses_clamp = True

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        axes = tuple(axis + 1 for axis in node.attributes["axes"])
        return x.mean(axes, keepdim=node.attributes["keepdim"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        axes, keepdim = node.attributes["axes"], node.attributes["keepdim"]
        names = to.names(node, plain=True)
        how = {"keep_dims": keepdim, "axes": axes, **to.mean_numerics(node)}
        to.add(node, IntegerMean(**names, **how), plain=True)
