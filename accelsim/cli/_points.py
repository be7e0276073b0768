"""Progress of many points: done, rate, time left, failures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from accelsim.cli._output import say

EVERY_S = 10.0  # between two lines of a log


class Log:
    """Lines for a file or a pipe: what is done, how fast, how long it will take, what failed.

    The rate is that since the first call: points that were found in a results file came at no speed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: dict[str, tuple[float, int]] = {}
        self._last: dict[str, float] = {}

    def line(self, unit: str, done: int, whole: int, failures: int) -> str | None:
        """What is to be said now; None where the last line is not old."""
        now = self._clock()
        if unit not in self._first:
            self._first[unit] = now, done
            self._last[unit] = now
            return f"{done} of {whole} {unit}"
        if done < whole and now - self._last[unit] < EVERY_S:
            return None
        self._last[unit] = now
        start, before = self._first[unit]
        rate = (done - before) / (now - start) if now > start else 0.0
        parts = [f"{done} of {whole} {unit}"]
        if rate:
            parts.append(f"{rate:.3g} a second")
        if rate and done < whole:
            parts.append(f"{timedelta(seconds=round((whole - done) / rate))} left")
        if failures:
            parts.append(f"{failures} failed")
        return ", ".join(parts)


@contextmanager
def points_progress(what: str | None) -> Iterator[Callable[[str, int, int, int], None]]:
    """Gives a function of (unit, done, in all, failures) that shows a bar per unit on stderr, or now and then a line
    where that is no terminal.
    """
    if what:
        say(what)
    if not sys.stderr.isatty():
        log = Log()

        def announce(unit: str, done: int, whole: int, failures: int) -> None:
            line = log.line(unit, done, whole, failures)
            if line is not None:
                say(line)

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
