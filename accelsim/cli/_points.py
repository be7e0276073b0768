"""Progress of many points: done, rate, time left, failures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from accelsim.cli._output import say


@contextmanager
def points_progress(what: str | None) -> Iterator[Callable[[str, int, int, int], None]]:
    """Gives a function of (unit, done, in all, failures) that shows a bar per unit on stderr, or a line where that is
    no terminal.
    """
    if what:
        say(what)
    if not sys.stderr.isatty():
        said: set[str] = set()

        def announce(unit: str, done: int, whole: int, failures: int) -> None:
            if unit not in said:
                said.add(unit)
                say(f"{whole} {unit}")

        yield announce
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def advance(unit: str, done: int, whole: int, failures: int) -> None:
            if unit not in tasks:
                tasks[unit] = bar.add_task(unit, total=whole, rate="", failed="", completed=0)
            task = next(t for t in bar.tasks if t.id == tasks[unit])
            speed = task.speed
            bar.update(
                tasks[unit],
                completed=done,
                total=whole,
                rate=f"{speed:.3g} a second" if speed else "",
                failed=f"{failures} failed" if failures else "",
            )

        yield advance
