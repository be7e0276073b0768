"""How an exact product is cut into jobs, and the arguments that its compiled kernel reads."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from accelsim_kernels import simd
from accelsim_kernels._jit import Kernel, address, kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_codes import Scaled
from accelsim_kernels.mac_cut import cut
from accelsim_kernels.mac_pack import Layout, Packed, lay_out, panels, taps_adjacent
from accelsim_kernels.simd import Engine


class Arg(IntEnum):
    """Positions in the kernel's int64 arguments. Strides and offsets are in bytes, addresses absolute."""

    counter, jobs = 0, 1
    x, x_image, x_row, x_column, x_channel, x_bytes, x_signed = 2, 3, 4, 5, 6, 7, 8
    in_y, in_x, pad_top, pad_left, stride_y, stride_x, dilation_y, fy = 9, 10, 11, 12, 13, 14, 15, 16
    out_y, out_x, out_channels, groups, group_channels, group_outputs, group_vectors = 17, 18, 19, 20, 21, 22, 23
    copies, item_bytes, padded_x, fill, mask, lanes = 24, 25, 26, 27, 28, 29
    bands, band_rows, panel_sets, panels_per_set, panels, panel_table = 30, 31, 32, 33, 34, 35
    depth_offsets, steps, weights, group_bytes, initial = 36, 37, 38, 39, 40
    row_factor, ones, zeros, wrap_bits = 41, 42, 43, 44
    out, out_item_bytes, tiles, tallest, epilogue, epilogue_arguments = 45, 46, 47, 48, 49, 50
    scratch, scratch_bytes, offsets_at, sums_at, tile_at = 51, 52, 53, 54, 55
    # depthwise only
    fx, dilation_x, multiplier, fill_row, rows_at, blocks, block_table, chunks, chunk_table = (
        56,
        57,
        58,
        59,
        60,
        61,
        62,
        63,
        64,
    )
    # accumulators that are clipped or watched at every addition only
    subtract, low, high, final, events, events_at, extra_at, chunk = 65, 66, 67, 68, 69, 70, 71, 72
    # codes that are made in registers only (with low and high)
    scales, zero_point = 73, 74


@dataclass
class Plan:
    """Arguments of one exact product, all but x, out, counter and scratch; `held` keeps what they point to alive."""

    arguments: np.ndarray
    jobs: int
    scratch_bytes: int
    held: list[object] = field(default_factory=list)


