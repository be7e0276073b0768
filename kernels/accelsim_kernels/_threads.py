"""Running a kernel on several cores."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import threading
import time
from collections.abc import Callable

import numpy as np

from accelsim_kernels._jit import Kernel, address, kernel
from accelsim_kernels.settings import SettingError

#: the bits of one int64 name the helpers to wake
_MOST = 60


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
            raise SettingError(f"ACCELSIM_THREADS must be a number of threads in [1, {_MOST}], not {chosen!r}")
        return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST)


def run(code: Kernel, job: Callable[[int], tuple[np.ndarray, object]], work: int) -> None:
    """Run `code` on job(workers) -> (arguments, what to keep alive), on several cores if there is much work."""
    workers = count() if work > 1 << 17 else 1
    arguments, held = job(workers)
    run_workers(code, address(arguments), workers)
    del held


def run_workers(code: Kernel, arguments: int, workers: int) -> None:
    """Run `code` on the arguments at that address for every worker at once; return when all are done.

    Safe from several Python threads: helpers that another call holds are not waited for, their shares run here.
    """
    if workers == 1:
        code.call(arguments, 0, 1)
        return
    team = _team()
    team.grow(workers - 1)
    try:
        words, at = _own.words, _own.at
    except AttributeError:
        _own.memory = np.zeros(8, np.int64)
        words, at = _own.words, _own.at = memoryview(_own.memory), address(_own.memory)
    words[0], words[1], words[2], words[3] = team.slots_at, team.size, code.address, arguments
    words[4], words[5], words[6], words[7] = workers, 0, 1, 0
    team.share_out.call(at, 0, 0)
    if words[7]:
        team.wake(words[7])
        team.share_out.call(at, 1, 0)
    while words[5] > 0:
        time.sleep(0)
        team.share_out.call(at, 2, 0)


#: each calling thread's arguments of share_out: no helper touches them once the call is over
_own = threading.local()


class _Team:
    """Helper threads, started when first needed and never stopped; one slot each (see _threads_native)."""

    def __init__(self) -> None:
        self._room = np.zeros(8 * (_MOST + 1), np.int64)
        self.slots_at = (address(self._room) + 63) // 64 * 64
        self.share_out, self._serve = kernel("_threads_native", "share_out"), kernel("_threads_native", "serve")
        self._bells: list[queue.SimpleQueue] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return len(self._bells)

    def grow(self, helpers: int) -> None:
        """Have at least that many helpers."""
        if self.size >= helpers:
            return
        serve = self._serve.call
        with self._lock:
            while self.size < helpers:
                bell: queue.SimpleQueue = queue.SimpleQueue()
                slot_at = self.slots_at + 64 * self.size
                thread = threading.Thread(
                    target=_help, args=(bell, serve, slot_at), name=f"accelsim-kernel-{self.size}", daemon=True
                )
                thread.start()
                self._threads.append(thread)
                self._bells.append(bell)

    def wake(self, slots: int) -> None:
        """Ring for the helpers whose bits are set, away from the caller's core.

        A scheduler likes to wake a thread where its waker runs; as both then wait actively for one another, it takes
        milliseconds until it moves one of them.
        """
        elsewhere = _other_cores()
        for number in range(slots.bit_length()):
            if slots >> number & 1:
                if elsewhere:
                    _keep_to(self._threads[number], elsewhere)
                self._bells[number].put(None)


@functools.cache
def _current_core() -> Callable[[], int] | None:
    """The C library's sched_getcpu; None where there is none, or threads cannot be kept to cores."""
    import ctypes

    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        return ctypes.CDLL(None).sched_getcpu
    except (OSError, AttributeError):
        return None


def _other_cores() -> set[int]:
    """Cores that this thread may run on, without the one it is on; empty where that cannot be known."""
    current = _current_core()
    return os.sched_getaffinity(0) - {current()} if current else set()


def _keep_to(thread: threading.Thread, cores: set[int]) -> None:
    with contextlib.suppress(OSError):  # where it is not allowed: slower at first, never wrong
        os.sched_setaffinity(thread.native_id or 0, cores)


def _help(bell: queue.SimpleQueue, serve: Callable[[int, int, int], None], slot_at: int) -> None:
    while True:
        bell.get()
        serve(slot_at, 0, 0)


@functools.cache
def _team() -> _Team:
    return _Team()


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's helpers
    os.register_at_fork(after_in_child=_team.cache_clear)
