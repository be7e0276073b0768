"""SCALE-Sim's counts, its defects included, for users who cross-check; our own schedules correct them.

What it gets wrong and this function repeats: output size by ceiling instead of floor, no padding, a depthwise
layer taken as one dense filter bank, every partial sum written and never read back, one cycle less than the
folds take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from accelsim.errors import AccelsimError

_FLOWS = {
    "os": "os",
    "ws": "ws",
    "is": "is",
    "output_stationary": "os",
    "weight_stationary": "ws",
    "input_stationary": "is",
}


@dataclass(frozen=True)
class ScaleSimCounts:
    """Named like SCALE-Sim's report columns. Cycles are without stalls; reads and writes are SRAM words."""

    ofmap_h: int
    ofmap_w: int
    total_cycles: int
    overall_util_pct: float
    mapping_eff_pct: float
    sram_ifmap_reads: int
    sram_filter_reads: int
    sram_ofmap_writes: int


def scalesim_compat(
    ifmap_h: int,
    ifmap_w: int,
    filt_h: int,
    filt_w: int,
    channels: int,
    num_filt: int,
    stride: int,
    *,
    rows: int,
    cols: int,
    dataflow: str,
) -> ScaleSimCounts:
    """Counts of one layer on a rows × cols array.

    dataflow: "os", "ws", "is" or the long name. Raises AccelsimError for another name, a size below 1 and a filter
    that leaves no output.
    Source: SCALE-Sim (Samajdar et al., ISPASS 2020), v2 and v3; checked on 165 of its runs.
    """
    sizes = {
        "ifmap_h": ifmap_h,
        "ifmap_w": ifmap_w,
        "filt_h": filt_h,
        "filt_w": filt_w,
        "channels": channels,
        "num_filt": num_filt,
        "stride": stride,
        "rows": rows,
        "cols": cols,
    }
    for name, size in sizes.items():
        if size < 1:
            raise AccelsimError(f"scalesim_compat: {name} must be at least 1, not {size}")
    if dataflow not in _FLOWS:
        raise AccelsimError(f"scalesim_compat: unknown dataflow {dataflow!r}; known: os, ws, is")
    out_h, out_w = (-(-(size - filt + stride) // stride) for size, filt in ((ifmap_h, filt_h), (ifmap_w, filt_w)))
    if out_h < 1 or out_w < 1:
        raise AccelsimError(f"scalesim_compat: a {filt_h}×{filt_w} filter does not fit an input of {ifmap_h}×{ifmap_w}")
    m, k, n = out_h * out_w, filt_h * filt_w * channels, num_filt
    flow = _FLOWS[dataflow]
    on_rows, on_cols, streamed = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[flow]
    row_folds, col_folds = -(-on_rows // rows), -(-on_cols // cols)
    folds = row_folds * col_folds
    cycles = folds * (streamed + (rows if flow != "os" else 0) + rows + cols - 2) - 1
    ifmap = m * k * (col_folds if flow != "is" else 1)
    filters = {"os": k * n * row_folds, "ws": k * n, "is": k * n * col_folds}[flow]
    ofmap = {"os": m * n + folds * (rows + cols), "ws": m * n * row_folds, "is": m * n * row_folds}[flow]
    return ScaleSimCounts(
        out_h,
        out_w,
        cycles,
        100 * m * k * n / (cycles * rows * cols) if cycles else math.inf,  # a single product takes "0" cycles
        100 * on_rows * on_cols / (folds * rows * cols),
        ifmap,
        filters,
        ofmap,
    )
