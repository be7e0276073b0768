"""Loop nests and arrays as columns of integers, so that one closed form serves one layer and a million."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.shapes import LoopNest

Ints = Any  #: integers (int64), one entry per priced pair, or a number for all of them


def ceil_div(a: Ints, b: Ints) -> Ints:
    return -(-a // b)


def valid_taps(out: int, filt: int, stride: int, dilation: int, pad: int, size: int) -> int:
    """How many (output, filter tap) pairs of one axis fall on the input and not on the padding."""
    total = 0
    for tap in range(filt):
        offset = tap * dilation - pad
        first = max(0, -(offset // stride))
        last = min(out - 1, (size - 1 - offset) // stride)
        total += max(0, last - first + 1)
    return total


@dataclass(frozen=True)
class Problems:
    """Columns of layers. Per group: M = b·oy·ox, K = c·fy·fx, N = n; `groups` such products.

    c: input channels of a group; taps_y, taps_x: (output, tap) pairs off the padding, per axis.
    """

    b: Ints
    oy: Ints
    ox: Ints
    c: Ints
    n: Ints
    fy: Ints
    fx: Ints
    groups: Ints
    iy: Ints
    ix: Ints
    stride_y: Ints
    stride_x: Ints
    dilation_y: Ints
    dilation_x: Ints
    pad_top: Ints
    pad_left: Ints
    taps_y: Ints
    taps_x: Ints
    weight_bits: Ints
    activation_bits: Ints
    output_bits: Ints
    bias_bits: Ints
    asymmetric: Ints
    requantized: Ints
    input_coded: np.ndarray  # shares of inputs and outputs that a compressed DRAM link carries; 1 where unknown
    output_coded: np.ndarray
    mac_zeros: np.ndarray  # share of the MACs with a zero input; 0 where unknown
    input_resident: Ints  # 1: the inputs are in their buffer already
    output_resident: Ints  # 1: the outputs stay in their buffer
    reserved_bits: Ints  # room of the input buffer that resident tensors take

    @property
    def m(self) -> Ints:
        return self.b * self.oy * self.ox

    @property
    def k(self) -> Ints:
        return self.c * self.fy * self.fx

    @property
    def macs(self) -> Ints:
        return self.m * self.k * self.n * self.groups

    def take(self, index: Ints) -> Problems:
        """The rows `index`, repeated as often as they are named."""
        return Problems(*(getattr(self, f.name)[index] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.b)


@lru_cache(maxsize=65536)
def _row(nest: LoopNest) -> tuple[int, ...]:
    (top, _), (left, _) = nest.padding
    (sy, sx), (dy, dx) = nest.stride, nest.dilation
    if 1.5 * nest.macs * 64 > 2**62:
        raise AccelsimError(f"a layer with {nest.macs} MACs is too large to count in 64-bit integers")
    return (
        nest.b,
        nest.oy,
        nest.ox,
        nest.c // nest.groups,
        nest.n,
        nest.fy,
        nest.fx,
        nest.groups,
        nest.iy,
        nest.ix,
        sy,
        sx,
        dy,
        dx,
        top,
        left,
        valid_taps(nest.oy, nest.fy, sy, dy, top, nest.iy),
        valid_taps(nest.ox, nest.fx, sx, dx, left, nest.ix),
        nest.weight_bits,
        nest.activation_bits,
        nest.output_bits,
        nest.bias_bits,
        nest.asymmetric_weights,
        int(nest.requantized) + nest.partial_rescales,
    )


def problems_of(
    nests: Sequence[LoopNest],
    data: Sequence[tuple[float, float, float]] | None = None,
    resident: Sequence[tuple[int, int, int]] | None = None,
) -> Problems:
    """The nests as columns. data: of each layer the shares of inputs and outputs that a compressed link
    carries, and of MACs with a zero input; resident: whether inputs and outputs stay on chip, and the bits of
    buffer that resident tensors take.
    """
    table = np.array([_row(nest) for nest in nests], dtype=np.int64).reshape(len(nests), -1)
    fractions = np.array(data if data is not None else [(1.0, 1.0, 0.0)] * len(nests)).reshape(-1, 3)
    stay = np.array(resident if resident is not None else [(0, 0, 0)] * len(nests), dtype=np.int64).reshape(-1, 3)
    columns = (np.ascontiguousarray(table[:, i]) for i in range(table.shape[1]))
    return Problems(*columns, *fractions.T, *stay.T)
