"""Padding: zeros around images, other values, reflections and repetitions, and cropping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from accelsim.frontend.float_graph import FloatNode
from accelsim.frontend.registry import Captured, Reject, lowers, tensor
from accelsim.ops.lookup import Gather
from accelsim.ops.shape import Pad as IntegerPad
from accelsim.ops.slicing import Slice as IntegerSlice
from accelsim.quant import quantize

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten

#: torch's modes as numpy calls them
_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@lowers(aten.pad.default, aten.constant_pad_nd.default)
class Pad:
    """Zeros around height and width."""

    tied = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        x = tensor(arguments["self"], "the input")
        mode, value = arguments.get("mode", "constant"), float(arguments.get("value") or 0.0)
        flat = list(arguments["pad"])
        if any(not isinstance(n, int) for n in flat):
            raise Reject("its sizes depend on the input")
        if mode != "constant" and mode not in _MODES:
            raise Reject(f"mode {mode!r}")
        pairs = list(zip(flat[::2], flat[1::2], strict=True))[::-1]
        if len(pairs) > len(x.shape):
            raise Reject("it pads the batch")
        pairs = [(0, 0)] * (len(x.shape) - len(pairs)) + pairs
        plain = mode == "constant" and value == 0 and len(x.shape) == 3 and pairs[0] == (0, 0) and min(flat) >= 0
        if plain:
            return Captured((x,), {"padding": tuple(pairs[1:])})
        family = ValuePad if mode == "constant" and value else AnyPad
        return Captured((x,), {"padding": tuple(pairs), "mode": mode, "value": value}, operator=family)

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        (top, bottom), (left, right) = node.attributes["padding"]
        return F.pad(x, (left, right, top, bottom))

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        zero = to.params(node.inputs[0]).zero_point
        to.add(node, IntegerPad(**to.names(node), padding=node.attributes["padding"], value=zero))


@lowers()
class AnyPad:
    """Padding of any axis but the batch with one value, or with what lies inside; negative counts crop."""

    tied = True

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        a = node.attributes
        flat = [count for pair in a["padding"][::-1] for count in pair]
        if a["mode"] == "constant":
            return F.pad(x, flat, value=a["value"])
        for axis, pair in enumerate(a["padding"], start=1):
            if pair != (0, 0):
                x = x.index_select(axis, torch.from_numpy(_places(x.shape[axis], pair, a["mode"])))
        return x

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        mode, x = node.attributes["mode"], to.params(node.inputs[0])
        names = to.names(node, broadcast=True)
        source = names["inputs"][0]
        pairs, sizes = list(node.attributes["padding"]), list(node.inputs[0].shape)
        if len(pairs) == 3 and not to.is_plain(source):
            pairs, sizes = ([row[axis] for axis in (1, 2, 0)] for row in (pairs, sizes))
        if mode == "constant":
            kept = [(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pairs, sizes, strict=True)]
            if kept != [(0, n) for n in sizes]:
                name = f"{node.name}.crop"
                starts, ends = zip(*kept, strict=True)
                cut = {"starts": starts, "sizes": tuple(e - s for s, e in kept), "strides": (1,) * len(ends)}
                source = to.between(node, IntegerSlice(name, (source,), name, **cut))
            value = int(quantize(np.asarray(node.attributes["value"], np.float64), x))
            grown = tuple((max(a, 0), max(b, 0)) for a, b in pairs)
            to.add(node, IntegerPad(node.name, (source,), node.name, padding=grown, value=value))
            return
        moved = [axis for axis, pair in enumerate(pairs) if pair != (0, 0)]
        for axis in moved:
            name = node.name if axis == moved[-1] else f"{node.name}.axis{axis}"
            op = Gather(name, (source,), name, axis, _places(sizes[axis], pairs[axis], mode))
            if axis == moved[-1]:
                to.add(node, op)
            else:
                source = to.between(node, op)


@lowers()
class ValuePad(AnyPad):
    """Padding with a value that the input may not have: calibration counts it."""

    makes_values = True


def _places(size: int, pair: tuple[int, int], mode: str) -> np.ndarray:
    """The places of the input behind every place of a padded axis."""
    grown = np.pad(np.arange(size), [max(count, 0) for count in pair], mode=_MODES[mode])  # type: ignore[call-overload]
    return grown[max(-pair[0], 0) : len(grown) - max(-pair[1], 0)]
