"""How an exact depthwise convolution is cut, and the arguments of its compiled kernel."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from accelsim_kernels._jit import kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_codes import Scaled
from accelsim_kernels.mac_cut import cut_rows
from accelsim_kernels.mac_exact_plan import (
    Arg,
    Epilogue,
    Plan,
    low32,
    put_arguments,
    put_codes,
    raw_bits,
    repeat_last,
    whole_lines,
)
from accelsim_kernels.mac_pack import Packed
from accelsim_kernels.simd import Engine

#: outputs of a row that a tile makes, and taps above which unrolling them is not worth it
OUTPUTS, MOST_TAPS = 4, 64
#: channels that a tile takes at once, by lanes of the engine
_WIDTHS = {16: (64, 32, 16), 8: (16,)}


class DepthwiseLayout(NamedTuple):
    """Weights minus their zero points, chunk by chunk as simd_depthwise reads them, and their sum per channel."""

    data: np.ndarray
    chunks: list[tuple[int, int, int]]  # first channel, width, bytes of weights
    sums: np.ndarray


def suits(shape: ConvGeometry, x_dtype: np.dtype, w: np.ndarray, zw: np.ndarray) -> bool:
    """Whether the depthwise tile computes this: one channel per group, bytes, weights that fit int8 after zw."""
    if shape.group_channels != 1 or shape.groups == 1 or shape.fy * shape.fx > MOST_TAPS:
        return False
    if x_dtype.itemsize != 1 or w.dtype.itemsize != 1:
        return False
    taken = w.astype(np.int16) - zw.astype(np.int16)[:, None, None, None]
    return bool(taken.min(initial=0) >= -128 and taken.max(initial=0) <= 127)


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
    scaled: Scaled | None = None,
) -> Plan:
    """As mac_exact_plan.make_plan, for the depthwise kernel."""
    layout = packed.remember(("depthwise", engine.name, zw.tobytes()), lambda: _lay_out(packed.w, zw, engine))
    channels = shape.out_channels
    multiplier = channels // shape.groups
    direct = multiplier == 1 and x_strides[3] == 1 and (engine.lanes == 16 or channels % 16 == 0)
    blocks = _blocks(shape, direct)
    chunks = np.zeros((len(layout.chunks), 8), np.int64)
    for row, (first, width, count) in zip(chunks, layout.chunks, strict=True):
        row[:3] = first, width, count
        for outputs in {int(block[1]) for block in blocks}:
            sizes = width, outputs, shape.fy, shape.fx, shape.stride[1], shape.dilation[1]
            if scaled is None:
                tile = kernel("simd_depthwise", "depthwise_tile", engine.name, *sizes)
            else:
                tile = kernel("simd_depthwise", "scaled_tile", engine.name, scaled.signed, *sizes)
            row[3 + outputs] = tile.address
    ax = zx + 128 if x_dtype == np.int8 else zx
    initial = np.zeros(padded_channels(channels, engine), np.int32)
    initial[:channels] = low32(bias - ax * layout.sums)
    scales = None
    if scaled is not None:
        initial = _in_channel_order(initial, channels, engine)
        scales = _in_channel_order(repeat_last(scaled.scales, 1, len(initial)), channels, engine)
    fill = np.full(shape.in_x * max(x_strides[2], 1) + 64, raw_bits(zx, x_dtype) & 255, np.uint8) if direct else None
    bands, band_rows = cut_rows(shape, workers)
    columns = (OUTPUTS - 1) * shape.stride[1] + (shape.fx - 1) * shape.dilation[1] + 1
    places = np.cumsum(
        [whole_lines(shape.fy * columns * channels + 64), whole_lines(16 * shape.fy), OUTPUTS * 64 * 4 + 64, 64]
    )
    a = np.zeros(len(Arg), np.int64)
    put = functools.partial(put_arguments, a)
    put(jobs=shape.batch * bands, bands=bands, band_rows=band_rows)
    put(x_image=x_strides[0], x_row=x_strides[1], x_column=x_strides[2], x_channel=x_strides[3])
    put(
        in_y=shape.in_y,
        in_x=shape.in_x,
        pad_top=shape.padding[0][0],
        pad_left=shape.padding[1][0],
        stride_y=shape.stride[0],
        stride_x=shape.stride[1],
        dilation_y=shape.dilation[0],
        dilation_x=shape.dilation[1],
        fy=shape.fy,
        fx=shape.fx,
        multiplier=multiplier,
    )
    put(
        out_y=shape.out_y,
        out_x=shape.out_x,
        out_channels=channels,
        lanes=engine.lanes,
        wrap_bits=wrap_bits,
        out_item_bytes=out_dtype.itemsize,
    )
    put(fill=raw_bits(zx, x_dtype) & 255, fill_row=fill, mask=0x80808080 if x_dtype == np.int8 else 0)
    put(
        weights=layout.data,
        initial=initial,
        blocks=len(blocks),
        block_table=blocks,
        chunks=len(chunks),
        chunk_table=chunks,
    )
    put(rows_at=places[0], tile_at=places[1], extra_at=places[2] - places[1], scratch_bytes=places[3])
    if scaled is not None:
        put_codes(a, scaled, scales)
    if epilogue is not None:
        put(epilogue=epilogue.address, epilogue_arguments=epilogue.arguments)
    return Plan(a, int(a[Arg.jobs]), int(places[3]), [layout, initial, scales, fill, blocks, chunks, packed, epilogue])


def padded_channels(channels: int, engine: Engine) -> int:
    """Channels rounded up to what the chunks cover."""
    return sum(width for _, width in _chunk_widths(channels, engine))


def _in_channel_order(values: np.ndarray, channels: int, engine: Engine) -> np.ndarray:
    """Per-channel values, chunk by chunk as the sums lie after interleaving bytes (see simd_depthwise)."""
    parts = []
    for first, width in _chunk_widths(channels, engine):
        blocks = values[first : first + width].reshape(width // (4 * engine.unit), engine.unit, 4)
        parts.append(blocks.transpose(1, 0, 2).reshape(-1))
    return np.concatenate(parts)


def _chunk_widths(channels: int, engine: Engine) -> list[tuple[int, int]]:
    """(first channel, width): the widest chunks that are filled, then the narrowest that hold the rest."""
    widths, chunks, first = _WIDTHS[engine.lanes], [], 0
    while first < channels:
        left = channels - first
        width = next((w for w in widths if w <= left), widths[-1])
        chunks.append((first, width))
        first += width
    return chunks


def _lay_out(w: np.ndarray, zw: np.ndarray, engine: Engine) -> DepthwiseLayout:
    channels, fy, fx, _ = w.shape
    taken = w[..., 0].astype(np.int64) - zw[:, None, None]
    row_groups = -(-fy // engine.unit)
    padded = np.zeros((padded_channels(channels, engine), row_groups * engine.unit, fx), np.int64)
    padded[:channels, :fy] = taken
    kind, each = (np.int8, 16) if engine.item_bytes == 1 else (np.int16, 8)
    pieces, chunks = [], []
    for first, width in _chunk_widths(channels, engine):
        # (blocks of 128 bits, unit vectors, 4 channels, row groups, unit rows, fx) -> as simd_depthwise reads them
        part = padded[first : first + width].reshape(width // each, engine.unit, 4, row_groups, engine.unit, fx)
        pieces.append(part.transpose(5, 3, 1, 0, 2, 4).astype(kind).reshape(-1))
        chunks.append((first, width, pieces[-1].nbytes))
    return DepthwiseLayout(np.concatenate(pieces), chunks, taken.sum(axis=(1, 2)))


def _blocks(shape: ConvGeometry, direct: bool) -> np.ndarray:
    """(first output, outputs, read from a copy) of each block of a row; windows inside the input need no copy."""
    (stride, dilation, pad) = shape.stride[1], shape.dilation[1], shape.padding[1][0]
    low = min(-(-pad // stride), shape.out_x)
    high = (shape.in_x + pad - (shape.fx - 1) * dilation - 1) // stride + 1
    high = max(low, min(high, shape.out_x)) if direct else low
    table = []
    for first, end, patched in ((0, low, 1), (low, high, 0), (high, shape.out_x, 1)):
        for ox in range(first, end, OUTPUTS):
            table.append((ox, min(OUTPUTS, end - ox), patched))
    return np.array(table, np.int64).reshape(-1, 3)
