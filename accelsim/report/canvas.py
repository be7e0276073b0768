"""What every figure shares: a canvas with fixed margins, stacked bars, SI axes, SVG for inline use."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from accelsim.report.units import si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, _GRID = "#010203", "#040506"  # stand-ins that the page replaces by its own colours
_WIDTH_IN = 5.2
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp and readable by machines
    "font.size": 8.5,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _GRID,
    "xtick.labelcolor": INK,
    "ytick.color": _GRID,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
# told apart with any of the common colour deficiencies, readable on white and on black
PALETTE = (
    *("#d55e00", "#e6a323", "#3b8fd0", "#2aa58a", "#8c6bb1", "#cc79a7"),
    *("#7f9c2f", "#8a8f98", "#b5654a", "#4a62a8", "#c2b73b", "#5fb8c4", "#9b4f76"),
)
_FIXED = {"mac": "#d55e00", "accumulator": "#e6a323", "leakage": "#8a8f98"}
OPERAND_COLORS = {"weight": "#8c6bb1", "input": "#3b8fd0", "output": "#2aa58a", "psum": "#e6a323"}


@contextmanager
def drawing(
    height_in: float, *, left: float, top_in: float = 0.1, columns: Sequence[float] = (1,)
) -> Iterator[tuple[Figure, Any]]:
    """A figure with margins given in numbers: measuring text to lay it out would double the drawing time."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height_in))
        panels = figure.subplots(1, len(columns), width_ratios=columns, squeeze=False)[0]
        bottom = 0.42 / height_in if height_in > 1.2 else 0.22 / height_in
        figure.subplots_adjust(left=left, right=0.965, top=1 - top_in / height_in, bottom=bottom, wspace=0.08)
        yield figure, panels[0] if len(columns) == 1 else panels


def to_svg(figure: Figure, title: str) -> str:
    """Inline SVG: with a title, the page's font and ink, the ids in use only, and no fixed size."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):  # ids that differ between figures, not between runs
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", svg)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = svg.replace(INK, "currentColor").replace(_GRID, "var(--line)")
    label = f'<svg role="img" aria-label={quoteattr(title)}'
    return svg.replace("<svg", label, 1).replace(">", f"><title>{escape(title)}</title>", 1)


def tip(artist: Any, text: str) -> None:
    """What a browser shows over this mark (an id until `to_svg` turns it into a title)."""
    artist.set_gid(f"tip:{text}")


def stack(axes: Axes, start: list[float], widths: list[float], color: str, label: str, tips: list[str]) -> list[float]:
    """Bars from `start`, those without width left out; returns where they end."""
    shown = [place for place, width in enumerate(widths) if width > 0]
    bars = axes.barh(
        shown,
        [widths[i] for i in shown],
        left=[start[i] for i in shown],
        height=0.72,
        color=color,
        label=label,
    )
    for bar, place in zip(bars, shown, strict=True):
        tip(bar, tips[place])
    return [a + b for a, b in zip(start, widths, strict=True)]


def name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks([])  # plain texts instead: a tick takes five artists, and most of the time of a figure
    beside = axes.get_yaxis_transform()
    for place, name in enumerate(names):
        axes.text(-0.012, place, _short(name), transform=beside, ha="right", va="center")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x")


def _short(name: str, longest: int = 26) -> str:
    return name if len(name) <= longest else "…" + name[1 - longest :]


def name_margin(names: list[str]) -> float:
    """Share of the width that the longest name takes at 8.5 points."""
    longest = max((len(_short(name)) for name in names), default=0)
    return min(0.45, (longest * 4.9 + 12) / (72 * _WIDTH_IN))


def rows_height(names: list[str], each_in: float = 0.21) -> float:
    return each_in * len(names) + 0.2


def component_colors(components: list[str]) -> list[str]:
    free: Iterator[str] = iter([c for c in PALETTE if c not in _FIXED.values()] * 3)
    return [_FIXED.get(component) or next(free) for component in components]


def unit_scale(values: Sequence[float], unit: str) -> tuple[float, str]:
    """(factor, unit with prefix) in which the largest value reads well."""
    shown = si(max(values, default=0.0) or 1.0, unit)
    prefixed = shown.split(" ")[1]
    return _FACTORS[prefixed.removesuffix(unit)], prefixed


_FACTORS: Mapping[str, float] = {
    "f": 1e15,
    "p": 1e12,
    "n": 1e9,
    "µ": 1e6,
    "m": 1e3,
    "": 1.0,
    "k": 1e-3,
    "M": 1e-6,
}


def si_axis(axis: Any, unit: str = "") -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _place: _short_si(value, unit)))


def log_axis(axis: Any, unit: str = "") -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_minor_locator(NullLocator())  # dozens of marks that cost more time than the figure
    si_axis(axis, unit)


def _short_si(value: float, unit: str) -> str:
    """1 000 → "1 k", 1 500 → "1.5 k"."""
    text, _, prefixed = si(value, unit).partition(" ")
    return f"{float(text):g} {prefixed}".strip()


def legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", ncols=min(5, len(labels)), fontsize=7.5, handlelength=0.9,
        columnspacing=1.0, handletextpad=0.4, borderaxespad=0.1, bbox_to_anchor=(0.01, 0.995),
    )  # fmt: skip
