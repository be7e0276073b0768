"""Zeros and bit toggles of the operand streams, in the order in which an array takes them (equations A7, A8).

Ports are logical: where an array has fewer than a layer wants, folds take turns at the same port, and the one change
between two folds is not counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim_kernels import arguments, streams_plan
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_exact_plan import raw_bits
from accelsim_kernels.mac_pack import Packed
from accelsim_kernels.mac_route import described, frozen, hashable, setting


def activity(
    x: np.ndarray,
    w: np.ndarray | Packed,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    x_zero_point: int = 0,
    w_zero_point: Any = 0,
    dataflow: str = "weight_stationary",
    accumulator_bits: int = 32,
    samples: int = 32,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """What the streams of a convolution do; x (N, H, W, C), w (K, fy, fx, C/groups) or pack_conv2d(w), as for conv2d.

    A port sees one value a cycle; toggles are the bits in which it differs from the value before, zeros the values
    that equal the zero point (padding included).
    weight_stationary: input port (fy, fx, c) takes its activation of every output in order; weights are loaded down
    the columns, one column per output channel, in (fy, fx, c) order; partial sum k of an output follows that of the
    output before. output_stationary: an output's port takes its activations in (fy, fx, c) order, an output
    channel's its weights likewise; partial sums follow one another. input_stationary: activations are loaded in
    (fy, fx, c) order, weight port (fy, fx, c) takes its weight of every output channel; partial sum k of an output
    channel follows that of the channel before.
    Returns {"input": ..., "weight": ...} with counts "values", "zeros", "transitions", "toggles" and "bits" per
    value, exactly; and {"psum": ...} with mean "toggles" per transition of an accumulator of accumulator_bits, its
    "standard_error", "transitions" looked at, and "bits", from `samples` random outputs (absent for 0).
    For a matrix product, give a as (1, M, 1, K) and b's transpose as (N, 1, 1, K), or pack(b).
    With packed weights, what depends on them and on shapes alone is found once.
    """
    geometry = stride, padding, dilation, groups
    prepared = key = None
    if isinstance(w, Packed):
        zero_points = x_zero_point, frozen(w_zero_point)
        key = hashable((described(x), "activity", geometry, zero_points, dataflow, accumulator_bits, setting()))
        prepared = w.plans.get(key)
    if prepared is None or samples:
        arguments.activity_choices(dataflow, accumulator_bits, samples)
    if prepared is None:
        x = arguments.operand("x", x, 4)
        packed = w if isinstance(w, Packed) else Packed(arguments.operand("w", w, 4), groups)
        prepared = _Streams(x.shape, x.dtype, packed, geometry, x_zero_point, w_zero_point, dataflow)
        packed.keep_plan(key, prepared)
    streams = prepared(x)
    if samples:
        streams["psum"] = prepared.partial_sums(x, accumulator_bits, samples, seed)
    return streams


class _Streams:
    """The streams of a layer of one shape, with what was prepared for it; called with x."""

    def __init__(
        self,
        x_shape: tuple[int, ...],
        x_dtype: np.dtype,
        packed: Packed,
        geometry: tuple[Any, Any, Any, int],
        x_zero_point: int,
        w_zero_point: Any,
        dataflow: str,
    ) -> None:
        stride, padding, dilation, groups = geometry
        if packed.groups != groups:
            raise ValueError(f"w was packed for groups={packed.groups}, not groups={groups}")
        self.w, self.dataflow = packed.w, dataflow
        self.shape = shape = arguments.conv_geometry(x_shape, packed.w.shape, stride, padding, dilation, groups)
        self.zx = int(arguments.zero_point("x_zero_point", x_zero_point, x_dtype, None))
        zw = arguments.zero_point("w_zero_point", w_zero_point, packed.w.dtype, shape.out_channels)
        self.zw = np.broadcast_to(zw, shape.out_channels)
        weights, axis = packed.w.reshape(shape.out_channels, shape.depth), int(dataflow != "input_stationary")
        self.weight = packed.remember(("streams", axis, zw.tobytes()), lambda: _weights(weights, self.zw, axis))

        outputs, depth = shape.batch * shape.out_y * shape.out_x, shape.fy * shape.fx * shape.in_channels
        along_depth = dataflow != "weight_stationary"
        transitions = outputs * max(depth - 1, 0) if along_depth else max(outputs - 1, 0) * depth
        self.input = _stream(outputs * depth, 0, transitions, 0, 8 * x_dtype.itemsize)
        self.step = None
        if outputs * depth:
            self.step = streams_plan.plan(shape, x_dtype, self.zx, along_depth, *setting())
            self.input["zeros"] = streams_plan.padding_zeros(shape)

    def __call__(self, x: np.ndarray) -> dict[str, dict[str, float]]:
        found = dict(self.input)
        if self.step is not None:
            counts = self.step(x if x.flags.c_contiguous else np.ascontiguousarray(x))
            for toggles, zeros, *_ in counts.tolist():
                found["toggles"] += toggles
                found["zeros"] += zeros
        return {"input": found, "weight": dict(self.weight)}

    def partial_sums(self, x: np.ndarray, bits: int, samples: int, seed: int) -> dict[str, float]:
        return _partial_sums(x, self.w, self.shape, self.zx, self.zw, self.dataflow, bits, samples, seed)


def _stream(values: int, zeros: int, transitions: int, toggles: int, bits: int) -> dict[str, float]:
    return {"values": values, "zeros": zeros, "transitions": transitions, "toggles": toggles, "bits": bits}


def _weights(w: np.ndarray, zw: np.ndarray, axis: int) -> dict[str, float]:
    """The weights (output channels, depth) along one of these."""
    w = np.ascontiguousarray(w)
    count, totals = kernel("simd_count", "count", w.itemsize), np.zeros(2, np.int64)
    unused = np.zeros(2, np.int64)
    call = count.function(5)
    item, depth, at = w.itemsize, w.shape[1], address(w)
    transitions = max(w.shape[axis] - 1, 0) * w.shape[1 - axis]
    if w.size:
        zero_points = [int(zw[0])] if (zw == zw[0]).all() else None
        if axis == 0:
            call(at, at + item * depth, item * transitions, 0, address(totals))
        else:
            # one run over all channels, then without what lies between two of them
            call(at, at + item, item * (w.size - 1), 0, address(totals))
            ends, starts = np.ascontiguousarray(w[:-1, -1]), np.ascontiguousarray(w[1:, 0])
            between = np.zeros(2, np.int64)
            call(address(ends), address(starts), item * ends.size, 0, address(between))
            totals[0] -= between[0]
        if zero_points:
            call(at, at, item * w.size, raw_bits(zero_points[0], w.dtype), address(unused))
        else:
            unused[1] = int((w == zw[:, None]).sum())
    return _stream(w.size, int(unused[1]), transitions, int(totals[0]), 8 * item)


def _partial_sums(
    x: np.ndarray,
    w: np.ndarray,
    shape: ConvGeometry,
    zx: int,
    zw: np.ndarray,
    dataflow: str,
    bits: int,
    samples: int,
    seed: int,
) -> dict[str, float]:
    """Mean toggles per transition over random outputs, with the standard error of that mean."""
    means, transitions = [], 0
    mask = (1 << bits) - 1
    for now, before in arguments.sampled_outputs(shape, dataflow, samples, seed):
        sums = _prefixes(x, w, shape, zx, zw, *now)
        if before is None:
            earlier, sums = sums[:-1], sums[1:]
        else:
            earlier = _prefixes(x, w, shape, zx, zw, *before)
        if len(sums):
            means.append(float(np.bitwise_count((sums ^ earlier).astype(np.uint64) & np.uint64(mask)).mean()))
            transitions += len(sums)
    count = len(means)
    error = float(np.std(means, ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return {
        "toggles": float(np.mean(means)) if count else float("nan"),
        "standard_error": error,
        "transitions": transitions,
        "bits": bits,
    }


def _prefixes(
    x: np.ndarray,
    w: np.ndarray,
    shape: ConvGeometry,
    zx: int,
    zw: np.ndarray,
    image: int,
    oy: int,
    ox: int,
    channel: int,
) -> np.ndarray:
    """Running sums of one output, int64 (depth,)."""
    group = channel // (shape.out_channels // shape.groups)
    own = slice(group * shape.group_channels, (group + 1) * shape.group_channels)
    window = np.full((shape.fy, shape.fx, shape.group_channels), 0, np.int64)
    ys = oy * shape.stride[0] - shape.padding[0][0] + np.arange(shape.fy) * shape.dilation[0]
    xs = ox * shape.stride[1] - shape.padding[1][0] + np.arange(shape.fx) * shape.dilation[1]
    in_y, in_x = (ys >= 0) & (ys < shape.in_y), (xs >= 0) & (xs < shape.in_x)
    window[np.ix_(in_y, in_x)] = x[image][np.ix_(ys[in_y], xs[in_x])][..., own].astype(np.int64) - zx
    return np.cumsum(window.reshape(-1) * (w[channel].reshape(-1).astype(np.int64) - zw[channel]))
