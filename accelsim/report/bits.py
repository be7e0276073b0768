"""The page of a search over widths: the front, the allocations, and what each layer got."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from accelsim.report.canvas import PALETTE, drawing, legend, si_axis, tip, to_svg
from accelsim.report.files import save_as
from accelsim.report.html import page, render
from accelsim.report.units import energy, percent, si

_QUANTITIES = {"energy": "energy per inference", "latency": "latency per inference", "size": "size of the weights"}


def amount(value: float, objective: str) -> str:
    """A cost with its unit."""
    return energy(value) if objective == "energy" else si(value, "B" if objective == "size" else "cycles")


def summary(found: Any) -> list[str]:
    """Plain sentences: the winner, what it saves, how well it was predicted."""
    best, gap = found.best, found.gap
    lines = [
        f"{found.network} on {found.spec.name}: {amount(best.cost, found.objective)} at {percent(best.accuracy, 2)} "
        f"(float {percent(found.float_accuracy, 2)}, at most {100 * found.max_accuracy_drop:.2f} points lost)."
    ]
    for row in found.frame[found.frame.kind == "uniform"].itertuples():
        saved = 1 - best.cost / row.cost
        lines.append(
            f"Uniform {_name(row)}: {amount(row.cost, found.objective)} at {percent(row.accuracy, 2)}; the winner "
            f"costs {abs(100 * saved):.1f} % {'less' if saved >= 0 else 'more'}."
        )
    lines.append(
        f"Predicted and simulated: cost differs by {100 * gap['cost']:+.1f} %, error of the outputs by "
        f"{100 * gap['error']:+.0f} %."
    )
    return lines


def _name(row: Any) -> str:
    if row.kind != "uniform":
        return "mixed"
    weights, activations = set(row.weight_bits.values()), set(row.activation_bits.values())
    return f"W{min(weights)}A{min(activations, default=0)}"


def plain_search(found: Any) -> dict[str, Any]:
    """Plain JSON values."""
    rows = found.frame.to_dict(orient="records")
    best = rows[list(found.frame.index).index(found.winner)]
    return {
        "network": found.network,
        "spec": found.spec.name,
        "objective": found.objective,
        "unit": found.objective_unit,
        "float_accuracy": float(found.float_accuracy),
        "max_accuracy_drop": float(found.max_accuracy_drop),
        "summary": summary(found),
        "gap": found.gap,
        "winner": _plain(best),
        "allocations": [_plain(row) for row in rows],
        "harms": [{"layer": n, "kind": k, "bits": b, "error": e} for (n, k, b), e in found.harms.items()],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value.item() if hasattr(value, "item") else value for key, value in row.items()}


def save_search(found: Any, path: str | Path) -> Path:
    """Write a search whole or not at all; the suffix says how: .html, .json or .csv."""
    from json import dumps

    return save_as(
        path,
        {
            ".html": lambda: search_html(found),
            ".json": lambda: dumps(plain_search(found), indent=1, allow_nan=False) + "\n",
            ".csv": lambda: found.frame.to_csv(index=False, lineterminator="\n"),
        },
    )


def search_html(found: Any) -> str:
    """A whole HTML document."""
    from accelsim.versions import versions

    columns = [("allocation", "text"), ("accuracy", ""), (found.objective, ""), ("predicted", ""), ("error", "")]
    columns += [("predicted error", ""), ("front", "text")]
    best = found.best
    layers = {layer: (bits, best.activation_bits.get(layer)) for layer, bits in best.weight_bits.items()}
    layers |= {layer: (None, bits) for layer, bits in best.activation_bits.items() if layer not in layers}
    body = render(
        "bits.html.j2",
        network=found.network,
        tags=[found.spec.name, f"{found.spec.array.pe} elements", f"profile {found.config.profile}"],
        lines=summary(found),
        figure=front_figure(found),
        columns=columns,
        rows=[_row(found, index, row) for index, row in found.frame.sort_values("cost").iterrows()],
        layer_columns=[("layer", "text"), ("weight bits", ""), ("output bits", "")],
        layer_rows=[
            {"cells": [layer, *("" if bits is None else str(bits) for bits in pair)]} for layer, pair in layers.items()
        ],
        versions=versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    return page(f"widths of {found.network}", body)


def _row(found: Any, index: Any, row: Any) -> dict[str, Any]:
    mark = "winner" if index == found.winner else "Pareto" if row.pareto else ""
    cells = [
        _name(row),
        percent(row.accuracy, 2),
        amount(row.cost, found.objective),
        amount(row.predicted_cost, found.objective),
        f"{row.error:.3g}",
        f"{row.predicted_error:.3g}",
        mark,
    ]
    return {"cells": cells, "front": bool(row.pareto)}


def front_figure(found: Any) -> str:
    """Accuracy against cost of every allocation that was simulated."""
    unit, factor = {"energy": ("J", 1e-12), "latency": ("cycles", 1.0), "size": ("B", 1.0)}[found.objective]
    with drawing(3.2, left=0.12, top_in=0.3) as (figure, axes):
        for place, (kind, rows) in enumerate(found.frame.groupby("kind", sort=False)):
            color = PALETTE[2 + place]
            for index, row in rows.iterrows():
                face = color if row.pareto else "none"
                size = 8 if index == found.winner else 5
                (point,) = axes.plot(
                    factor * row.cost, 100 * row.accuracy, "o", color=color, markerfacecolor=face, markersize=size
                )
                tip(point, f"{_name(row)}: {percent(row.accuracy, 2)}, {amount(row.cost, found.objective)}")
            axes.plot([], [], "o", color=color, label=str(kind))
        least = 100 * (found.float_accuracy - found.max_accuracy_drop)
        axes.axhline(least, color=PALETTE[7], linewidth=0.8)
        axes.set_ylim(min(least - 3, 100 * found.frame[found.frame.pareto].accuracy.median() - 1), 100.2)
        si_axis(axes.xaxis, unit)
        axes.grid(True)
        axes.set_xlabel(_QUANTITIES[found.objective])
        axes.set_ylabel("accuracy, %")
        legend(figure, axes)
        return to_svg(figure, "Accuracy against cost; the line is the least accuracy allowed")
