"""The report as one self-contained page: HTML and CSS around the figures, no script, nothing fetched."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from accelsim.report.text import bits_text, total_rows
from accelsim.report.units import count, energy, percent, si

if TYPE_CHECKING:
    import jinja2

    from accelsim.pricing.costs import CostReport
    from accelsim.report.report import Report

Cell = str | tuple[str, str]


def report_page(report: Report) -> str:
    """A whole HTML document."""
    title = f"{report.network} {report.widths} on {report.spec.name}".replace("  ", " ")
    return page(title, _body(report))


def report_fragment(report: Report) -> str:
    """The same as an element for a notebook."""
    style = f"<style>{_template_text('style.css')}</style>"
    return f'<div class="accelsim">{style}<div class="page">{_body(report)}</div></div>'


def page(title: str, body: str) -> str:
    return render("page.html.j2", title=title, body=body, style=_template_text("style.css"))


def render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_template_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


@cache
def _template_text(name: str) -> str:
    return (resources.files("accelsim.report") / "templates" / name).read_text("utf-8")


def _body(report: Report) -> str:
    from accelsim.report import plots

    cost, array = report.cost, report.spec.array
    overflowed = any(event.outputs_with_events for event in report.events)
    known = report.metric == "top1" and report.accuracy is not None
    return render(
        "report.html.j2",
        report=report,
        array=f"{array.rows}×{array.cols} {array.dataflow.replace('_', ' ')}, {array.pe} elements",
        accumulators=_accumulators(report),
        clock=si(report.spec.clock_hz, "Hz"),
        totals=total_rows(report),
        metric_title=f"{report.metric}, {count(report.samples)} samples",
        accuracy_svg=plots.accuracy_figure(report) if known else "",
        energy_svg=plots.energy_figure(cost, report.data_cost) if cost.layers else "",
        latency_svg=plots.latency_figure(cost) if cost.layers else "",
        traffic_svg=plots.traffic_figure(cost) if any(cost.bytes_read.values()) else "",
        roofline_svg=plots.roofline_figure(cost) if cost.roofline() else "",
        events_svg=plots.events_figure(report) if overflowed else "",
        component_text=_component_text(cost),
        layer_columns=_layer_columns(report),
        data_columns=_DATA_COLUMNS,
        data_rows=_data_cells(report),
        component_columns=[("component", "text"), ("average activity", ""), ("real data", ""), ("change", "")],
        component_rows=_component_cells(report),
        layer_rows=_layer_cells(report),
        event_text=_event_text(report),
        event_columns=_event_columns(report),
        event_rows=_event_cells(report),
        area_text=f"{report.area_mm2:.3g} mm² ({_area_band(cost)}): "
        + ", ".join(f"{name} {mm2:.3g}" for name, mm2 in cost.area_mm2.items()),
        constant_rows=[
            {
                "cells": [
                    name,
                    f"{c.value:.4g}",
                    c.unit,
                    percent(c.uncertainty, 0) if c.uncertainty else "",
                    c.source,
                ]
            }
            for name, c in report.constants.items()
        ],
    )


def _area_band(cost: CostReport) -> str:
    low, high = cost.area_band_mm2
    return f"{low:.3g} to {high:.3g}"


def _accumulators(report: Report) -> str:
    spec = report.spec.array.accumulators
    levels = " → ".join(f"{level.bits} bit {level.overflow}" for level in spec.levels)
    return f"{levels}, {spec.order}"


def _component_text(cost: CostReport) -> str:
    whole = cost.total_energy_pj or 1.0
    parts = sorted(cost.energy_pj.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {percent(pj / whole)}" for name, pj in parts if pj > 0.0005 * whole)


_DATA_COLUMNS = [
    ("layer", "text"),
    *((name, "") for name in ("zeros in", "zeros out", "zero MACs", "input toggles", "weight toggles")),
    *((name, "") for name in ("psum toggles", "average", "real data", "change", "DRAM")),
]


def _data_cells(report: Report) -> list[dict[str, list[Cell]]]:
    """Per layer: what its data do, and what that changes."""
    if report.data_cost is None:
        return []
    rows = []
    for layer, real in zip(report.cost.layers, report.data_cost.layers, strict=True):
        known = report.activity.get(layer.name)
        if known is None or not layer.latency_cycles:
            continue
        error = f" ± {percent(known.psum_toggles_error)}" if known.psum_toggles_error else ""
        shares = [percent(known.input_zeros), percent(known.output_zeros)]
        shares += ["" if value is None else percent(value) for value in (known.mac_zeros, *known.toggles)]
        shares[-1] += error if shares[-1] else ""
        cells: list[Cell] = [layer.name, *shares, energy(layer.total_energy_pj), energy(real.total_energy_pj)]
        cells.append(_change(layer.total_energy_pj, real.total_energy_pj))
        cells.append(si(real.bytes_at(report.spec.dram.name), "B"))
        rows.append({"cells": cells})
    return rows


def _component_cells(report: Report) -> list[dict[str, list[Cell]]]:
    if report.data_cost is None:
        return []
    real = report.data_cost.energy_pj
    parts = sorted(report.cost.energy_pj.items(), key=lambda item: -item[1])
    rows: list[dict[str, list[Cell]]] = [
        {"cells": [name, energy(pj), energy(real.get(name, 0.0)), _change(pj, real.get(name, 0.0))]}
        for name, pj in parts
    ]
    whole = report.data_cost.total_energy_pj
    total: list[Cell] = ["total", energy(report.energy_pj), energy(whole), _change(report.energy_pj, whole)]
    return [*rows, {"cells": total, "front": True}]  # type: ignore[dict-item]


def _change(before: float, after: float) -> str:
    change = 100 * (after / before - 1) if before else 0.0
    return f"{change:+.1f} %" if abs(change) >= 0.05 else ""


def _layer_columns(report: Report) -> list[tuple[str, str]]:
    cost = report.cost
    names = [
        "bits",
        "MACs",
        "energy",
        *(["real data"] if report.data_cost else []),
        "latency",
        "stalled",
        "utilization",
        *(m.name for m in cost.spec.memories),
    ]
    return [("#", ""), ("layer", "text"), ("operator", "text"), *((name, "") for name in names)]


def _layer_cells(report: Report) -> list[dict[str, list[Cell]]]:
    cost = report.cost
    largest_pj = max((layer.total_energy_pj for layer in cost.layers), default=0.0) or 1.0
    with_data = {layer.name: layer.total_energy_pj for layer in report.data_cost.layers} if report.data_cost else {}
    slowest = max((layer.latency_cycles for layer in cost.layers), default=0) or 1
    rows = []
    for number, layer in enumerate(cost.layers, 1):
        cells: list[Cell] = [
            str(number),
            layer.name,
            layer.op_kind,
            bits_text(report, layer.name),
            si(layer.macs) if layer.macs else "",
            (energy(layer.total_energy_pj), f"{100 * layer.total_energy_pj / largest_pj:.0f}"),
            *([energy(with_data[layer.name])] if with_data else []),
            (
                si(layer.latency_cycles / cost.spec.clock_hz, "s"),
                f"{100 * layer.latency_cycles / slowest:.0f}",
            ),
            percent(layer.stall_cycles / layer.latency_cycles, 0) if layer.stall_cycles else "",
            (percent(layer.utilization), f"{100 * layer.utilization:.0f}") if layer.macs else "",
            *(si(layer.bytes_at(m.name), "B") if layer.bytes_at(m.name) else "" for m in cost.spec.memories),
        ]
        rows.append({"cells": cells})
    return rows


def _event_text(report: Report) -> str:
    hit = sum(e.outputs_with_events for e in report.events)
    whole = sum(e.outputs for e in report.events)
    layers = f"{sum(e.outputs_with_events > 0 for e in report.events)} of {len(report.events)} layers"
    if hit:
        return f"{count(hit)} of {count(whole)} accumulated outputs overflowed, in {layers}."
    return f"No accumulator overflowed: 0 of {count(whole)} accumulated outputs."


def _event_columns(report: Report) -> list[tuple[str, str]]:
    columns = [("layer", "text"), ("accumulator", "text"), ("outputs", ""), ("overflowed", ""), ("share", "")]
    if report.rescale_differences:
        columns += [("scheme", "text"), ("differ from one rounding", ""), ("share", "")]
    return columns


def _event_cells(report: Report) -> list[dict[str, list[Cell]]]:
    rescales = {r.name: r for r in report.rescale_differences}
    rows = []
    for event in report.events:
        cells: list[Cell] = [
            event.name,
            f"{event.accumulator_bits} bit, {event.overflow}",
            count(event.outputs),
            count(event.outputs_with_events),
            percent(event.fraction, 3) if event.outputs_with_events else "",
        ]
        if rescales:
            rescale = rescales.get(event.name)
            if rescale is None:
                cells += ["not rescaled", "", ""]
            else:
                share = f"{percent(rescale.fraction, 3)} of {count(rescale.outputs)}"
                cells += [rescale.scheme, count(rescale.differing), share if rescale.differing else ""]
        rows.append({"cells": cells})
    return rows
