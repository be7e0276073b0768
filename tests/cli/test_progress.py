"""What a log says of many points: what is done, how fast, how long it will take, what failed."""

from __future__ import annotations

from accelsim.cli._points import EVERY_S, Log


def test_lines_come_now_and_then_and_the_last_one_always() -> None:
    now = [100.0]
    log = Log(lambda: now[0])
    assert log.line("points", 40, 210, 0) == "40 of 210 points"  # found in the results file: no rate yet
    now[0] += EVERY_S / 2
    assert log.line("points", 60, 210, 0) is None
    now[0] += EVERY_S / 2
    assert log.line("points", 80, 210, 1) == "80 of 210 points, 4 a second, 0:00:32 left, 1 failed"
    assert log.line("points", 81, 210, 1) is None
    assert log.line("simulations", 1, 4, 0) == "1 of 4 simulations"  # each unit by itself
    now[0] += 1
    assert log.line("points", 210, 210, 2) == "210 of 210 points, 15.5 a second, 2 failed"
