"""Timing side by side: rounds over all contenders, so that a busy machine troubles all alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

#: seconds that one contender's turn should take at least
TURN_S = 0.01
#: seconds after which the threads of the contender before no longer wait actively on a core
PAUSE_S = 0.04


def side_by_side(
    contenders: dict[str, Callable[[], Any]], rounds: int = 12, threads: int = 1
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds per call of each contender, the best and the median of its turns."""
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            if threads > 1:
                time.sleep(PAUSE_S)
            run()
            once = _timed(run, 1)
            turns[name] += [once, _timed(run, max(1, int(TURN_S / once)))]
    return {name: min(own) for name, own in turns.items()}, {name: float(np.median(own)) for name, own in turns.items()}


def _timed(run: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def peak_gmacs(rounds: int = 5) -> float:
    """Billions of MAC per second and core of a loop of dot products on operands in the nearest cache."""
    from accelsim_kernels import simd
    from accelsim_kernels._jit import address, kernel
    from accelsim_kernels.simd_peak import shape

    engine = simd.engine(simd.current(), True)
    rows, columns = shape(engine)
    call, repeats, best = kernel("simd_peak", "peak", engine.name).call, 1 << 16, float("inf")
    out = np.ones((rows + columns) * engine.lanes, np.int32)
    for _ in range(rounds):
        best = min(best, _timed(lambda: call(repeats, address(out), 0), 3))
    return repeats * rows * columns * engine.lanes * engine.unit / best / 1e9
