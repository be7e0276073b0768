"""The figures of a sweep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from accelsim.report.canvas import PALETTE, drawing, legend, log_axis, si_axis, tip, to_svg
from accelsim.report.units import energy, percent

if TYPE_CHECKING:
    import pandas


def sweep_figure(frame: pandas.DataFrame) -> str:
    """Accuracy (on an axis logarithmic in the error) against energy, with the Pareto front as a line."""
    errors = (100 - 100 * frame["accuracy"]).clip(lower=0.05)  # %; a point without any error needs a place, too
    joules = frame["energy_pj"] * 1e-12
    front = frame["pareto"].astype(bool)
    with drawing(3.6, left=0.12, top_in=0.3) as (figure, axes):
        axes.set_yscale("log")
        by_energy = joules[front].sort_values().index
        axes.step(joules[by_energy], errors[by_energy], where="post", color=PALETTE[7], linewidth=1.2)
        labelled: list[tuple[float, float]] = []
        for place, (spec, rows) in enumerate(frame.groupby("spec", sort=False)):
            color = PALETTE[(2 + place) % len(PALETTE)]
            for index, row in rows.iterrows():
                x, y, name = joules[index], errors[index], f"W{row['weight_bits']}A{row['activation_bits']}"
                face = color if front[index] else "none"
                (point,) = axes.plot(x, y, "o", color=color, markerfacecolor=face, markersize=5)
                tip(point, f"{name} on {spec}: {percent(row['accuracy'], 2)}, {energy(row['energy_pj'])}")
                if front[index] and all(abs(x / a - 1) > 0.13 or abs(math.log(y / b)) > 0.3 for a, b in labelled):
                    labelled.append((x, y))
                    axes.annotate(name, (x, y), (3, 5), textcoords="offset points", fontsize=7)
            axes.plot([], [], "o", color=color, label=str(spec))
        log_axis(axes.yaxis)
        axes.set_yticks([0.1, 1, 10, 50, 90], ["99.9", "99", "90", "50", "10"])
        axes.set_ylim(min(100, max(errors.max(), 2) * 1.5), errors.min() / 1.6)
        si_axis(axes.xaxis, "J")
        axes.grid(True)
        axes.set_xlabel("energy per inference")
        axes.set_ylabel("accuracy, %")
        legend(figure, axes)
        return to_svg(figure, "Accuracy against energy; filled points are on the Pareto front")


def widths_figure(frame: pandas.DataFrame) -> str:
    """Accuracy of every pair of widths, in per cent, on the sweep's first accelerator."""
    from numpy import log10

    spec = frame["spec"].iloc[0]
    grid = frame[frame["spec"] == spec].pivot_table(index="weight_bits", columns="activation_bits", values="accuracy")
    with drawing(max(1.6, 0.3 * len(grid) + 0.7), left=0.12) as (figure, axes):
        nines = -(1.0005 - grid).apply(log10)  # 90 % → 1, 99 % → 2, 99.9 % → 2.8: told apart near the top, too
        axes.pcolormesh(range(grid.shape[1] + 1), range(grid.shape[0] + 1), nines, cmap="YlGnBu_r", vmin=0, vmax=4)
        for row in range(grid.shape[0]):
            for column in range(grid.shape[1]):
                value = grid.iat[row, column]
                if value == value:  # a sweep that did not try every pair leaves some out
                    ink = "#ffffff" if nines.iat[row, column] < 1.6 else "#10151c"
                    text = f"{100 * value:.2f}"
                    axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=ink)
        axes.set_xticks([i + 0.5 for i in range(grid.shape[1])], [str(b) for b in grid.columns])
        axes.set_yticks([i + 0.5 for i in range(grid.shape[0])], [str(b) for b in grid.index])
        axes.tick_params(length=0)
        axes.set_xlabel("activation bits")
        axes.set_ylabel("weight bits")
        return to_svg(figure, f"Accuracy in per cent by weight and activation bits on {spec}")
