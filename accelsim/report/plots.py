"""The figures of a report, each as SVG text that takes its ink and its font from the page around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from accelsim.report.canvas import (
    INK,
    OPERAND_COLORS,
    PALETTE,
    component_colors,
    drawing,
    legend,
    log_axis,
    name_margin,
    name_rows,
    rows_height,
    stack,
    tip,
    to_svg,
    unit_scale,
)
from accelsim.report.tables import energy_components, traffic_rows
from accelsim.report.units import energy, percent, si

if TYPE_CHECKING:
    from accelsim.pricing.costs import CostReport
    from accelsim.report.report import Report


def accuracy_figure(report: Report) -> str:
    """Float and simulated accuracy as two bars."""
    values = {"float": report.float_accuracy, "simulated": report.accuracy}
    known = {name: 100 * value for name, value in values.items() if value is not None}
    with drawing(0.34 + 0.3 * len(known), left=0.17) as (figure, axes):
        for place, (name, value) in enumerate(known.items()):
            bar = axes.barh(place, value, height=0.6, color=PALETTE[7] if name == "float" else PALETTE[2])
            inside = value > 20  # else the bar is too short for its number
            style = {"ha": "right", "color": "#ffffff"} if inside else {"ha": "left"}
            axes.text(min(value, 99) + (-1 if inside else 1), place, f"{value:.2f} %", va="center", **style)
            tip(bar[0], f"{name}: {value:.2f} %")
        name_rows(axes, list(known))
        axes.set_xlim(0, 100)
        return to_svg(figure, "Accuracy in per cent: " + ", ".join(f"{k} {v:.2f}" for k, v in known.items()))


def energy_figure(cost: CostReport, with_data: CostReport | None = None) -> str:
    """Energy of each layer, stacked by component; a mark where the real data put the total."""
    components = energy_components(cost)
    names = [layer.name for layer in cost.layers]
    scale, unit = unit_scale([layer.total_energy_pj * 1e-12 for layer in cost.layers], "J")
    with drawing(rows_height(names) + 0.5, left=name_margin(names), top_in=0.5) as (figure, axes):
        start = [0.0] * len(names)
        for component, color in zip(components, component_colors(components), strict=True):
            parts = [layer.energy_pj.get(component, 0.0) for layer in cost.layers]
            tips = [f"{name}, {component}: {energy(pj)}" for name, pj in zip(names, parts, strict=True)]
            start = stack(axes, start, [pj * 1e-12 * scale for pj in parts], color, component, tips)
        if with_data is not None:
            totals = [layer.total_energy_pj for layer in with_data.layers]
            for place, (name, pj) in enumerate(zip(names, totals, strict=True)):
                if pj:
                    label = "real data" if place == next(i for i, t in enumerate(totals) if t) else None
                    at = pj * 1e-12 * scale
                    (mark,) = axes.plot([at, at], [place - 0.42, place + 0.42], color=INK, linewidth=1.6, label=label)
                    tip(mark, f"{name}, real data: {energy(pj)}")
        name_rows(axes, names)
        axes.set_xlabel(f"energy per inference, {unit}")
        legend(figure, axes)
        return to_svg(figure, f"Energy of each of {len(names)} layers, stacked by component")


def traffic_figure(cost: CostReport) -> str:
    """Bytes moved at each memory level for each operand, on a logarithmic axis."""
    rows = traffic_rows(cost)
    names = [f"{row['memory']} · {row['operand']}" for row in rows]
    with drawing(rows_height(names, 0.28) + 0.45, left=name_margin(names)) as (figure, axes):
        axes.set_xscale("log")
        bars = []  # (place, bytes, operand, read or written), two thin bars where both move
        for place, row in enumerate(rows):
            both = row["read_bytes"] and row["written_bytes"]
            for way, offset in (("read", -0.19), ("written", 0.19)):
                if row[f"{way}_bytes"]:
                    bars.append((place + offset * bool(both), row[f"{way}_bytes"], row["operand"], way))
        places, moved, operands, ways = zip(*bars, strict=True)
        smallest = 10 ** math.floor(math.log10(min(moved)) - 0.5)
        drawn = axes.barh(places, moved, height=0.36, left=0, color=[OPERAND_COLORS[o] for o in operands])
        for bar, place, size, operand, way in zip(drawn, places, moved, operands, ways, strict=True):
            bar.set_alpha(1.0 if way == "read" else 0.55)
            tip(bar, f"{operand}: {way} {si(size, 'B')}")
            axes.text(size * 1.12, place, si(size, "B"), va="center", fontsize=6.5)
        name_rows(axes, names)
        log_axis(axes.xaxis)
        axes.set_xlim(smallest, max(moved) * 10)
        axes.set_xlabel("bytes moved per inference (full: read, pale: written)")
        return to_svg(figure, "Bytes read and written at each memory level for each operand")


def latency_figure(cost: CostReport) -> str:
    """Cycles of each layer (computing, stalled) as time, beside the array's utilization."""
    names = [layer.name for layer in cost.layers]
    clock = cost.spec.clock_hz
    scale, unit = unit_scale([layer.latency_cycles / clock for layer in cost.layers], "s")
    with drawing(rows_height(names) + 0.5, left=name_margin(names), top_in=0.3, columns=(3, 1.2)) as (
        figure,
        panels,
    ):
        time, share = panels
        start = [0.0] * len(names)
        for label, key, color in (
            ("computing", "compute_cycles", PALETTE[2]),
            ("stalled", "stall_cycles", PALETTE[0]),
        ):
            cycles = [getattr(layer, key) for layer in cost.layers]
            tips = [f"{name}, {label}: {si(c / clock, 's')}, {c} cycles" for name, c in zip(names, cycles, strict=True)]
            start = stack(time, start, [c / clock * scale for c in cycles], color, label, tips)
        name_rows(time, names)
        time.set_xlabel(f"latency, {unit}")
        legend(figure, time)
        tips = [f"{layer.name}: {percent(layer.utilization)} of the array's peak" for layer in cost.layers]
        used = [100 * layer.utilization for layer in cost.layers]
        stack(share, [0.0] * len(names), used, PALETTE[3], "", tips)
        share.set_yticks([])
        share.set_ylim(time.get_ylim())
        share.grid(axis="x")
        share.set_xlim(0, 100)
        share.set_xticks([0, 50, 100])
        share.set_xlabel("utilization, %")
        return to_svg(figure, f"Latency and array utilization of each of {len(names)} layers")