class Walk(NamedTuple):
    """A single accumulator that is clipped or watched at every addition of `group` products.

    kind: of simd_walk.walk_tile, or "certify" for simd_certify with `chunk` steps at a time.
    """

    kind: str
    group: int
    watched: bool
    low: int
    high: int
    bias_after: bool
    chunk: int = 1

    def engine(self, isa: str) -> Engine:
        """The engine that clips or watches every addition."""
        return simd.walk_engine(isa, self.kind)

    def tile(self, engine: Engine, rows: int, vectors: int) -> Kernel:
        """The compiled tile of that size."""
        if self.kind == "certify":
            return kernel("simd_certify", "certify_tile", engine.name, self.watched, rows, vectors)
        return kernel("simd_walk", "walk_tile", engine.name, self.kind, self.group, self.watched, rows, vectors)

    def layout(self, packed: Packed, engine: Engine, dilation_x: int, zw: np.ndarray) -> Layout:
        """The weights minus zw, with whole groups of steps."""
        adjacent = taps_adjacent(packed.w, engine, dilation_x)
        multiple = max(1, self.group // 2)
        return packed.remember(
            (engine.name, adjacent, multiple, zw.tobytes()),
            lambda: lay_out(packed.w, packed.groups, engine, adjacent, zw, multiple),
        )


class Epilogue(NamedTuple):
    """A mac_epilogue kernel: its address, its arguments, and the arrays that these point to."""

    address: int
    arguments: np.ndarray
    held: list[np.ndarray]

    @property
    def words(self) -> tuple[int, int]:
        """The addresses of the kernel and its arguments."""
        return self.address, address(self.arguments)


def make_plan(
    shape: ConvGeometry,
    x_dtype: np.dtype,
    x_strides: tuple[int, ...],
    packed: Packed,
    engine: Engine,
    zx: int,
    zw: np.ndarray,
    bias: np.ndarray,
    wrap_bits: int,
    out_dtype: np.dtype,
    epilogue: Epilogue | None,
    workers: int,
    walk: Walk | None = None,
    scaled: Scaled | None = None,
) -> Plan:
    """Choose bands and panels for `workers` threads, load the tiles, and write the arguments down.

    zw: (K,). epilogue: None for int32 sums. walk: None for exact sums. scaled: codes that tiles make, None for sums.
    """
    if walk is None:
        layout = packed.layout(engine, shape.dilation[1])
        signed = -128 if x_dtype == np.int8 and engine.item_bytes == 1 else 32768 if x_dtype == np.uint16 else 0
        ax, aw, subtract, fill = zx - signed, zw - layout.offset, 0, raw_bits(zx, x_dtype)
    else:
        layout = walk.layout(packed, engine, shape.dilation[1], zw)
        certifies = walk.kind == "certify"
        ax, aw, subtract = 0, np.zeros_like(zw), 0 if certifies else zx
        fill = raw_bits(zx, x_dtype) if certifies else 0
    copies = _needs_copy(shape, x_dtype, x_strides, engine) or subtract != 0
    padded_x = shape.in_x + sum(shape.padding[1])
    pitch = padded_x * shape.group_channels * engine.item_bytes if copies else x_strides[1]
    pixel = shape.group_channels * engine.item_bytes if copies else x_strides[2]
    offsets = _depth_offsets(shape, layout.run_steps, layout.runs_x, pitch, pixel, engine)
    offsets = np.pad(offsets, (0, layout.steps - len(offsets)), mode="edge") if len(offsets) else offsets
    bands, band_rows, sets, per_set = cut(shape, layout, pitch if copies else 0, workers)

    after = walk is not None and walk.bias_after
    spread, final = (
        _spread(values, shape.groups, layout.vectors * engine.lanes)
        for values in ((bias - ax * layout.sums + shape.depth * ax * aw) * (not after), bias * after)
    )
    factor = low32(aw) if np.any(aw) else None

    most = band_rows * shape.out_x
    tiles, tallest = _tiles(
        engine, layout, {most, (shape.out_y - (bands - 1) * band_rows) * shape.out_x}, factor is not None, walk, scaled
    )
    table = np.array(panels(layout.vectors, engine.widest), np.int64)
    height = (band_rows - 1) * shape.stride[0] + (shape.fy - 1) * shape.dilation[0] + 1
    strip = height * pitch + 64 if copies else 0
    tile_bytes = 8 * engine.widest * engine.lanes * 4
    places = np.cumsum([whole_lines(strip), whole_lines(8 * most), whole_lines(4 * most), 2 * tile_bytes + 128])
    a = np.zeros(len(Arg), np.int64)
    put = functools.partial(put_arguments, a)
    put(jobs=shape.batch * bands * shape.groups * sets)
    put(
        x_image=x_strides[0],
        x_row=x_strides[1],
        x_column=x_strides[2],
        x_channel=x_strides[3],
        x_bytes=x_dtype.itemsize,
        x_signed=x_dtype.kind == "i",
    )
    put(
        in_y=shape.in_y,
        in_x=shape.in_x,
        pad_top=shape.padding[0][0],
        pad_left=shape.padding[1][0],
        stride_y=shape.stride[0],
        stride_x=shape.stride[1],
        dilation_y=shape.dilation[0],
        fy=shape.fy,
    )
    put(
        out_y=shape.out_y,
        out_x=shape.out_x,
        out_channels=shape.out_channels,
        groups=shape.groups,
        group_channels=shape.group_channels,
        group_outputs=layout.group_outputs,
        group_vectors=layout.vectors,
    )
    put(
        copies=copies,
        item_bytes=engine.item_bytes,
        padded_x=padded_x,
        fill=fill,
        lanes=engine.lanes,
        subtract=subtract,
        mask=0 if walk and not certifies else activation_mask(x_dtype, engine),
    )
    put(bands=bands, band_rows=band_rows, panel_sets=sets, panels_per_set=per_set, panels=len(table), panel_table=table)
    put(depth_offsets=offsets, steps=layout.steps, weights=layout.data, group_bytes=layout.group_bytes, initial=spread)
    put(row_factor=factor, ones=layout.ones, zeros=layout.zeros, wrap_bits=wrap_bits, out_item_bytes=out_dtype.itemsize)
    put(
        tiles=tiles,
        tallest=tallest,
        scratch_bytes=places[-1],
        offsets_at=places[0],
        sums_at=places[1],
        tile_at=places[2],
        final=final,
        events_at=tile_bytes,
        extra_at=2 * tile_bytes,
    )
    if walk is not None:
        put(low=walk.low, high=walk.high, chunk=walk.chunk)
    held = [offsets, spread, final, factor, tiles, tallest, table, layout, packed, epilogue]
    if scaled is not None:
        held.append(put_codes(a, scaled, repeat_last(scaled.scales, shape.groups, layout.vectors * engine.lanes)))
    if epilogue is not None:
        put(epilogue=epilogue.address, epilogue_arguments=epilogue.arguments)
    return Plan(
        a,
        int(a[Arg.jobs]),
        int(places[-1]),
        held,
    )


def _spread(values: np.ndarray, groups: int, width: int) -> np.ndarray:
    """Per-channel numbers modulo 2**32, each group's filled up with zeros."""
    spread = np.zeros((groups, width), np.int32)
    spread[:, : len(values) // groups] = low32(values).reshape(groups, -1)
    return spread


def repeat_last(values: np.ndarray, groups: int, width: int) -> np.ndarray:
    """Per-channel parameters with each group's last ones repeated to fill its vectors."""
    grouped = values.reshape(groups, -1, *values.shape[1:])
    at = np.minimum(np.arange(width), grouped.shape[1] - 1)
    return np.ascontiguousarray(grouped[:, at].reshape(groups * width, *values.shape[1:]))


def put_codes(arguments: np.ndarray, scaled: Scaled, scales: np.ndarray) -> np.ndarray:
    """Write down what tiles need to make codes; scales in the order of their columns, which must be kept."""
    put_arguments(arguments, scales=scales, zero_point=scaled.zero_point, low=scaled.qmin, high=scaled.qmax)
    return scales


def put_arguments(arguments: np.ndarray, **values: Any) -> None:
    """Write arguments by name: numbers, addresses of arrays, 0 for None."""
    for name, value in values.items():
        number = address(value) if isinstance(value, np.ndarray) else 0 if value is None else int(value)
        arguments[Arg[name]] = number


def _needs_copy(shape: ConvGeometry, dtype: np.dtype, strides: tuple[int, ...], engine: Engine) -> bool:
    """Whether tiles cannot read x itself: padding, other widths, scattered channels, or steps that leave a window."""
    return bool(
        sum(map(sum, shape.padding))
        or dtype.itemsize != engine.item_bytes
        or strides[3] != dtype.itemsize
        or shape.group_channels % engine.unit
    )


def _depth_offsets(
    shape: ConvGeometry, run_steps: int, runs_x: int, pitch: int, pixel: int, engine: Engine
) -> np.ndarray:
    """Byte offset of each step from an output's first input byte: rows of taps, then taps, then channels."""
    y = np.arange(shape.fy)[:, None, None] * shape.dilation[0] * pitch
    x = np.arange(runs_x)[None, :, None] * shape.dilation[1] * pixel
    return np.ascontiguousarray((y + x + np.arange(run_steps) * 4).reshape(-1), dtype=np.int64)


def _tiles(
    engine: Engine,
    layout: Layout,
    outputs: set[int],
    sums: bool,
    walk: Walk | None,
    scaled: Scaled | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Addresses of the tiles that bands of those sizes need, by (width - 1) * 8 + height - 1; tallest by width - 1."""
    addresses, tallest = np.zeros(64, np.int64), np.zeros(8, np.int64)
    widths = {vectors for _, vectors in layout.panels} | ({1} if sums else set())
    for vectors in widths:
        tallest[vectors - 1] = engine.rows[vectors]
        for count in outputs:
            blocks = -(-count // engine.rows[vectors])
            for height in {count // blocks, -(-count // blocks)}:
                if scaled is not None:
                    tile = kernel("simd_tile", "scaled_tile", engine.name, scaled.signed, height, vectors)
                elif walk is None:
                    tile = kernel("simd_tile", "tile", engine.name, height, vectors)
                else:
                    tile = walk.tile(engine, height, vectors)
                addresses[(vectors - 1) * 8 + height - 1] = tile.address
    return addresses, tallest


def low32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int64).astype(np.uint32).view(np.int32)


def raw_bits(value: int, dtype: np.dtype) -> int:
    """The bits of a padding value as the kernel stores them: the low 16, signed."""
    return int(np.array(value).astype(np.int16))


def activation_mask(dtype: np.dtype, engine: Engine) -> int:
    """What turns raw activations into the engine's: 128 added to int8 bytes, 32768 taken off uint16 words."""
    if engine.item_bytes == 1:
        return 0x80808080 if dtype == np.int8 else 0
    return 0x80008000 if dtype == np.uint16 else 0


def whole_lines(size: int) -> int:
    return (size + 63) // 64 * 64
