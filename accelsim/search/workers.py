"""What happens inside a worker: a task's outcome, what tasks share, the worker's part of the machine."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelsim.errors import AccelsimError

#: (shared, task) -> value
Work = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What became of the task of that number: its value, or the traceback of what it raised."""

    number: int
    value: Any = None
    error: str = ""


def attempt(work: Work, shared: Any, number: int, task: Any) -> Outcome:
    """The outcome of one task; what it raises is in it."""
    try:
        return Outcome(number, work(shared, task))
    except Exception as error:
        text = str(error) if isinstance(error, AccelsimError) else ""
        return Outcome(number, error=text or traceback.format_exc())


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_watched: set[int] = set()


def _end_with(driver: int, folder: Path) -> None:
    """A driver that was killed leaves neither workers nor files behind."""
    while os.getppid() == driver:
        time.sleep(1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


_kept: dict[str, Any] = {}  # of this worker: what its last call shared, by path or token


def from_file(work: Work, path: str, number: int, task: Any, threads: int, driver: int) -> Outcome:
    """A task whose shared arrays lie in a file of this machine and are mapped, not copied.

    driver: the process that waits for the outcome; where it dies, so does this one.
    """
    import joblib

    if driver not in _watched:
        _watched.add(driver)
        threading.Thread(target=_end_with, args=(driver, Path(path).parent), daemon=True).start()
    _share_cores(threads)
    return attempt(work, _once(path, lambda: joblib.load(path, mmap_mode="r")), number, task)


def from_packed(work: Work, packed: Packed, number: int, task: Any) -> Outcome:
    """A task of a dask worker."""
    from distributed import get_worker

    _share_cores(max(1, cores() // get_worker().state.nthreads))
    return attempt(work, packed.open(), number, task)


def from_ray(work: Work, packed: list[Any], number: int, task: Any) -> Outcome:
    """A task of a ray worker: packed holds a reference to what is shared."""
    import ray

    _share_cores(1)
    return attempt(work, ray.get(packed[0]).open(), number, task)


@dataclass(frozen=True, eq=False)
class Packed:
    """Something pickled, with a token by which a worker knows it again: it is unpacked once in each."""

    token: str
    data: bytes

    @classmethod
    def of(cls, shared: Any) -> Packed:
        from uuid import uuid4

        return cls(uuid4().hex, pickle.dumps(shared, protocol=5))

    def open(self) -> Any:
        return _once(self.token, lambda: pickle.loads(self.data))

    def __sizeof__(self) -> int:
        return len(self.data)


def _once(token: str, make: Callable[[], Any]) -> Any:
    if token not in _kept:
        value = make()
        _kept.clear()
        _kept[token] = value
    return _kept[token]


def _share_cores(threads: int) -> None:
    """This worker's part of the machine."""
    from accelsim_kernels import set_threads

    set_threads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
