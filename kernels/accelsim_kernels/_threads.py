"""Running a kernel on several cores."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from accelsim_kernels._jit import Kernel


def count() -> int:
    """Threads in use: ACCELSIM_THREADS if set, else the cores that this process may run on."""
    chosen = os.environ.get("ACCELSIM_THREADS")
    if chosen:
        if not chosen.isdecimal() or int(chosen) < 1:
            raise ValueError(f"ACCELSIM_THREADS must be a number of threads, not {chosen!r}")
        return int(chosen)
    return _cores()


@functools.cache
def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(kernel: Kernel, job: Callable[[int], tuple[np.ndarray, object]], work: int) -> None:
    """Run `kernel` on job(workers) -> (arguments, what to keep alive), on several cores if there is much work."""
    workers = count() if work > 1 << 17 else 1
    arguments, held = job(workers)
    run_workers(kernel, arguments, workers)
    del held


def run_workers(kernel: Kernel, arguments: np.ndarray, workers: int) -> None:
    """Run kernel(arguments, i, workers) for every i < workers at once; return when all have."""
    if workers == 1:
        kernel(arguments, 0, 1)
        return
    others = [_pool().submit(kernel, arguments, i, workers) for i in range(1, workers)]
    kernel(arguments, 0, workers)
    for other in others:
        other.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(64, "accelsim-kernel")
