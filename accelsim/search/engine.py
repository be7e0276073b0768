"""Independent tasks on the cores of this machine or on a cluster: outcomes as they come.

A task that raises does not stop the others. Where a worker process dies, what was in flight is computed again; what
dies again and again is reported as failed.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelsim.errors import AccelsimError

#: "local": processes of this machine; "dask", "ray": the cluster that an address names
ENGINES = ("local", "dask", "ray")
ATTEMPTS = 3  # losses of a worker without a task finished in between, before the tasks left are tried alone

#: (shared, task) -> value
Work = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What became of the task of that number: its value, or the traceback of what it raised."""

    number: int
    value: Any = None
    error: str = ""


def run_tasks(
    work: Work,
    shared: Any,
    tasks: Sequence[Any],
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
) -> Iterator[Outcome]:
    """One Outcome per task, in the order in which they finish.

    work: a function that a worker can import. shared: what every task needs; it travels once per worker.
    workers: processes of engine "local" (default: one per core, and no more than tasks; 1 stays in this process).
    address: of the dask scheduler ("host:port") or the ray cluster; ray starts one of its own where none is given.
    Raises AccelsimError for an unknown engine, or a cluster that cannot be reached.
    """
    check_engine(engine, workers, address)
    if engine == "local":
        processes = min(workers or cores(), len(tasks))
        if processes <= 1:
            yield from (_attempt(work, shared, number, task) for number, task in enumerate(tasks))
            return
        backend = _local(processes)
    else:
        backend = _dask(address) if engine == "dask" else _ray(address)
    with backend as parallel:
        yield from _until_done(parallel, work, shared, tasks)


def check_engine(engine: str, workers: int | None, address: str | None) -> None:
    if engine not in ENGINES:
        raise AccelsimError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
    if workers is not None and (engine != "local" or workers < 1):
        raise AccelsimError("workers is the number of processes of engine 'local', at least 1; a cluster has its own")
    if engine == "local" and address is not None:
        raise AccelsimError("an address belongs to engine 'dask' or 'ray', not to 'local'")
    if engine == "dask" and address is None:
        raise AccelsimError(
            "engine 'dask' needs the scheduler's address: start one with `dask scheduler` and workers with "
            "`dask worker HOST:8786`, then pass address='HOST:8786'"
        )


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _attempt(work: Work, shared: Any, number: int, task: Any) -> Outcome:
    try:
        return Outcome(number, work(shared, task))
    except Exception as error:
        text = str(error) if isinstance(error, AccelsimError) else ""
        return Outcome(number, error=text or traceback.format_exc())


#: (work, shared, (number, task) of those left, one at a time) -> outcomes as they come
Parallel = Callable[[Work, Any, list[tuple[int, Any]], bool], Iterator[Outcome]]


def _until_done(parallel: Parallel, work: Work, shared: Any, tasks: Sequence[Any]) -> Iterator[Outcome]:
    left = dict(enumerate(tasks))
    losses = 0
    while left and losses < ATTEMPTS:
        try:
            for outcome in parallel(work, shared, list(left.items()), False):
                del left[outcome.number]
                losses = 0
                yield outcome
        except Exception as error:
            # outcomes carry what a task raised: this is a worker, or the way to it, that was lost
            losses += 1
            lost = error
    for number, task in left.items():
        try:
            yield from parallel(work, shared, [(number, task)], True)
        except Exception as error:
            yield Outcome(number, error=f"the worker was lost each time it was tried: {error or lost}")


@contextmanager
def _local(processes: int) -> Iterator[Parallel]:
    """Processes of this machine; what they share lies in a file whose arrays they map instead of copying."""
    import joblib

    threads = max(1, cores() // processes)
    with tempfile.TemporaryDirectory(prefix="accelsim-") as folder:
        path = Path(folder) / "shared"
        written: list[Any] = []

        def parallel(work: Work, shared: Any, left: list[tuple[int, Any]], alone: bool) -> Iterator[Outcome]:
            if not written:
                written.append(joblib.dump(shared, path))
            # loky runs a single job in the calling process: two keep a task that kills its process away from here
            jobs = 2 if alone else min(processes, max(2, len(left)))
            pool = joblib.Parallel(
                n_jobs=jobs,
                backend="loky",
                batch_size=1,
                return_as="generator_unordered",
                inner_max_num_threads=threads,
            )
            return pool(joblib.delayed(_from_file)(work, str(path), n, task, threads) for n, task in left)

        yield parallel


@contextmanager
def _dask(address: str | None) -> Iterator[Parallel]:
    import joblib

    try:
        from dask.distributed import Client
    except ModuleNotFoundError as error:
        raise AccelsimError("engine 'dask' needs dask: pip install 'accelsim[dask]'") from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise AccelsimError(f"no dask scheduler answers at {address}: {error}") from error
    try:

        def parallel(work: Work, shared: Any, left: list[tuple[int, Any]], alone: bool) -> Iterator[Outcome]:
            # bytes stand for what is shared: a worker unpacks them once, however many tasks read them
            packed = _Packed.of(shared)
            with joblib.parallel_config("dask", client=client, scatter=[packed]):
                pool = joblib.Parallel(batch_size=1, return_as="generator_unordered", pre_dispatch="all")
                yield from pool(joblib.delayed(_from_packed)(work, packed, n, task) for n, task in left)

        yield parallel
    finally:
        client.close(timeout=5)


@contextmanager
def _ray(address: str | None) -> Iterator[Parallel]:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise AccelsimError("engine 'ray' needs ray: pip install 'accelsim[ray]'") from error
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError) as error:
            raise AccelsimError(f"no ray cluster answers at {address}: {error}") from error
    try:

        def parallel(work: Work, shared: Any, left: list[tuple[int, Any]], alone: bool) -> Iterator[Outcome]:
            # ray's backend for joblib gives results only when all are there: its own calls give each at once
            packed = ray.put(_Packed.of(shared))
            attempt = ray.remote(max_retries=0)(_from_ray)
            waiting = [attempt.remote(work, [packed], number, task) for number, task in left]
            while waiting:
                finished, waiting = ray.wait(waiting)
                yield ray.get(finished[0])

        yield parallel
    finally:
        if started:
            ray.shutdown()


_kept: dict[str, Any] = {}  # of this worker: what its last call shared, by path or token


def _from_file(work: Work, path: str, number: int, task: Any, threads: int) -> Outcome:
    import joblib

    _share_cores(threads)
    return _attempt(work, _once(path, lambda: joblib.load(path, mmap_mode="r")), number, task)


def _from_packed(work: Work, packed: _Packed, number: int, task: Any) -> Outcome:
    from distributed import get_worker

    _share_cores(max(1, cores() // get_worker().state.nthreads))
    return _attempt(work, packed.open(), number, task)


def _from_ray(work: Work, packed: list[Any], number: int, task: Any) -> Outcome:
    import ray

    _share_cores(1)
    return _attempt(work, ray.get(packed[0]).open(), number, task)


@dataclass(frozen=True, eq=False)
class _Packed:
    """Something pickled, with a token by which a worker knows it again."""

    token: str
    data: bytes

    @classmethod
    def of(cls, shared: Any) -> _Packed:
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
    import sys

    from accelsim_kernels import set_threads

    set_threads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
