"""How a saturating layer is cut into jobs, and the arguments that mac_saturate_job reads."""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from accelsim_kernels._jit import address, kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_cut import JOB_PRODUCTS
from accelsim_kernels.mac_exact_plan import Arg, Epilogue, Plan, low32, put_arguments, whole_lines
from accelsim_kernels.mac_pack import Packed
from accelsim_kernels.mac_saturate import SHARED, Saturation, SaturationLayout, initial_lanes, lay_out, spread
from accelsim_kernels.simd import Engine

#: int64 words of an output in the table of simd_saturate.list_tile
RUN_WORDS = 3
#: outputs of a block by vectors: enough additions that none waits for another
_DENSE_ROWS = {1: 8, 2: 6, 3: 5, 4: 5}
_LIST_ROWS = {"scaled": {1: 4, 2: 2, 3: 2, 4: 2}, "doubled": {1: 4, 2: 2, 3: 2, 4: 1}, "short": {1: 2, 2: 1}}
MOST_ROWS = 8
#: percentage of activations that are not zero up to which lists of them are quicker, measured
_WORTH = {"scaled": {1: 20, 2: 50, 3: 70, 4: 85}, "doubled": {1: 20, 2: 50, 3: 60, 4: 65}, "short": {1: 65, 2: 70}}
#: percentage above which room for longer lists is not worth a band more where that reads so many bytes of weights again
_USUAL, _MANY_BYTES = 65, 1 << 19
#: bytes of weights of a chunk: they stay in the first-level cache while all outputs of a band take them
_CHUNK_BYTES = 1 << 15
#: bytes and outputs of a band, which should stay in the second-level cache, and bytes that are never worth saving
_BAND_BYTES, _BAND_OUTPUTS, _LEAST_BYTES = 3 << 17, 1 << 10, 1 << 15
#: outputs that are taken out of their lanes at a time
SETTLED = 16


class Sat(IntEnum):
    """Positions in the kernel's arguments behind those of Arg."""

    scale, parts, part, repeat, stored, stored_bytes, depthwise = (len(Arg) + i for i in range(7))
    chunks, chunk_table, tiles, rows, shift, compress = (len(Arg) + i for i in range(7, 13))
    values_at, starts_at, runs_at, flags_at = (len(Arg) + i for i in range(13, 17))
    taps, room, worth, reach_y, vector_columns, shared = (len(Arg) + i for i in range(17, 23))
    widen, spreads, most = (len(Arg) + i for i in range(23, 26))


