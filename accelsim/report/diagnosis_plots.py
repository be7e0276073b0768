"""The figures of a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accelsim.report.canvas import (
    OPERAND_COLORS,
    PALETTE,
    drawing,
    legend,
    log_axis,
    name_margin,
    name_rows,
    rows_height,
    tip,
    to_svg,
)

_COLORS = {"weight": OPERAND_COLORS["weight"], "activation": OPERAND_COLORS["input"]}


def sensitivity_figure(quantizers: Sequence[Any]) -> str:
    """SQNR of the outputs with only one quantizer on, one bar each; short bars harm most."""
    if not quantizers:
        return ""
    names = [q.layer for q in quantizers]
    with drawing(rows_height(names) + 0.4, left=name_margin(names), top_in=0.3) as (figure, axes):
        finite = [q.alone.sqnr_db for q in quantizers if np.isfinite(q.alone.sqnr_db)]
        longest = max([*finite, 1.0]) * 1.05
        for kind, color in _COLORS.items():
            places = [i for i, q in enumerate(quantizers) if q.kind == kind]
            widths = [min(max(quantizers[i].alone.sqnr_db, 0.0), longest) for i in places]
            bars = axes.barh(places, widths, height=0.72, color=color, label=f"{kind}s")
            for bar, place in zip(bars, places, strict=True):
                q = quantizers[place]
                tip(bar, f"{kind} of {q.layer}, {q.bits} bits: {q.alone.sqnr_db:.1f} dB")
        name_rows(axes, names)
        axes.set_xlabel("SQNR of the outputs with this quantizer alone, dB")
        legend(figure, axes)
        return to_svg(figure, "Each quantizer alone")


def weight_figure(ranges: Mapping[str, np.ndarray]) -> str:
    """Range of each output channel's weights, a point per channel, on a logarithmic axis."""
    names = list(ranges)
    if not names:
        return ""
    with drawing(rows_height(names) + 0.2, left=name_margin(names)) as (figure, axes):
        axes.set_xscale("log")
        for place, name in enumerate(names):
            values = np.asarray(ranges[name])
            values = values[values > 0]
            axes.plot(values, np.full(len(values), place), "|", color=_COLORS["weight"], markersize=8)
            if len(values):
                axes.plot([np.median(values)], [place], "o", color=PALETTE[0], markersize=3)
        name_rows(axes, names)
        log_axis(axes.xaxis)
        axes.set_xlabel("largest absolute weight of each output channel")
        return to_svg(figure, "Weight ranges by channel")


def activation_figure(distributions: Sequence[Any]) -> str:
    """Counts of each activation's values (logarithmic, shaded) over its range, and the ends of its grid."""
    names = [d.layer for d in distributions]
    if not names:
        return ""
    with drawing(rows_height(names, 0.3) + 0.2, left=name_margin(names)) as (figure, axes):
        axes.set_xscale("symlog", linthresh=0.1)
        for place, d in enumerate(distributions):
            edges = np.linspace(d.lower, d.upper, len(d.counts) + 1)
            height = np.log1p(d.counts) / max(float(np.log1p(d.counts).max()), 1e-9)
            axes.stairs(place + 0.4 - 0.8 * height, edges, baseline=place + 0.4, fill=True, color=_COLORS["activation"])
            (line,) = axes.plot([d.grid[0], d.grid[1]], [place + 0.4] * 2, "|-", color=PALETTE[0], linewidth=1)
            tip(line, f"{d.layer}: values {d.lower:.4g} … {d.upper:.4g}, grid {d.grid[0]:.4g} … {d.grid[1]:.4g}")
        name_rows(axes, names)
        axes.set_xlabel("value; the line spans the grid")
        return to_svg(figure, "Activations and their grids")
