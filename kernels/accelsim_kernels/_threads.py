"""Running a kernel on several cores."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from accelsim_kernels._jit import Kernel, address

_MOST = 64


_chosen = 0


def set_threads(threads: int | None) -> None:
    """Use that many threads in every kernel from now on; None goes back to the default."""
    global _chosen
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= _MOST):
        raise ValueError(f"threads must lie in [1, {_MOST}] or be None, not {threads!r}")
    _chosen = threads or 0


def count() -> int:
    """Threads in use: set_threads, else ACCELSIM_THREADS, else the cores that this process may run on."""
    return _chosen or _default()


@functools.cache
def _default() -> int:
    chosen = os.environ.get("ACCELSIM_THREADS")
    if chosen:
        if not chosen.isdecimal() or not 1 <= int(chosen) <= _MOST:
            raise ValueError(f"ACCELSIM_THREADS must be a number of threads in [1, {_MOST}], not {chosen!r}")
        return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST)


def run(kernel: Kernel, job: Callable[[int], tuple[np.ndarray, object]], work: int) -> None:
    """Run `kernel` on job(workers) -> (arguments, what to keep alive), on several cores if there is much work."""
    workers = count() if work > 1 << 17 else 1
    arguments, held = job(workers)
    run_workers(kernel, address(arguments), workers)
    del held


def run_workers(kernel: Kernel, arguments: int, workers: int) -> None:
    """Run the kernel on the arguments at that address for every worker at once; return when all are done."""
    if workers == 1:
        kernel.call(arguments, 0, 1)
        return
    others = [_pool().submit(kernel.call, arguments, i, workers) for i in range(1, workers)]
    kernel.call(arguments, 0, workers)
    for other in others:
        other.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST, "accelsim-kernel")
