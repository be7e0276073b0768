"""The slow twin of the closed forms: walks every tile, fold and element of a layer in Python and counts."""

from __future__ import annotations

from collections import Counter
from itertools import product

from accelsim.shapes import LoopNest


def blocks(size: int, tile: int) -> list[range]:
    return [range(start, min(start + tile, size)) for start in range(0, size, tile)]


def walk(
    nest: LoopNest,
    dataflow: str,
    rows: int,
    cols: int,
    overlap: bool,
    tiles: tuple[int, ...],
    order: str,
    lanes: int = 1,
    steps: int = 1,
) -> Counter:
    """Counts keyed (memory side, operand), plus "cycles" and "folds"; nothing is computed in closed form."""
    tb, ty, tx, tc, tn = tiles
    c, n = nest.c // nest.groups, nest.n
    loops = {
        "m": [(b, y, x) for b in blocks(nest.b, tb) for y in blocks(nest.oy, ty) for x in blocks(nest.ox, tx)],
        "n": blocks(n, tn),
        "k": blocks(c, tc),
    }
    count: Counter = Counter()
    window = list(product(range(nest.fy), range(nest.fx)))
    per_fold = rows * lanes
    packed = 1
    if dataflow == "weight_stationary" and tc == c and tn == n:
        packed = max(1, min(per_fold // (c * len(window)), cols // n, nest.groups))
    # a schedule leaves operands in the array only if its full tiles are one fold each
    depth, pixels_, filters = min(tc, c) * len(window), tb * ty * tx, min(tn, n)
    one_fold = {
        "weight_stationary": depth <= per_fold and filters <= cols,
        "input_stationary": depth <= per_fold and pixels_ <= cols,
        "output_stationary": pixels_ <= rows and filters <= cols,
    }[dataflow]
    streams: list[tuple[object, int]] = []  # (what lies in the array, cycles of the stream)
    for group_block in blocks(nest.groups, packed):
        held = {"input": None, "weight": None, "output": None}
        partial: dict[tuple, int] = {}
        in_array = None
        for steps_of in product(*(range(len(loops[loop])) for loop in order)):
            at = dict(zip(order, steps_of, strict=True))
            (bs, ys, xs), ns, cs = loops["m"][at["m"]], loops["n"][at["n"]], loops["k"][at["k"]]
            groups = len(group_block)
            if held["input"] != (at["m"], at["k"]):
                held["input"] = (at["m"], at["k"])
                touched_y, touched_x = (
                    {
                        p
                        for p in range(
                            out[0] * nest.stride[i] - nest.padding[i][0],
                            out[-1] * nest.stride[i] - nest.padding[i][0] + (filt - 1) * nest.dilation[i] + 1,
                        )
                        if 0 <= p < size
                    }
                    for i, (out, filt, size) in enumerate(((ys, nest.fy, nest.iy), (xs, nest.fx, nest.ix)))
                )
                count["dram_read", "input"] += len(bs) * len(cs) * len(touched_y) * len(touched_x) * groups
            if held["weight"] != (at["n"], at["k"]):
                held["weight"] = (at["n"], at["k"])
                count["dram_read", "weight"] += len(ns) * len(cs) * len(window) * groups
            tile_outputs = len(bs) * len(ys) * len(xs) * len(ns) * groups
            if held["output"] != (at["m"], at["n"]):
                previous = held["output"]
                if previous is not None and partial.get(previous, 0) < len(loops["k"]):
                    count["dram_write", "psum"] += partial[(previous, "size")]
                held["output"] = (at["m"], at["n"])
                if partial.get(held["output"], 0):
                    count["dram_read", "psum"] += tile_outputs
            partial[held["output"]] = partial.get(held["output"], 0) + 1
            partial[(held["output"], "size")] = tile_outputs
            if partial[held["output"]] == len(loops["k"]):
                count["dram_write", "output"] += tile_outputs
            pixels = list(product(bs, ys, xs))
            taps = [(fy, fx, ch) for fy, fx in window for ch in cs]
            row_items, col_items, stream_items = {
                "weight_stationary": (taps, list(ns), pixels),
                "input_stationary": (taps, pixels, list(ns)),
                "output_stationary": (pixels, list(ns), taps),
            }[dataflow]
            row_size = rows if dataflow == "output_stationary" else per_fold
            for col_block, row_block in product(blocks(len(col_items), cols), blocks(len(row_items), row_size)):
                where = {
                    "weight_stationary": (at["n"], at["k"]),
                    "input_stationary": (at["m"], at["k"]),
                    "output_stationary": (at["m"], at["n"]),
                }[dataflow]
                block = (group_block.start, where, col_block.start, row_block.start)
                stays = block == in_array and one_fold
                in_array = block
                length = len(stream_items)
                if dataflow == "output_stationary":
                    length = -(-length // lanes)
                length *= steps
                if stays:
                    streams[-1] = (block, streams[-1][1] + length)
                else:
                    streams.append((block, length))
                    count["folds", ""] += 1
                fold = {
                    "weight_stationary": (row_block, col_block, range(len(pixels))),
                    "input_stationary": (row_block, range(len(ns)), col_block),
                    "output_stationary": (range(len(taps)), col_block, row_block),
                }[dataflow]
                fold_taps, fold_filters, fold_pixels = fold
                valid = 0
                for t in fold_taps:
                    fy, fx, _ = taps[t]
                    for q in fold_pixels:
                        _, oy, ox = pixels[q]
                        y = oy * nest.stride[0] - nest.padding[0][0] + fy * nest.dilation[0]
                        x = ox * nest.stride[1] - nest.padding[1][0] + fx * nest.dilation[1]
                        valid += 0 <= y < nest.iy and 0 <= x < nest.ix
                if not (dataflow == "input_stationary" and stays):
                    count["array_read", "input"] += valid * groups
                if not (dataflow == "weight_stationary" and stays):
                    count["array_read", "weight"] += len(fold_taps) * len(fold_filters) * groups
                count["macs", ""] += len(fold_taps) * len(fold_filters) * len(fold_pixels) * groups
                for f, q in product(fold_filters, fold_pixels):
                    key = ("sum", at["m"], at["n"], f, q)
                    seen = partial.get(key, 0)
                    in_place = dataflow == "output_stationary" and stays
                    if seen and not in_place:
                        count["array_read", "psum"] += groups
                        count["array_write", "psum"] += groups
                    partial[key] = seen + len(fold_taps)
                    if partial[key] == c * len(window):
                        count["array_write", "output"] += groups
        if nest.bias_bits:
            count["dram_read", "bias"] += n * len(group_block)
    load = 0 if dataflow == "output_stationary" else rows
    if overlap:
        count["cycles", ""] = load + sum(max(length, rows) for _, length in streams[:-1]) + streams[-1][1]
        count["cycles", ""] += rows + cols - 2
    else:
        count["cycles", ""] = sum(load + length + rows + cols - 2 for _, length in streams)
    return count
