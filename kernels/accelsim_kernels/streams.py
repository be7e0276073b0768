"""Zeros and bit toggles of the operand streams, in the order in which an array takes them (equations A7, A8).

Ports are logical: where an array has fewer than a layer wants, folds take turns at the same port, and the one change
between two folds is not counted.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from accelsim_kernels import _threads, arguments, mac_general
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_exact_plan import Arg, put_arguments, raw_bits, whole_lines


def activity(
    x: np.ndarray,
    w: np.ndarray,
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
    """What the streams of a convolution do, x (N, H, W, C) and w (K, fy, fx, C/groups) as for conv2d.

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
    For a matrix product, give a as (1, M, 1, K) and b's transpose as (N, 1, 1, K).
    """
    x, w = arguments.operand("x", x, 4), arguments.operand("w", w, 4)
    shape = arguments.conv_geometry(x.shape, w.shape, stride, padding, dilation, groups)
    zx = int(arguments.zero_point("x_zero_point", x_zero_point, x.dtype, None))
    zw = np.broadcast_to(
        arguments.zero_point("w_zero_point", w_zero_point, w.dtype, shape.out_channels), shape.out_channels
    )
    arguments.activity_choices(dataflow, accumulator_bits, samples)
    weight_axis = 0 if dataflow == "input_stationary" else 1
    streams = {
        "input": _inputs(x, shape, zx, dataflow != "weight_stationary"),
        "weight": _weights(w.reshape(shape.out_channels, shape.depth), zw, weight_axis),
    }
    if samples:
        streams["psum"] = _partial_sums(x, w, shape, zx, zw, dataflow, accumulator_bits, samples, seed)
    return streams


def _stream(values: int, zeros: int, transitions: int, toggles: int, bits: int) -> dict[str, float]:
    return {"values": values, "zeros": zeros, "transitions": transitions, "toggles": toggles, "bits": bits}


def _inputs(x: np.ndarray, shape: ConvGeometry, zx: int, along_depth: bool) -> dict[str, float]:
    """The activations of all windows, every channel of x once per tap."""
    outputs, depth = shape.batch * shape.out_y * shape.out_x, shape.fy * shape.fx * shape.in_channels
    transitions = outputs * max(depth - 1, 0) if along_depth else max(outputs - 1, 0) * depth
    if outputs * depth == 0:
        return _stream(0, 0, 0, 0, 8 * x.itemsize)
    padded_x = shape.in_x + sum(shape.padding[1])
    height = shape.stride[0] + (shape.fy - 1) * shape.dilation[0] + 1
    strip = whole_lines(height * padded_x * shape.in_channels * x.itemsize + 64)
    workers = min(_threads.count(), shape.out_y * shape.batch)
    totals, scratch = np.zeros((workers, 2), np.int64), np.empty(workers * strip, np.uint8)
    given = np.zeros(len(Arg), np.int64)
    put = functools.partial(put_arguments, given)
    put(
        x=x,
        x_image=x.strides[0],
        x_row=x.strides[1],
        x_column=x.strides[2],
        x_channel=x.strides[3],
        x_bytes=x.itemsize,
        item_bytes=x.itemsize,
        in_y=shape.in_y,
        in_x=shape.in_x,
        padded_x=padded_x,
        pad_top=shape.padding[0][0],
        pad_left=shape.padding[1][0],
        stride_y=shape.stride[0],
        stride_x=shape.stride[1],
        dilation_y=shape.dilation[0],
        dilation_x=shape.dilation[1],
        fy=shape.fy,
        fx=shape.fx,
        bands=shape.batch,
        out_y=shape.out_y,
        out_x=shape.out_x,
        group_channels=shape.in_channels,
        fill=raw_bits(zx, x.dtype),
        out=totals,
        scratch=scratch,
        scratch_bytes=strip,
        epilogue=kernel("simd_count", "count", x.itemsize).address,
    )
    _threads.run_workers(kernel("streams_job", "count_windows", along_depth), address(given), workers)
    toggles, zeros = (int(total) for total in totals.sum(axis=0))
    if not along_depth:
        toggles += _between_images(x, shape, zx)
    return _stream(outputs * depth, zeros, transitions, toggles, 8 * x.itemsize)


def _between_images(x: np.ndarray, shape: ConvGeometry, zx: int) -> int:
    """Toggles from the last output of each image to the first of the next."""
    whole = ConvGeometry(**{**vars(shape), "groups": 1})
    unsigned = np.dtype(f"u{x.itemsize}")
    total = 0
    for image in range(1, shape.batch):
        before = mac_general.windows(x, whole, (image - 1, shape.out_y - 1, shape.out_y), 0, zx, 0)[-1]
        now = mac_general.windows(x, whole, (image, 0, 1), 0, zx, 0)[0]
        total += int(np.bitwise_count(before.astype(unsigned) ^ now.astype(unsigned)).sum())
    return total


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
