"""The figures of an exploration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.report.canvas import INK, PALETTE, drawing, si_axis, tip, to_svg
from accelsim.report.exploration import SHOWN

if TYPE_CHECKING:
    import pandas

#: unit of a cost, and its size in the column's unit
_UNITS = {"energy": ("J", 1e-12), "latency": ("s", 1.0), "area": ("m²", 1e-6), "power": ("W", 1.0)}
MOST_MARKS, MOST_LINES = 1500, 250  # of designs that are not on the front
LEAST_ERROR = 0.05  # per cent: a design without any error needs a place, too


def _knobs(found: Any, row: Any) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {row[name]}" for name in found.knobs)


def _others(found: Any, most: int) -> pandas.DataFrame:
    """Designs whose objectives are known and that are not on the front, thinned evenly."""
    frame = found.frame
    known = frame[~frame.front & frame[[SHOWN[name][0] for name in found.objectives]].notna().all(axis=1)]
    return known.iloc[:: max(1, -(-len(known) // most))]


def fronts_figures(found: Any) -> list[tuple[str, str]]:
    """(title, SVG): accuracy against each cost, or each cost against the first where there is no accuracy."""
    first, *rest = sorted(found.objectives, key=lambda name: name != "accuracy")
    return [(f"{first.capitalize()} against {name}", _front_figure(found, name, first)) for name in rest]


def _front_figure(found: Any, x_name: str, y_name: str) -> str:
    with drawing(3.2, left=0.13) as (figure, axes):
        del figure
        for rows, style in (
            (_others(found, MOST_MARKS), {"color": PALETTE[7], "alpha": 0.35, "markersize": 2.2}),
            (found.front, {"color": PALETTE[2], "markersize": 5}),
        ):
            xs, ys = _values(rows, x_name), _values(rows, y_name)
            if rows is not found.front and "alpha" in style:
                axes.plot(xs, ys, "o", markeredgewidth=0, **style)
                continue
            for x, y, row in zip(xs, ys, rows.to_dict(orient="records"), strict=True):
                (mark,) = axes.plot(x, y, "o", **style)
                tip(mark, f"{_objectives(found, row)}: {_knobs(found, row)}")
        for axis, name in ((axes.xaxis, x_name), (axes.yaxis, y_name)):
            if name not in ("accuracy", "area"):
                si_axis(axis, _UNITS[name][0])
        if y_name == "accuracy":
            _accuracy_axis(axes)
        axes.grid(True)
        axes.set_xlabel(_title(x_name))
        axes.set_ylabel(_title(y_name))
        return to_svg(axes.figure, f"{y_name} against {x_name}; large marks are on the Pareto front")


def _values(rows: pandas.DataFrame, name: str) -> np.ndarray:
    values = rows[SHOWN[name][0]].to_numpy(dtype=float)
    if name == "accuracy":  # its error: told apart near the top
        return np.clip(100 - 100 * values, LEAST_ERROR, None)
    return values if name == "area" else values * _UNITS[name][1]


def _accuracy_axis(axes: Any) -> None:
    """Logarithmic in the error, the best at the top."""
    from matplotlib.ticker import NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks([0.1, 1, 10, 50, 90], ["99.9", "99", "90", "50", "10"])
    low, high = axes.get_ylim()
    axes.set_ylim(max(high, 2.0), min(low, 0.5))


def _title(name: str) -> str:
    whole = {"accuracy": "accuracy, %", "area": "area, mm²", "power": "power"}
    return whole.get(name, f"{name} per inference")


def _objectives(found: Any, row: Any) -> str:
    return ", ".join(SHOWN[name][1](row[SHOWN[name][0]]) for name in found.objectives)


def history_figure(found: Any) -> str:
    """Hypervolume after each accuracy simulation."""
    counts, _, volumes = zip(*found.history, strict=True)
    with drawing(2.2, left=0.13) as (figure, axes):
        axes.step(counts, [100 * v for v in volumes], where="post", color=PALETTE[2], linewidth=1.6)
        room = max(0.5, 100 * (max(volumes) - min(volumes)))
        axes.set_ylim(max(0, 100 * min(volumes) - 0.1 * room), min(100, 100 * max(volumes) + 0.1 * room))
        axes.grid(True)
        axes.set_xlabel("accuracy simulations")
        axes.set_ylabel("hypervolume, %")
        return to_svg(figure, f"Hypervolume after each of {len(counts)} accuracy simulations")


def parallel_figure(found: Any) -> str:
    """A line per design over all knobs and objectives."""
    others, front = _others(found, MOST_LINES), found.front
    names = [name for name in found.knobs if len(found.knobs[name]) > 1]
    axes_count = len(names) + len(found.objectives)
    places = list(range(axes_count))
    with drawing(3.4, left=0.06, top_in=0.35) as (figure, axes):
        for place in places:
            axes.axvline(place, color=INK, linewidth=0.5, alpha=0.4)
        for rows, on_front in ((others, False), (front, True)):
            columns = [_knob_heights(found, rows, name) for name in names]
            columns += [_objective_heights(found, rows, name) for name in found.objectives]
            colors = _colors(rows) if on_front else [PALETTE[7]] * len(rows)
            for heights, color, row in zip(zip(*columns, strict=True), colors, rows.to_dict("records"), strict=True):
                width, alpha = (1.1, 0.85) if on_front else (0.4, 0.18)
                (line,) = axes.plot(places, heights, color=color, linewidth=width, alpha=alpha)
                if on_front:
                    tip(line, f"{_objectives(found, row)}: {_knobs(found, row)}")
        for place, name in enumerate(names):
            values = found.knobs[name]
            for i, value in enumerate(values):
                if len(values) <= 9 or i in (0, len(values) - 1):
                    text = str(value).replace("_stationary", "")
                    axes.text(place + 0.03, i / max(1, len(values) - 1), text, fontsize=6, va="center")
        for place, name in enumerate(found.objectives, start=len(names)):
            best, worst = _ends(found, name)
            for value, height in {worst: 0.0, best: 1.0}.items():  # one of them where all are equal
                axes.text(place + 0.03, height, SHOWN[name][1](value), fontsize=6, va="center")
        axes.set_xlim(-0.1, axes_count - 0.45)
        axes.set_ylim(-0.06, 1.06)
        axes.set_yticks([])
        short = {"weight_bits": "weights", "activation_bits": "activations", "accumulator_bits": "accumulator"}
        short |= {"buffer_bytes": "buffer", "bandwidth_bytes_per_cycle": "bandwidth"}
        labels = [short.get(n, n.rsplit(".", 1)[-1].replace("_", " ")) for n in (*names, *found.objectives)]
        axes.set_xticks(places, labels, fontsize=6.5)
        axes.spines[["left", "bottom"]].set_visible(False)
        return to_svg(figure, f"Parallel coordinates of {len(front)} designs on the front and {len(others)} others")


def _knob_heights(found: Any, rows: pandas.DataFrame, name: str) -> list[float]:
    values = {value: i for i, value in enumerate(found.knobs[name])}
    return [values[value] / max(1, len(values) - 1) for value in rows[name]]


def _ends(found: Any, name: str) -> tuple[float, float]:
    """(best, worst) of an objective over the designs that are drawn."""
    column = found.frame.loc[found.frame["status"].isin(["known", "priced"]), SHOWN[name][0]]
    low, high = float(column.min()), float(column.max())
    return (high, low) if name == "accuracy" else (low, high)


def _objective_heights(found: Any, rows: pandas.DataFrame, name: str) -> np.ndarray:
    best, worst = _ends(found, name)
    values = rows[SHOWN[name][0]].to_numpy(dtype=float)
    return (worst - values) / (worst - best) if worst != best else np.ones(len(values))


def _colors(front: pandas.DataFrame) -> list[Any]:
    """By accuracy, from the least to the most accurate."""
    import matplotlib

    accuracy = front["accuracy"].to_numpy(dtype=float)
    if np.isnan(accuracy).any() or accuracy.max() == accuracy.min():
        return [PALETTE[2]] * len(front)
    ranks = np.argsort(np.argsort(accuracy, kind="stable"), kind="stable") / max(1, len(accuracy) - 1)
    return [matplotlib.colormaps["plasma"](0.05 + 0.8 * rank) for rank in ranks]
