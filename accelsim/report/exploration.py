"""The page of an exploration: the fronts, parallel coordinates, and the knobs of each design on the front."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from accelsim.report.files import save_as
from accelsim.report.html import Cell, page, render
from accelsim.report.tables import plain
from accelsim.report.units import count, energy, percent, si

if TYPE_CHECKING:
    import pandas
    from rich.table import Table

#: objective → (column, how a value is printed)
SHOWN: dict[str, tuple[str, Any]] = {
    "accuracy": ("accuracy", lambda v: percent(v, 2) if v == v else "–"),
    "energy": ("energy_pj", energy),
    "latency": ("latency_s", lambda v: si(v, "s")),
    "area": ("area_mm2", lambda v: f"{v:.3g} mm²"),
    "power": ("power_w", lambda v: si(v, "W")),
}
MOST_ROWS = 200  # of the table of a page
_MEANINGS = {
    "known": "accuracy known: simulated, or the same integers as a design that was",
    "priced": "priced; no accuracy was asked for",
    "out of reach": "not simulated: no accuracy could bring it to the front",
    "left out": "not simulated: beyond the number of simulations that was allowed",
    "refused": "breaks a constraint",
    "impossible": "no such hardware, or the network does not fit it",
    "failed": "its simulation raised an error",
}


class _Exploration(Protocol):
    network: str
    knobs: Mapping[str, tuple[Any, ...]]
    method: str
    objectives: tuple[str, ...]
    constraints: Mapping[str, float]
    frame: pandas.DataFrame
    problems: Mapping[int, str]
    box: Mapping[str, tuple[float, float]]
    history: tuple[tuple[int, float, float], ...]
    configurations: int
    simulations: int
    float_accuracy: float | None
    notes: tuple[str, ...]

    @property
    def front(self) -> pandas.DataFrame: ...

    def hypervolume(self) -> float: ...


def summary(found: _Exploration) -> list[str]:
    """Plain sentences: how much was tried, how little was simulated, what could not be computed."""
    lines = [
        f"{found.network}: {count(len(found.frame))} designs ({found.method}); on the front of "
        f"{', '.join(found.objectives)}: {count(len(found.front))}."
    ]
    if found.configurations:
        share = found.simulations / found.configurations
        lines.append(
            f"{count(found.simulations)} accuracy simulations for {count(found.configurations)} different integer "
            f"configurations ({percent(share)}), {percent(found.simulations / len(found.frame), 2)} of the designs."
        )
    lines.append(f"Hypervolume: {percent(found.hypervolume(), 2)} of the box of {_box(found)}.")
    lines += [f"Constraint: {_constraint(name, limit)}." for name, limit in found.constraints.items()]
    return lines + list(found.notes)


def _box(found: _Exploration) -> str:
    return ", ".join(f"{name} {SHOWN[name][1](a)} to {SHOWN[name][1](b)}" for name, (a, b) in found.box.items())


def _constraint(name: str, limit: float) -> str:
    return f"{name} {'at least' if name == 'accuracy' else 'at most'} {SHOWN[name][1](limit)}"


def plain_exploration(found: _Exploration) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "network": found.network,
        "method": found.method,
        "knobs": plain(found.knobs),
        "objectives": list(found.objectives),
        "constraints": plain(found.constraints),
        "summary": summary(found),
        "hypervolume": found.hypervolume(),
        "box": plain(found.box),
        "history": [{"simulations": n, "seconds": s, "hypervolume": v} for n, s, v in found.history],
        "configurations": found.configurations,
        "simulations": found.simulations,
        "float_accuracy": plain(found.float_accuracy),
        "designs": [plain(record) for record in found.frame.to_dict(orient="records")],
        "problems": plain(found.problems),
    }


def save_exploration(found: _Exploration, path: str | Path) -> Path:
    """Write an exploration whole or not at all; the suffix says how: .html, .json or .csv (all designs)."""
    from json import dumps

    return save_as(
        path,
        {
            ".html": lambda: exploration_html(found),
            ".json": lambda: dumps(plain_exploration(found), indent=1, allow_nan=False) + "\n",
            ".csv": lambda: found.frame.to_csv(index=False, lineterminator="\n"),
        },
    )


def columns_of(found: _Exploration) -> list[tuple[str, str]]:
    """(title, class) of the table of the front: knobs, then what they bring."""
    knobs = [(name.replace("_", " "), "text") for name in found.knobs]
    return [*knobs, *((name, "") for name, (column, _) in SHOWN.items() if column in _told(found))]


def _told(found: _Exploration) -> list[str]:
    return [column for column, _ in SHOWN.values() if column != "accuracy" or found.frame["accuracy"].notna().any()]


def rows_of(found: _Exploration) -> list[list[str]]:
    """Designs on the front as texts, the most accurate (or the cheapest) first."""
    front = found.front
    if found.frame["accuracy"].notna().any():
        front = front.sort_values("accuracy", ascending=False, kind="stable")
    told = _told(found)
    rows = []
    for record in front.to_dict(orient="records"):
        cells = [str(record[name]).replace("_", " ") for name in found.knobs]
        rows.append([*cells, *(text(record[column]) for column, text in SHOWN.values() if column in told)])
    return rows


def front_table(found: _Exploration) -> Table:
    """What a rich console prints."""
    from accelsim.report.text import open_table

    table = open_table()
    for title, kind in columns_of(found):
        table.add_column(title, justify="left" if kind else "right", no_wrap=True)
    for row in rows_of(found):
        table.add_row(*row)
    return table


def exploration_html(found: _Exploration) -> str:
    """A whole HTML document."""
    from accelsim.report.exploration_plots import fronts_figures, history_figure, parallel_figure
    from accelsim.versions import versions

    rows = rows_of(found)
    lines = summary(found)
    if len(rows) > MOST_ROWS:
        lines.append(f"The table shows {MOST_ROWS} of the {len(rows)} designs on the front; the .csv has all.")
    reasons = found.frame["status"].value_counts()
    first_problem = next(iter(found.problems.values()), "")
    if first_problem:
        lines.append(f"The first of {len(found.problems)} problems: {first_problem.strip().splitlines()[-1]}")
    body = render(
        "exploration.html.j2",
        network=found.network,
        tags=[found.method, *found.objectives],
        tiles=_tiles(found),
        lines=lines,
        fronts=fronts_figures(found),
        history=history_figure(found) if len(found.history) > 1 else "",
        parallel=parallel_figure(found),
        columns=columns_of(found),
        rows=[{"cells": row} for row in rows[:MOST_ROWS]],
        knob_columns=[("knob", "text"), ("values", "text"), ("on the front", "text")],
        knob_rows=[{"cells": _knob_cells(found, name)} for name in found.knobs],
        status_columns=[("designs", ""), ("what became of them", "text"), ("", "text")],
        status_rows=[{"cells": [count(int(n)), str(s), _MEANINGS[str(s)]]} for s, n in reasons.items()],
        versions=versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )
    return page(f"exploration of {found.network}", body)


def _knob_cells(found: _Exploration, name: str) -> list[Cell]:
    """How often each value is on the front."""
    values = found.knobs[name]
    seen = found.front[name].value_counts()
    used = ", ".join(f"{value} ({seen[value]}×)" for value in values if value in seen.index)
    return [name.replace("_", " "), ", ".join(map(str, values)), used]


def _tiles(found: _Exploration) -> list[tuple[str, str, str]]:
    tiles = [
        ("designs", count(len(found.frame)), f"{count(len(found.front))} on the front"),
        ("hypervolume", percent(found.hypervolume(), 2), "of the box"),
    ]
    if found.configurations:
        remark = f"of {count(found.configurations)} integer configurations"
        tiles.append(("accuracy simulations", count(found.simulations), remark))
    if found.float_accuracy is not None:
        tiles.append(("float accuracy", percent(found.float_accuracy, 2), ""))
    return tiles
