"""accelsim bench: our kernels beside other libraries, on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from accelsim.cli import _options as options

EXAMPLE = "accelsim bench --suite conv --threads 2"
PANEL = "Look up"


def bench(
    suite: Annotated[
        str,
        typer.Option(
            help="matmul, conv (six layers), layers, networks, all; saturation or activity (beside our exact product)."
        ),
    ] = "conv",
    threads: Annotated[int, typer.Option(min=1, help="Threads of every contender.")] = 1,
    kernel: Annotated[str | None, typer.Option(help="module:function of your own kernel, timed beside.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contender; the best counts.")] = 12,
    as_json: options.Json = False,
) -> None:
    """Time the kernels and whatever peers are installed, after checking that their results are equal."""
    from accelsim import bench as suites
    from accelsim.cli._output import progress, show

    own = suites.load_kernel(kernel) if kernel else None
    with progress("timing", "cases") as advance:
        result = suites.measure(suite, threads, own, rounds, advance)
    show(_table(result), as_json, lambda: result)


def _table(result: dict[str, Any]) -> Any:
    from rich.table import Table

    mean = result["geometric_mean_ratio"]
    title = (
        f"{result['suite']}: {result['isa']}, {result['threads']} thread(s), peak "
        f"{result['peak_gmacs_per_core']:.0f} GMAC/s a core" + (f", mean ratio {mean:.2f}" if mean else "")
    )
    names = list(dict.fromkeys(name for row in result["rows"] for name in row["milliseconds"]))
    caption = ["milliseconds / GMAC/s; ratio: best peer's time over ours"]
    if result["weight_bits"] < 8:
        caption.append(
            f"weights of {result['weight_bits']} bits: some peers saturate sums of two products without VNNI"
        )
    reasons = {f"{name}: {why}" for row in result["rows"] for name, why in row["left_out"].items() if "limited" in why}
    caption += sorted(reasons)
    for kind, summary in result["kinds"].items():
        mean, lowest = summary["geometric_mean_ratio"], summary["lowest_ratio"]
        caption.append(f"{kind}: mean ratio {mean:.3f}, lowest {lowest:.3f} ({summary['lowest']})")
    table = Table(title=title, caption="\n".join(caption))
    for heading in ("case", *names, "of peak", "ratio"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for row in result["rows"]:
        cells = [
            f"{row['milliseconds'][name]:.3f} / {row['gmacs'][name]:.0f}" if name in row["gmacs"] else "–"
            for name in names
        ]
        ratio = f"{row['ratio']:.3f}" if row["ratio"] else "–"
        table.add_row(row["case"], *cells, f"{row['share_of_peak']:.2f}", ratio)
    return table
