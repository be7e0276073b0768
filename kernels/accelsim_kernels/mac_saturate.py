"""Saturating accumulators in the lanes of simd_saturate: which ones fit, and their weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from accelsim_kernels import simd
from accelsim_kernels.arguments import Accumulator, ConvGeometry
from accelsim_kernels.mac_exact_plan import low32
from accelsim_kernels.mac_pack import Packed, panels
from accelsim_kernels.simd import Engine

#: vectors of a tile at most
WIDEST = {"scaled": 4, "doubled": 4, "short": 2}
#: vectors that share their lanes' weights: the one has the low halves of 32 bits, the other the high ones
SHARED = {"scaled": 2, "doubled": 1, "short": 1}
#: the tag of an accumulator that was never clipped
TAG = 1
_SHORT, _HALF = 1 << 15, 1 << 30


class Saturation(NamedTuple):
    """One saturating accumulator, a product at a time, in lanes of a kind of simd_saturate.

    Activations come times 2**x_scale, weights times 2**w_scale, products twice in kind "doubled": 2**shift in all.
    """

    kind: str
    shift: int
    x_scale: int
    w_scale: int
    low: int
    high: int
    bias_after: bool
    watched: bool
    depthwise: bool

    def engine(self, isa: str) -> Engine:
        """The engine whose lanes hold the accumulators."""
        return simd.engine(isa, False)

    def columns(self, engine: Engine) -> int:
        """Output channels of a vector."""
        return engine.lanes * (2 if self.kind == "short" else 1)

    def weight_bytes(self, engine: Engine, vectors: int) -> int:
        """Bytes of one product's weights for a panel of so many vectors."""
        return -(-vectors // SHARED[self.kind]) * engine.lanes * 4

    def epilogue_shape(self, shape: ConvGeometry, engine: Engine) -> tuple[int, int]:
        """(groups, output channels of each with those that fill its last vector)."""
        groups, columns = 1 if self.depthwise else shape.groups, self.columns(engine)
        return groups, -(-shape.out_channels // groups // columns) * columns


def choose(
    shape: ConvGeometry, ends: tuple[int, int, int, int], bias: np.ndarray, how: Accumulator, watched: bool
) -> Saturation | None:
    """How the lanes hold this accumulator, or None where they cannot.

    ends: lowest and highest activation, lowest and highest weight, zero points taken off.
    """
    level, after, depthwise = how.levels[0], how.bias_at == "after", shape.group_channels == 1 and shape.groups > 1
    if level.overflow != "saturate" or how.group != 1 or not shape.depth or not 16 <= level.bits <= 32:
        return None
    if simd.current() != "avx512vnni" and not depthwise:
        return None
    if level.bits > 30 and (watched or after):
        return None
    if after and np.abs(bias).max(initial=0) >= _HALF:
        return None
    x_low, x_high, w_low, w_high = ends
    short = max(x_high * w_high, x_low * w_low) < _SHORT and min(x_low * w_high, x_high * w_low) >= -_SHORT
    rest = level.minimum, level.maximum, after, watched, depthwise
    wide, narrow = (-(-shape.out_channels // shape.groups // lanes) for lanes in (16, 32))
    if level.bits == 16 and short and not watched and not depthwise and 5 * wide >= 8 * narrow:
        return Saturation("short", 0, 0, 0, *rest)
    shift = 32 - level.bits
    room = [
        max((bits for bits in range(shift + 1) if low << bits >= -_SHORT and high << bits < _SHORT), default=-1)
        for low, high in (ends[:2], ends[2:])
    ]
    w_scale = min(room[1], shift)
    x_scale = min(room[0], shift - w_scale)
    if min(w_scale, x_scale) < 0 or shift - w_scale - x_scale > 1:
        return None
    kind = "scaled" if x_scale + w_scale == shift else "doubled"
    return Saturation(kind, shift, x_scale, w_scale, *rest)


class SaturationLayout(NamedTuple):
    """Weights (group, panel, depth, vector, lane), 64-byte aligned; depthwise: one group of all channels.

    Two vectors that share their weights have each of their lanes side by side.
    """

    data: np.ndarray
    group_bytes: int
    vectors: int
    panels: list[tuple[int, int]]


def lay_out(packed: Packed, engine: Engine, zw: np.ndarray, how: Saturation) -> SaturationLayout:
    """The weights, zero points taken off, scaled, in the lanes' order."""
    w = packed.w.reshape(len(packed.w), -1).astype(np.int32) - zw[:, None].astype(np.int32)
    groups = 1 if how.depthwise else packed.groups
    outputs, depth = len(w) // groups, w.shape[1]
    columns = how.columns(engine)
    vectors = -(-outputs // columns)
    items = np.zeros((groups, vectors * columns, depth), np.int16)
    items[:, :outputs] = (w << how.w_scale).reshape(groups, outputs, depth)
    items = items.reshape(groups, vectors, columns, depth)
    parts, shared = panels(vectors, WIDEST[how.kind]), SHARED[how.kind]
    pieces = []
    for first, count in parts:
        own = np.pad(items[:, first : first + count], ((0, 0), (0, -count % shared), (0, 0), (0, 0)))
        own = own.reshape(groups, -1, shared, columns, depth).transpose(0, 4, 1, 3, 2)
        pieces.append(np.repeat(own, 2 if how.kind == "doubled" else 1, axis=-1).reshape(groups, -1))
    whole = np.concatenate(pieces, axis=1)
    room = np.zeros(whole.size + 32, np.int16)
    data = room[-(room.ctypes.data // 2) % 32 :][: whole.size].reshape(whole.shape)
    data[...] = whole
    return SaturationLayout(data, data.strides[0], vectors, parts)


def spread(values: np.ndarray, groups: int, width: int) -> np.ndarray:
    """Per-channel numbers, each group's filled up with zeros."""
    whole = np.zeros((groups, width), values.dtype)
    whole[:, : len(values) // groups] = values.reshape(groups, -1)
    return whole


def initial_lanes(bias: np.ndarray, how: Saturation, groups: int, width: int) -> np.ndarray:
    """What the lanes hold before the first product; a start that is clipped leaves its tag."""
    start = np.zeros_like(bias) if how.bias_after else bias
    clipped = np.clip(start, how.low, how.high)
    if how.kind == "short":
        return spread(clipped.astype(np.int16), groups, width)
    tag = np.full_like(bias, TAG if how.shift > 1 else 0)
    tag[start < how.low] = 0
    tag[start > how.high] = (1 << how.shift) - 1
    return spread(low32((clipped << how.shift) + tag), groups, width)
