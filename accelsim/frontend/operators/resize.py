"""Images brought to another size: nearest pixels and bilinear interpolation, on the grid of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from accelsim_kernels.resizing import resize_nearest

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.operators.functions import numerics_of
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.lookup import Gather
from accelsim.ops.resize import ResizeBilinear as IntegerBilinear
from accelsim.ops.resize import ResizeNearest as IntegerNearest

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


def _scales(arguments: dict[str, Any]) -> list[float] | None:
    """Scale factors that were given for the axes, None where the sizes were."""
    given = arguments.get("scale_factors")
    if given is None:
        given = [arguments.get(name) for name in ("scales_h", "scales_w", "scales") if name in arguments]
    return [float(v) for v in given] if given and all(v is not None for v in given) else None


def _image(arguments: dict[str, Any], shape: tuple[int, ...]) -> Any:
    x = tensor(arguments.get("input", arguments.get("self")), "the input")
    if len(x.shape) != 3:
        raise Reject(f"resizing a {len(x.shape) + 1}-D tensor")
    return x


@lowers(aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default)
class ResizeNearest:
    """The pixel at floor(i * input / output), as torch rounds it in float32 (E26)."""

    tied = True
    mode = "nearest"

    @classmethod
    def capture(cls, arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = _image(arguments, shape)
        places = tuple(_chosen(cls.mode, x.shape[1:], shape[1:], _scales(arguments), axis) for axis in (0, 1))
        return Captured((x,), {"places": places})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (torch.tensor(places, device=x.device) for places in node.attributes["places"])
        return x.index_select(2, rows).index_select(3, columns)

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        names, places = to.names(node), node.attributes["places"]
        size = node.shape[1], node.shape[2]
        image = np.arange(node.inputs[0].shape[1] * node.inputs[0].shape[2], dtype=np.uint16).reshape(
            1, *node.inputs[0].shape[1:], 1
        )
        plain = resize_nearest(image, output_size=size, coordinates="asymmetric")
        if np.array_equal(plain, image[:, places[0]][:, :, places[1]]):
            to.add(node, IntegerNearest(**names, output_size=size, coordinates="asymmetric"))
            return
        rows, columns = (np.array(p, np.int64) for p in places)
        source = to.between(node, Gather(f"{node.name}.rows", names["inputs"], f"{node.name}.rows", 0, rows))
        to.add(node, Gather(node.name, (source,), node.name, 1, columns))


@lowers(aten._upsample_nearest_exact2d.vec, aten._upsample_nearest_exact2d.default)
class ResizeNearestExact(ResizeNearest):
    """The pixel whose centre is nearest."""

    mode = "nearest-exact"


def _chosen(
    mode: str, sizes: tuple[int, ...], outputs: tuple[int, ...], scales: list[float] | None, axis: int
) -> tuple[int, ...]:
    """The input place behind every output place along one axis, found by torch itself."""
    line = torch.arange(sizes[axis], dtype=torch.float32).view(1, 1, -1)
    how = {"size": outputs[axis]} if scales is None else {"scale_factor": scales[axis]}
    found = F.interpolate(line, mode=mode, **how).flatten().to(torch.int64)
    if len(found) != outputs[axis]:
        raise Reject(f"{len(found)} of {outputs[axis]} places along an axis")
    return tuple(found.tolist())


@lowers(aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default)
class ResizeBilinear:
    """Weights of 10 fraction bits per axis, one rounding of the exact sum (E25); ties as the profile has them."""

    tied = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = _image(arguments, shape)
        scales = _scales(arguments)
        corners = bool(arguments["align_corners"])
        if scales and not corners and any(n * s != m for n, s, m in zip(x.shape[1:], scales, shape[1:], strict=True)):
            raise Reject(
                f"scale factors {scales} of {x.shape[1]}×{x.shape[2]} are no whole sizes: give size=, or "
                "recompute_scale_factor=True"
            )
        return Captured((x,), {"corners": corners})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, node.shape[1:], mode="bilinear", align_corners=node.attributes["corners"])

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        numerics = numerics_of(to.profile, "resize_bilinear")
        how: dict[str, Any] = {"rounding": "half_away"} if numerics is None else dict(numerics.options)
        coordinates = "align-corners" if node.attributes["corners"] else "half-pixel"
        size = node.shape[1], node.shape[2]
        to.add(node, IntegerBilinear(**to.names(node), output_size=size, coordinates=coordinates, **how))