def roofline_figure(cost: CostReport) -> str:
    """Operations per DRAM byte against operations per second; layers are numbered as in the table."""
    rows = cost.roofline()
    slope = cost.spec.link_bytes_per_cycle * cost.spec.clock_hz
    peak = max(float(row["peak_ops_per_s"]) for row in rows)
    number = {layer.name: i for i, layer in enumerate(cost.layers, 1)}
    xs = [float(row["ops_per_byte"]) for row in rows]
    ys = [float(row["achieved_ops_per_s"]) for row in rows]
    ridge = peak / slope
    low, high = min([*xs, ridge]) / 3, max([*xs, ridge]) * 4
    with drawing(3.0, left=0.15, top_in=0.15) as (figure, axes):
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(min([*ys, low * slope]) / 2, peak * 2.5))
        axes.plot([low, ridge, high], [low * slope, peak, peak], color=PALETTE[7], linewidth=1.4)
        axes.text(high, peak * 1.12, f"{si(peak, 'op/s')} peak", ha="right", fontsize=7.5)
        bottom = axes.get_ylim()[0]  # the lower right corner is where no layer can be slow for want of data
        axes.text(high, bottom * 1.3, f"slope: {si(slope, 'B/s')} DRAM", ha="right", fontsize=7.5)
        labelled: list[tuple[float, float]] = []
        for row, x, y in zip(rows, xs, ys, strict=True):
            (point,) = axes.plot(x, y, "o", color=PALETTE[2], markersize=5, alpha=0.85)
            reach = si(float(row["attainable_ops_per_s"]), "op/s")
            tip(point, f"{row['name']}: {x:.3g} op/B, {si(y, 'op/s')} of attainable {reach}")
            if all(abs(math.log(x / a)) > 0.12 or abs(math.log(y / b)) > 0.3 for a, b in labelled):
                labelled.append((x, y))
                axes.annotate(str(number[str(row["name"])]), (x, y), (3, 4), textcoords="offset points", fontsize=6.5)
        log_axis(axes.xaxis)
        log_axis(axes.yaxis)
        axes.grid(True)
        axes.set_xlabel("operations per DRAM byte")
        axes.set_ylabel("operations per second")
        return to_svg(figure, "Roofline: attainable and achieved operations per second of each layer")


def events_figure(report: Report) -> str:
    """Share of each layer's outputs whose accumulator overflowed."""
    names = [event.name for event in report.events]
    with drawing(rows_height(names) + 0.4, left=name_margin(names)) as (figure, axes):
        tips = [f"{e.name}: {e.outputs_with_events} of {e.outputs} outputs" for e in report.events]
        stack(axes, [0.0] * len(names), [100 * e.fraction for e in report.events], PALETTE[0], "", tips)
        name_rows(axes, names)
        axes.set_xlabel("outputs with an overflow, %")
        return to_svg(figure, "Share of each layer's outputs whose accumulator overflowed")
