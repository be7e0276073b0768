"""Any accumulator, one addition at a time: weights and arguments of the general walk (mac_walk)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from accelsim_kernels import mac_bounds, simd
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.arguments import Accumulator, ConvGeometry
from accelsim_kernels.mac_pack import Packed
from accelsim_kernels.step import Step

#: flags of an output
EVENT, FATAL = 1, 2
#: int64 words of a level: minimum, maximum, saturates, raises, span
LEVEL_WORDS = 5
#: vectors of output channels that are walked together
_MOST_VECTORS = 4
#: products that are worth a job of their own
_JOB_PRODUCTS = 1 << 17
#: a bias below this, the correction of zero points and all products together stay within int64
_FAR = 1 << 61


class Gen(IntEnum):
    """Positions in the kernel's int64 arguments. Strides are in bytes."""

    counter, jobs, x, out, events, scratch, scratch_bytes, state_at = range(8)
    x_image, x_row, x_column, x_channel, x_bytes, x_signed, subtract, fill = range(8, 16)
    in_y, in_x, pad_top, pad_left, stride_y, stride_x, dilation_y, dilation_x, fy, fx = range(16, 26)
    rows, out_y, out_x, out_channels, groups, group_channels, group_outputs, depth = range(26, 34)
    weights, weight_bytes, block_bytes, blocks, initial, fixed, factor = range(34, 41)
    levels, level_count, group, after, low, high, segment, out_bytes = range(41, 49)


def plan(
    shape: ConvGeometry,
    out_shape: tuple[int, ...],
    x_dtype: np.dtype,
    x_strides: tuple[int, ...],
    packed: Packed,
    zx: int,
    zw: np.ndarray,
    bias: np.ndarray,
    how: Accumulator,
    watched: bool,
    workers: int,
) -> Step:
    """Accumulators of that layer; called with x, where watched also with a uint8 array of its shape for the flags."""
    folded = how.zero_point_at == "folded"
    taken = np.zeros_like(zw) if folded else zw
    narrow = mac_bounds.absolute(packed.w, x_dtype, zx, zw, bias, folded) < 1 << 31
    wide = how.levels[-1].bits == 64 or (bool(bias.size) and not -_FAR < bias.min() <= bias.max() < _FAR)
    bits, single = (32 if narrow else 64), simd.lanes() // (1 if narrow else 2)
    vectors = min(_MOST_VECTORS, max(1, -(-shape.out_channels // shape.groups // single)))
    lanes = single * vectors
    weights = packed.remember(("walk", lanes, taken.tobytes()), lambda: _columns(packed.w, shape.groups, taken, lanes))
    fixed = np.zeros(shape.out_channels, np.int64)
    if folded:
        sums = packed.w.reshape(shape.out_channels, -1).sum(axis=1, dtype=np.int64)
        fixed = shape.depth * zx * zw - zx * sums
    spread = [_spread(values, shape.groups, lanes) for values in (bias, fixed, zw * folded)]
    levels = np.array([_words(level) for level in how.levels], np.int64)
    innermost, limit = how.levels[0], 1 << (bits - 1)
    segment = kernel(
        "simd_segment", "segment", bits, single, vectors, weights.itemsize, innermost.overflow == "saturate",
        how.group == 1,
    )  # fmt: skip
    products = shape.batch * shape.out_y * shape.out_x * shape.out_channels * shape.depth
    rows, subtract = shape.batch * shape.out_y, 0 if folded else zx
    state_at = -(-4 * shape.depth // 64) * 64
    scratch = state_at + 8 * lanes * (len(levels) + 5)
    given = {
        "jobs": max(1, min(rows, 8 * workers, products // _JOB_PRODUCTS)) if workers > 1 else 1,
        "scratch_bytes": scratch, "state_at": state_at,
        "x_image": x_strides[0], "x_row": x_strides[1], "x_column": x_strides[2], "x_channel": x_strides[3],
        "x_bytes": x_dtype.itemsize, "x_signed": x_dtype.kind == "i", "subtract": subtract, "fill": zx - subtract,
        "in_y": shape.in_y, "in_x": shape.in_x, "pad_top": shape.padding[0][0], "pad_left": shape.padding[1][0],
        "stride_y": shape.stride[0], "stride_x": shape.stride[1],
        "dilation_y": shape.dilation[0], "dilation_x": shape.dilation[1], "fy": shape.fy, "fx": shape.fx,
        "rows": rows, "out_y": shape.out_y, "out_x": shape.out_x, "out_channels": shape.out_channels,
        "groups": shape.groups, "group_channels": shape.group_channels,
        "group_outputs": shape.out_channels // shape.groups, "depth": shape.depth,
        "weights": address(weights), "weight_bytes": weights.itemsize, "block_bytes": weights[0].nbytes,
        "blocks": spread[0].shape[1] // lanes,
        "initial": address(spread[0]), "fixed": address(spread[1]), "factor": address(spread[2]),
        "levels": address(levels), "level_count": len(levels), "group": how.group, "after": how.bias_at == "after",
        "low": max(innermost.minimum, -limit), "high": min(innermost.maximum, limit - 1), "segment": segment.address,
        "out_bytes": how.result_dtype.itemsize,
    }  # fmt: skip
    words = np.zeros(len(Gen), np.int64)
    for name, value in given.items():
        words[Gen[name]] = value
    return Step(
        kernel("mac_walk", "walk_rows", lanes, narrow, wide),
        words,
        (int(Gen.x), int(Gen.events)) if watched else (int(Gen.x),),
        int(Gen.out),
        out_shape,
        how.result_dtype,
        int(Gen.scratch),
        -(-scratch // 64) * 64,
        [packed, weights, levels, *spread],
    )


def _columns(w: np.ndarray, groups: int, taken: np.ndarray, lanes: int) -> np.ndarray:
    """Weights minus `taken` as (group and block of lanes, depth, lane), zeros behind a group's last channel."""
    outputs = len(w) // groups
    blocks, low, high = max(1, -(-outputs // lanes)), int(w.min(initial=0)), int(w.max(initial=0))
    ends = low - int(taken.max(initial=0)), high - int(taken.min(initial=0))
    short = ends[0] >= -(1 << 15) and ends[1] < 1 << 15
    depth = w[0].size if len(w) else 0
    columns = np.zeros((groups, blocks * lanes, depth), np.int16 if short else np.int32)
    rows = columns[:, :outputs]
    np.subtract(
        w.reshape(groups, outputs, depth), taken.reshape(groups, outputs, 1), out=rows, dtype=np.int64, casting="unsafe"
    )
    whole = columns.reshape(groups * blocks, lanes, depth).transpose(0, 2, 1)
    return np.ascontiguousarray(whole)


def _spread(values: np.ndarray, groups: int, lanes: int) -> np.ndarray:
    """Per-channel numbers (groups, whole blocks of lanes)."""
    outputs = len(values) // groups
    whole = np.zeros((groups, max(1, -(-outputs // lanes)) * lanes), np.int64)
    whole[:, :outputs] = values.reshape(groups, outputs)
    return whole


def _words(level) -> tuple[int, int, bool, bool, int]:
    return (
        level.minimum,
        level.maximum,
        level.overflow == "saturate",
        level.overflow == "raise",
        level.span or 1 << 62,
    )
