"""The report in a terminal: one block of totals, one table of layers, the notes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from accelsim.report.units import count, energy, percent, si

if TYPE_CHECKING:
    from accelsim.pricing.costs import CostReport
    from accelsim.report.report import Report


def to_text(report: Report, width: int = 100) -> str:
    """Plain text, without colours, lines of at most `width` characters."""
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, highlight=False, legacy_windows=False)
    console.print(render(report))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def open_table(*columns: str) -> Table:
    """A table without lines; the columns named here are kept on one line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in columns:
        table.add_column(title, no_wrap=True)
    return table


def render(report: Report) -> Group:
    """What a rich console prints."""
    parts: list[Text | Table] = [_headline(report), _totals(report), Text(""), _layers(report)]
    parts += [Text(f"note: {note}", style="yellow") for note in report.all_notes]
    return Group(*parts)


def metric_text(report: Report, value: float | None) -> str:
    """The metric "top1" is a share of the samples; any other is printed as it is."""
    if value is None:
        return "–"
    return percent(value, 2) if report.metric == "top1" else f"{value:.6g}"


def total_rows(report: Report) -> list[tuple[str, str, str]]:
    """(what, value, remark) of every total, in the order of reading."""
    cost = report.cost
    cycles = f"{count(cost.latency_cycles)} cycles at {si(cost.spec.clock_hz, 'Hz')}"
    rows = [*_quality_rows(report)]
    name = "energy, average activity" if report.data_cost else "energy"
    rows += [
        (name, energy(report.energy_pj), _band(cost)),
        *_data_rows(report),
        *_scaling_rows(report),
        ("latency", si(report.latency_s, "s"), f"{cycles}, {count(cost.stall_cycles)} of them stalled"),
        ("power", si(report.power_w, "W"), f"average; {si(cost.peak_power_w, 'W')} in the hungriest layer"),
        ("area", f"{report.area_mm2:.3g} mm²", _area_remark(cost)),
        ("DRAM traffic", si(report.dram_bytes, "B"), "read and written"),
        ("MACs", si(cost.macs), f"{percent(cost.utilization)} of peak"),
        ("throughput", f"{cost.tops:.3g} TOPS", f"{cost.tops_per_watt:.3g} TOPS/W"),
        ("energy-delay product", si(cost.energy_delay_js, "J·s"), ""),
    ]
    if report.events:
        hit, whole = (sum(getattr(e, k) for e in report.events) for k in ("outputs_with_events", "outputs"))
        rows.append(("overflow", count(hit), f"of {count(whole)} accumulated outputs"))
    if report.rescale_differences:
        hit, whole = (sum(getattr(r, k) for r in report.rescale_differences) for k in ("differing", "outputs"))
        rows.append(("rescale", count(hit), f"of {count(whole)} outputs differ from one exact rounding"))
    return rows


def _band(cost: CostReport) -> str:
    low, high = cost.band_pj
    return f"{energy(low)} to {energy(high)}" if high > low else ""


def _area_remark(cost: CostReport) -> str:
    low, high = cost.area_band_mm2
    band = f"{low:.3g} to {high:.3g} mm², " if high > low else ""
    return f"{band}{cost.spec.technology.node_nm:g} nm"


def _scaling_rows(report: Report) -> list[tuple[str, str, str]]:
    """Published scaling tables disagree: a range, where one number would hide it."""
    if not report.scaling_energy_pj:
        return []
    values = sorted(report.scaling_energy_pj.items(), key=lambda item: item[1])
    shown = f"{energy(values[0][1])} to {energy(values[-1][1])}"
    technology = report.spec.technology
    tables = " to ".join(table for table, _ in values)
    return [("energy by scaling table", shown, f"{tables}, {technology.base} to {technology.node_nm:g} nm")]


def _data_rows(report: Report) -> list[tuple[str, str, str]]:
    if report.data_cost is None:
        return []
    change = report.data_cost.total_energy_pj / report.energy_pj - 1 if report.energy_pj else 0.0
    remark = f"{100 * change:+.1f} %; {_band(report.data_cost)}; from {count(report.activity_samples)} samples"
    return [("energy, real data", energy(report.data_cost.total_energy_pj), remark)]


def _quality_rows(report: Report) -> list[tuple[str, str, str]]:
    rows = []
    top1 = report.metric == "top1"
    if report.accuracy is not None:
        remarks = []
        if report.float_accuracy is not None:
            difference = report.accuracy - report.float_accuracy
            shown = f"{100 * difference:+.2f} points" if top1 else f"{difference:+.4g}"
            remarks.append(f"float {metric_text(report, report.float_accuracy)} ({shown})")
        if report.samples:
            remarks.append(f"{count(report.samples)} samples")
        name = "accuracy" if top1 else report.metric
        rows.append((name, metric_text(report, report.accuracy), ", ".join(remarks)))
    if report.sqnr_db is not None:
        rows.append(("output SQNR", f"{report.sqnr_db:.1f} dB", "against the float network"))
    return rows


def _headline(report: Report) -> Text:
    line = Text(report.network, style="bold")
    for part in (report.widths, f"profile {report.profile}", f"on {report.spec.name}"):
        if part:
            line.append(f" · {part}", style="not bold")
    return line


def _totals(report: Report) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(style="bold", justify="right", no_wrap=True)
    table.add_column(style="dim")
    for row in total_rows(report):
        table.add_row(*row)
    return table


def _layers(report: Report) -> Table:
    cost = report.cost
    overflowed = any(e.outputs_with_events for e in report.events)
    events = {e.name: e for e in report.events if overflowed}
    table = open_table()
    table.add_column("layer", overflow="ellipsis", max_width=34)  # these two give way where space is short
    table.add_column("operator", overflow="ellipsis")
    with_data = {layer.name: layer for layer in report.data_cost.layers} if report.data_cost else {}
    energies = ("energy", "real data") if with_data else ("energy",)
    for name in ("bits", "MACs", *energies, "latency", "util.", "DRAM"):
        table.add_column(name, justify="right", no_wrap=True)
    if events:
        table.add_column("overflow", justify="right", no_wrap=True)
    for layer in cost.layers:
        cells = [
            layer.name,
            layer.op_kind,
            bits_text(report, layer.name),
            si(layer.macs) if layer.macs else "",
            energy(layer.total_energy_pj),
            *([energy(with_data[layer.name].total_energy_pj)] if with_data else []),
            si(layer.latency_cycles / cost.spec.clock_hz, "s"),
            percent(layer.utilization, 0) if layer.macs else "",
            si(layer.bytes_at(cost.spec.dram.name), "B"),
        ]
        if events:
            event = events.get(layer.name)
            cells.append("" if event is None else percent(event.fraction, 2) if event.outputs_with_events else "0")
        table.add_row(*cells)
    return table


def bits_text(report: Report, layer: str) -> str:
    """ "4×8" for weights × activations, "8" for a layer without weights, "" where unknown."""
    weight_bits, activation_bits = report.layer_bits.get(layer, (None, None))
    if weight_bits is None:
        return "" if activation_bits is None else str(activation_bits)
    return f"{weight_bits}×{activation_bits}"
