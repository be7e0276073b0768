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
from accelsim.versions import computing

#: (shared, task) -> value
Work = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What became of the task of that number: its value, or what went wrong.

    error: the message of an AccelsimError, of anything else the traceback; traceback: of both, where something was
    raised.
    """

    number: int
    value: Any = None
    error: str = ""
    traceback: str = ""


def attempt(work: Work, shared: Any, number: int, task: Any) -> Outcome:
    """The outcome of one task; what it raises is in it."""
    try:
        return Outcome(number, work(shared, task))
    except Exception as error:
        return Outcome(number, None, *told(error))


def told(error: Exception) -> tuple[str, str]:
    """(what a reader is told first, the traceback) of an exception that is being handled."""
    whole = traceback.format_exc()
    return (str(error) if isinstance(error, AccelsimError) else "") or whole, whole


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


KEPT = 2  # studies whose shared things a worker keeps: two drivers may take turns on it
_kept: dict[str, Any] = {}  # by path or token, the latest last
_keeping = threading.Lock()  # a dask worker runs tasks in threads


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

    _share_cores(None)
    return attempt(work, _once(packed.token, lambda: packed.opened(get_worker().address)), number, task)


def from_ray(work: Work, token: str, packed: list[Any], number: int, task: Any) -> Outcome:
    """A task of a ray worker. packed: a reference to what is shared; token: its own, so that it is fetched once."""
    import ray

    def opened() -> Any:
        return ray.get(packed[0]).opened(ray.util.get_node_ip_address())

    _share_cores(None)
    return attempt(work, _once(token, opened), number, task)


@dataclass(frozen=True, eq=False)
class Packed:
    """Something pickled, with a token by which a worker knows it again: it is unpacked once in each.

    computing: what the driver computes with; a worker must have the same.
    """

    token: str
    data: bytes
    computing: dict[str, str]

    @classmethod
    def of(cls, shared: Any) -> Packed:
        from uuid import uuid4

        return cls(uuid4().hex, pickle.dumps(shared, protocol=5), computing())

    def opened(self, place: str) -> Any:
        """Raises AccelsimError where this worker, called by its place, would not compute what the driver would."""
        mine = computing()
        names = sorted(self.computing.keys() | mine.keys())
        other = [name for name in names if self.computing.get(name) != mine.get(name)]
        if other:
            what = ", ".join(f"{name} {mine.get(name)} (the driver: {self.computing.get(name)})" for name in other)
            raise AccelsimError(f"the worker at {place} computes with {what}: install the same versions on both")
        return pickle.loads(self.data)

    def __sizeof__(self) -> int:
        return len(self.data)


def _once(token: str, make: Callable[[], Any]) -> Any:
    with _keeping:
        if token not in _kept:
            value = make()
            while len(_kept) >= KEPT:
                del _kept[next(iter(_kept))]
            _kept[token] = value
        return _kept[token]


def _share_cores(threads: int | None) -> None:
    """This worker's part of the machine. None: a core for each task, as clusters count them, or ACCELSIM_THREADS."""
    from accelsim_kernels import set_threads

    if threads is None:
        threads = int(os.environ.get("ACCELSIM_THREADS") or 1)
    set_threads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