class _Work(NamedTuple):
    """What a band's memory depends on besides its height. stored: items of a pixel as the tiles read it."""

    channels: int
    stored: int
    parts: int
    padded_x: int
    reach_y: int
    worth: int
    output_bytes: int
    columns: int

    def memory(self, shape: ConvGeometry, band_rows: int, depthwise: bool) -> dict[str, int]:
        """Where the pieces of a worker's memory lie, and at "end" their size."""
        pixels = ((band_rows - 1) * shape.stride[0] + self.reach_y) * self.padded_x
        outputs = band_rows * shape.out_x + MOST_ROWS
        items = pixels * self.stored if depthwise else pixels * self.channels * self.worth // 100
        sizes = {
            "strip": 2 * pixels * self.channels + 64,
            "values_at": 4 * items + 64,
            "starts_at": 0 if depthwise else 4 * (pixels * self.parts + 1),
            "runs_at": 0 if depthwise else 8 * RUN_WORDS * outputs,
            "offsets_at": 8 * outputs,
            "sums_at": outputs * self.output_bytes,
            "tile_at": 4 * SETTLED * self.columns,
            "flags_at": SETTLED * self.columns,
        }
        ends = np.cumsum([whole_lines(size) for size in sizes.values()])
        return dict(zip([*list(sizes)[1:], "end"], map(int, ends), strict=True)) | {"room": items}


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
    how: Saturation,
) -> Plan:
    """As mac_exact_plan.make_plan, for mac_saturate_job."""
    layout = packed.remember(
        ("saturate", engine.name, how[:4], how.depthwise, zw.tobytes()), lambda: lay_out(packed, engine, zw, how)
    )
    columns, widest = how.columns(engine), max(vectors for _, vectors in layout.panels)
    groups, channels = (1, shape.in_channels) if how.depthwise else (shape.groups, shape.group_channels)
    most = max(16, _CHUNK_BYTES // how.weight_bytes(engine, widest))
    part, chunks = _chunks(shape, channels, most)
    work = _Work(
        channels,
        layout.vectors * columns if how.depthwise else channels,
        -(-channels // part),
        shape.in_x + sum(shape.padding[1]),
        (shape.fy - 1) * shape.dilation[0] + 1,
        _WORTH[how.kind][widest],
        widest * engine.lanes * 4,
        widest * columns,
    )
    bands, band_rows = _cut(shape, work, how.depthwise, workers)
    if work.worth > _USUAL and layout.data.nbytes > _MANY_BYTES:
        usual = work._replace(worth=_USUAL)
        fewer, rows = _cut(shape, usual, how.depthwise, workers)
        if fewer < bands:
            work, bands, band_rows = usual, fewer, rows
    places = work.memory(shape, band_rows, how.depthwise)
    per_set = -(-len(layout.panels) // _sets(shape.batch * bands * groups, len(layout.panels), workers))
    sets = -(-len(layout.panels) // per_set)
    initial = initial_lanes(bias, how, groups, layout.vectors * columns)
    final = spread(low32(bias), groups, layout.vectors * columns) if how.bias_after else None
    taps = _taps(shape, work, how.depthwise)
    table = np.array(layout.panels, np.int64)
    tiles, heights = _tiles(engine, how, layout)
    # where a row's items lie side by side, one kernel makes them what the tiles read
    straight = x_strides[3] == x_dtype.itemsize
    spreads = how.depthwise and not (straight and work.stored == channels)
    widen = 0
    if straight:
        parameters = x_dtype.itemsize, x_dtype.kind == "i", how.depthwise and not spreads
        widen = kernel("simd_saturate", "widen_row", *parameters).address
    a = np.zeros(len(Arg) + len(Sat), np.int64)
    put = functools.partial(put_arguments, a)
    put(
        x_image=x_strides[0],
        x_row=x_strides[1],
        x_column=x_strides[2],
        x_channel=x_strides[3],
        x_bytes=x_dtype.itemsize,
        x_signed=x_dtype.kind == "i",
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
        groups=groups,
        group_channels=channels,
        group_outputs=shape.out_channels // groups,
        group_vectors=layout.vectors,
        item_bytes=2,
        padded_x=work.padded_x,
        subtract=zx,
        lanes=engine.lanes,
    )
    put(jobs=shape.batch * bands * groups * sets, bands=bands, band_rows=band_rows)
    put(panel_sets=sets, panels_per_set=per_set, panels=len(table), panel_table=table)
    put(steps=shape.depth, weights=layout.data, group_bytes=layout.group_bytes, initial=initial, final=final)
    put(low=how.low, high=how.high, wrap_bits=wrap_bits, out_item_bytes=out_dtype.itemsize)
    put(**{name: places[name] for name in ("offsets_at", "sums_at", "tile_at")}, scratch_bytes=places["end"] + 64)
    if epilogue is not None:
        put(epilogue=epilogue.address, epilogue_arguments=epilogue.arguments)
    for name, value in {
        "scale": how.x_scale,
        "parts": work.parts,
        "part": part,
        "repeat": shape.out_channels // channels if how.depthwise else 1,
        "stored": work.stored,
        "stored_bytes": 4 if how.depthwise else 2,
        "depthwise": how.depthwise,
        "chunks": len(chunks),
        "chunk_table": address(chunks),
        "tiles": address(tiles),
        "rows": address(heights),
        "shift": how.shift,
        "compress": 0 if how.depthwise else kernel("simd_saturate", "compress_row").address,
        "taps": address(taps),
        "worth": work.worth,
        "most": shape.depth if how.depthwise else most,
        "reach_y": work.reach_y,
        "vector_columns": columns,
        "shared": SHARED[how.kind],
        "widen": widen,
        "spreads": spreads,
        **{name: places[name] for name in ("values_at", "starts_at", "runs_at", "flags_at", "room")},
    }.items():
        a[Sat[name]] = value
    held = [layout, initial, final, taps, table, tiles, heights, chunks, packed, epilogue]
    return Plan(a, int(a[Arg.jobs]), int(a[Arg.scratch_bytes]), held)


def _tiles(engine: Engine, how: Saturation, layout: SaturationLayout) -> tuple[np.ndarray, np.ndarray]:
    """Addresses by vectors of the tiles for spread activations, for lists, and for the end; outputs of their blocks."""
    tiles, rows = np.zeros((3, 8), np.int64), np.zeros((2, 8), np.int64)

    def tile(name: str, *parameters: object) -> int:
        return kernel("simd_saturate", name, engine.name, *parameters).address

    for vectors in {vectors for _, vectors in layout.panels}:
        if how.depthwise:
            rows[0, vectors] = 4
            tiles[0, vectors] = tile("depthwise_tile", how.kind, 4, vectors)
        else:
            rows[:, vectors] = _DENSE_ROWS[vectors], _LIST_ROWS[how.kind][vectors]
            tiles[0, vectors] = tile("dense_tile", how.kind, _DENSE_ROWS[vectors], vectors)
            tiles[1, vectors] = tile("list_tile", how.kind, _LIST_ROWS[how.kind][vectors], vectors)
        tiles[2, vectors] = tile("settle_tile", how.kind, vectors, how.bias_after, how.watched)
    return tiles, rows


def _taps(shape: ConvGeometry, work: _Work, depthwise: bool) -> np.ndarray:
    """Bytes from the start of a window to each activation; to each tap's first where channels lie in lanes."""
    y = np.arange(shape.fy)[:, None] * shape.dilation[0] * work.padded_x
    pixels = (y + np.arange(shape.fx) * shape.dilation[1]).reshape(-1) * work.stored
    if depthwise:
        return np.ascontiguousarray(pixels * 4, np.int64)
    return np.ascontiguousarray((pixels[:, None] + np.arange(work.channels)).reshape(-1) * 2, np.int64)


def _chunks(shape: ConvGeometry, channels: int, most: int) -> tuple[int, np.ndarray]:
    """(channels of a part of a pixel, table of runs in lists that share a chunk of at most `most` weights).

    A row: the input row and column and the part where the run begins, how many pixels it spans, and how many products.
    """
    parts = -(-channels // most)
    part = min(-(-channels // parts // 16) * 16, channels)
    parts = -(-channels // part)
    together = min(shape.fx, max(1, most // channels)) if parts == 1 and shape.dilation[1] == 1 else 1
    together = -(-shape.fx // -(-shape.fx // together))
    table = []
    for ky in range(shape.fy):
        for kx in range(0, shape.fx, together):
            taps = min(together, shape.fx - kx)
            for index in range(parts):
                count = taps * min(part, channels - index * part)
                table.append((ky * shape.dilation[0], kx * shape.dilation[1], index, taps, count))
    return part, np.array(table, np.int64)


def _cut(shape: ConvGeometry, work: _Work, depthwise: bool, workers: int) -> tuple[int, int]:
    """(bands, output rows of each): what the cache and a quarter of the unfolded input hold, enough for everyone."""
    unfolded = shape.batch * shape.out_y * shape.out_x * shape.depth * shape.groups
    budget = max(_LEAST_BYTES, min(_BAND_BYTES, unfolded // workers))
    rows = max(1, min(shape.out_y, _BAND_OUTPUTS // shape.out_x))
    while rows > 1 and work.memory(shape, rows, depthwise)["end"] > budget:
        rows -= max(1, rows // 16)
    bands = -(-shape.out_y // rows)
    if workers > 1:
        products = shape.batch * shape.out_y * shape.out_x * shape.out_channels * shape.depth
        wanted = -(-min(4 * workers, 4 * products // JOB_PRODUCTS) // shape.batch)
        if shape.out_y * shape.out_x >= 16 * wanted:
            bands = max(bands, min(wanted, shape.out_y))
    band_rows = -(-shape.out_y // bands)
    return -(-shape.out_y // band_rows), band_rows


def _sets(jobs: int, panels: int, workers: int) -> int:
    """Sets of panels where there are fewer jobs than workers could do at once."""
    return min(panels, max(1, 2 * workers // jobs)) if workers > 1 else 1
