"""What verbs print: results on stdout (JSON where asked), everything else on stderr."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from accelsim.report import Report


def show(result: Any, as_json: bool, data: Callable[[], Any]) -> None:
    """Print what rich can render, or `data()` as one JSON document."""
    if as_json:
        print(json.dumps(data(), indent=1, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 110)  # a file or a pipe has no width of its own
    console.print(result)


def show_report(report: Report, as_json: bool, out: Path | None) -> None:
    """Print a report and write its file."""
    from dataclasses import replace

    from accelsim.report.text import render

    report = replace(report, command=command_line())
    if out is not None:
        say(f"wrote {report.save(out)}")
    show(render(report), as_json, report.to_dict)


def command_line() -> str:
    return shlex.join(["accelsim", *sys.argv[1:]])


def say(text: str) -> None:
    """A line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function of (done, in all) that shows a bar on stderr, or one line where that is no terminal.

    Nothing is shown where it is never called.
    """
    if not sys.stderr.isatty():
        said: list[str] = []

        def announce(done: int, whole: int) -> None:
            if not said:
                said.append(what)
                say(what)

        yield announce
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, visible=False)
        yield lambda done, whole: bar.update(task, completed=done, total=whole, visible=True)
