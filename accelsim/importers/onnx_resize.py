"""Which rows and columns a Resize node chooses, its positions computed in float32 as ONNX Runtime computes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from accelsim.importers.onnx_file import FileNode
from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_values import Codes, refuse_unless

_F = np.float32
_LONGEST = 1 << 16
#: place of an output in the input: (places, scale, sizes before and after) → real numbers
_COORDINATES: dict[str, Callable[[np.ndarray, np.float32, int, int], np.ndarray]] = {
    "asymmetric": lambda i, scale, before, after: i / scale,
    "half_pixel": lambda i, scale, before, after: (i + _F(0.5)) / scale - _F(0.5),
    "pytorch_half_pixel": lambda i, scale, before, after: (
        (i + _F(0.5)) / scale - _F(0.5) if after > 1 else np.zeros_like(i)
    ),
    "align_corners": lambda i, scale, before, after: (
        i * _F(before - 1) / _F(after - 1) if after > 1 else np.zeros_like(i)
    ),
}
_NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda v: np.where(v == np.floor(v) + _F(0.5), np.floor(v), np.floor(v + _F(0.5))),
    "round_prefer_ceil": lambda v: np.floor(v + _F(0.5)),
}


def nearest_places(node: FileNode, to: Lowering, x: Codes) -> dict[int, np.ndarray]:
    """Axis of a sample of x → the places along it that are chosen; without axes that stay as they are.

    UnsupportedError for what no nearest place is.
    """
    attributes = node.attributes
    refuse_unless(
        attributes.get("mode", "nearest") == "nearest", f"mode {attributes.get('mode')!r:.40}; nearest is read"
    )
    for name, plain in (("antialias", 0), ("axes", None), ("keep_aspect_ratio_policy", "stretch")):
        refuse_unless(attributes.get(name, plain) == plain, f"{name} {attributes.get(name)!r:.40}")
    sizes, scales = _sizes(node, to, x)
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    nearest = attributes.get("nearest_mode", "round_prefer_floor")
    refuse_unless(coordinates in _COORDINATES and nearest in _NEAREST, f"{coordinates!r:.40} and {nearest!r:.40}")
    found = {}
    for axis, (before, after, scale) in enumerate(zip(x.shape, sizes, scales, strict=True)):
        if scale == 1:
            continue
        places = _COORDINATES[coordinates](np.arange(after).astype(_F), scale, before, after)
        found[axis] = np.clip(_NEAREST[nearest](places), 0, before - 1).astype(np.int32)
    return found


def _sizes(node: FileNode, to: Lowering, x: Codes) -> tuple[list[int], list[np.float32]]:
    """(sizes of a sample, their scales)."""
    if len(node.inputs) > 3 and node.inputs[3]:
        full = to.numbers(node, 3, "the sizes")
        refuse_unless(len(full) == 4 and full[0] == to.batch, f"sizes {full} of {(to.batch, *x.shape)}")
        sizes = full[1:]
        scales = [_F(after) / _F(before) for before, after in zip(x.shape, sizes, strict=True)]
    else:
        given = to.constant(node, 2, "scales").reshape(-1).astype(_F)
        usable = given.size == 4 and bool(np.all(np.isfinite(given) & (given > 0))) and given[0] == 1
        refuse_unless(usable, f"scales {given[:4]}")
        scales = list(given[1:])
        with np.errstate(over="ignore"):  # what is too long is refused
            lengths = [np.floor(_F(n) * scale) for n, scale in zip(x.shape, scales, strict=True)]
        sizes = [int(min(length, _LONGEST + 1)) for length in lengths]
    refuse_unless(all(1 <= size <= _LONGEST for size in sizes), f"from {x.shape} to {sizes}")
    return sizes, scales
