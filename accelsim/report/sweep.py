"""The page of a sweep: the Pareto front of accuracy against energy, and every point in a table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from accelsim.report.files import save_as
from accelsim.report.html import Cell, page, render
from accelsim.report.tables import plain
from accelsim.report.units import count, energy, percent, si

if TYPE_CHECKING:
    import pandas
    from rich.table import Table


_COLUMNS = [
    ("accelerator", "text"),
    *((name, "") for name in ("weight bits", "activation bits", "accuracy", "SQNR", "energy", "latency", "area")),
    ("DRAM", ""),
    ("front", "text"),
]


class _Sweep(Protocol):
    network: str
    profile: str
    frame: pandas.DataFrame
    failures: tuple[Any, ...]


def save_sweep(sweep: _Sweep, path: str | Path) -> Path:
    """Write a sweep whole or not at all; the suffix says how: .html, .json (records) or .csv."""
    frame = sweep.frame

    def html() -> str:
        from accelsim.versions import versions

        return sweep_html(
            frame,
            network=sweep.network,
            profile=sweep.profile,
            float_accuracy=float(frame["float_accuracy"].iloc[0]),
            notes=tuple(f"Failed: {failure.short}" for failure in sweep.failures),
            versions=versions(),
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        )

    def json() -> str:
        return dumps(sweep_records(frame), indent=1, allow_nan=False) + "\n"

    def csv() -> str:
        return frame.to_csv(index=False, lineterminator="\n")

    return save_as(path, {".html": html, ".json": json, ".csv": csv})


def sweep_records(frame: pandas.DataFrame) -> list[dict[str, Any]]:
    """One mapping of plain JSON values per point; a number that is not finite becomes None."""
    return [plain(record) for record in frame.to_dict(orient="records")]


def sweep_table(frame: pandas.DataFrame) -> Table:
    """What a rich console prints: every point by rising energy, those on the Pareto front marked."""
    from accelsim.report.text import open_table

    table = open_table()
    for title, kind in _COLUMNS:
        table.add_column(title, justify="left" if kind else "right", no_wrap=True)
    for row in _rows(frame):
        cells = [cell if isinstance(cell, str) else cell[0] for cell in row["cells"]]
        table.add_row(*cells, style="bold" if row["front"] else None)
    return table


def sweep_html(
    frame: pandas.DataFrame,
    *,
    network: str,
    profile: str,
    float_accuracy: float | None = None,
    samples: int = 0,
    notes: tuple[str, ...] = (),
    versions: Mapping[str, str] | None = None,
    command: str = "",
) -> str:
    """A whole HTML document for a sweep.

    frame: one row per point with the columns weight_bits, activation_bits, spec (name), accuracy (0 to 1),
    energy_pj, latency_s, area_mm2, dram_bytes, sqnr_db and pareto (bool: no other point beats it in accuracy
    or energy without losing in the other).
    """
    from accelsim.report.sweep_plots import sweep_figure, widths_figure

    body = render(
        "sweep.html.j2",
        network=network,
        tags=[f"profile {profile}", *map(str, frame["spec"].unique())],
        tiles=_tiles(frame, float_accuracy, samples),
        figure=sweep_figure(frame),
        widths=widths_figure(frame),
        columns=_COLUMNS,
        rows=_rows(frame),
        notes=notes,
        versions=versions or {},
        command=command,
    )  # fmt: skip
    return page(f"sweep of {network}", body)


def _tiles(frame: pandas.DataFrame, float_accuracy: float | None, samples: int) -> list[tuple[str, str, str]]:
    best = frame.sort_values(["accuracy", "energy_pj"], ascending=[False, True], kind="stable").iloc[0]
    tiles = [
        ("points", count(len(frame)), f"{count(int(frame['pareto'].sum()))} on the Pareto front"),
        ("best accuracy", percent(best["accuracy"], 2), f"{_widths(best)}, {energy(best['energy_pj'])}"),
    ]
    if float_accuracy is not None:
        remark = f"{count(samples)} samples" if samples else ""
        tiles.insert(1, ("float accuracy", percent(float_accuracy, 2), remark))
        close = frame[frame["accuracy"] >= float_accuracy - 0.01]
        if len(close):
            cheap = close.loc[close["energy_pj"].idxmin()]
            remark = f"{_widths(cheap)} on {cheap['spec']}, {percent(cheap['accuracy'], 2)}"
            tiles.append(("least energy within 1 point of float", energy(cheap["energy_pj"]), remark))
    return tiles


def _rows(frame: pandas.DataFrame) -> list[dict[str, Any]]:
    largest = frame["energy_pj"].max() or 1.0
    rows = []
    for point in frame.sort_values(["spec", "energy_pj"], kind="stable").itertuples():
        cells: list[Cell] = [
            str(point.spec),
            str(point.weight_bits),
            str(point.activation_bits),
            percent(point.accuracy, 2),
            "" if point.sqnr_db is None or point.sqnr_db != point.sqnr_db else f"{point.sqnr_db:.1f} dB",
            (energy(point.energy_pj), f"{100 * point.energy_pj / largest:.0f}"),
            si(point.latency_s, "s"),
            f"{point.area_mm2:.3g} mm²",
            si(point.dram_bytes, "B"),
            "Pareto" if point.pareto else "",
        ]
        rows.append({"cells": cells, "front": bool(point.pareto)})
    return rows


def _widths(point: pandas.Series) -> str:
    return f"W{point['weight_bits']}A{point['activation_bits']}"
