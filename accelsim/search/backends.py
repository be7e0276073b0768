"""Where tasks run: processes of this machine, a dask cluster, a ray cluster. Networks and data travel once."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.search.workers import Outcome, Packed, Work, attempt, cores, from_file, from_packed, from_ray

WAIT_S = 300  # for a worker, where a dask cluster has none left
SETTLE_S = 0.5  # until a dask scheduler knows that a worker is gone

#: ((number, task) of those left, whether each is alone) -> outcomes as they come; raises where a worker is lost
Compute = Callable[[list[tuple[int, Any]], bool], Iterator[Outcome]]


@dataclass(frozen=True)
class Parallel:
    """places: tasks that run at a time, as far as is known at the start."""

    compute: Compute
    places: int


@contextmanager
def here(work: Work, shared: Any) -> Iterator[Parallel]:
    """One task after the other in this process."""
    yield Parallel(lambda left, alone: (attempt(work, shared, number, task) for number, task in left), 1)


@contextmanager
def local(work: Work, shared: Any, processes: int) -> Iterator[Parallel]:
    """Processes of this machine; what they share lies in a file whose arrays they map instead of copying."""
    import joblib

    threads = max(1, cores() // processes)
    with tempfile.TemporaryDirectory(prefix="accelsim-") as folder:
        path = Path(folder) / "shared"
        written: list[Any] = []

        def parallel(left: list[tuple[int, Any]], alone: bool) -> Iterator[Outcome]:
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
            return pool(joblib.delayed(from_file)(work, str(path), n, task, threads, os.getpid()) for n, task in left)

        yield Parallel(parallel, processes)


@contextmanager
def dask(work: Work, shared: Any, address: str | None) -> Iterator[Parallel]:
    """Workers of a dask cluster; what they share is scattered when the first task needs it."""
    try:
        from distributed import Client, as_completed
    except ModuleNotFoundError as error:
        raise AccelsimError("engine 'dask' needs dask: pip install 'accelsim[dask]'") from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise AccelsimError(f"no dask scheduler answers at {address}: {error}") from error
    # bytes stand for what is shared: a worker unpacks them once, however many tasks read them
    packed = Packed.of(shared)
    scattered: list[Any] = []

    def parallel(left: list[tuple[int, Any]], alone: bool) -> Iterator[Outcome]:
        # joblib's backend for dask computes here where only one worker is left: its client's own calls never do
        try:
            client.wait_for_workers(1, timeout=WAIT_S)
        except TimeoutError as error:
            raise AccelsimError(
                f"the dask scheduler at {address} has had no worker for {WAIT_S} s: start some with "
                f"`dask worker {address}`"
            ) from error
        tasks: list[Any] = []
        try:
            if not scattered:
                # to one worker; each other fetches it once, with its first task. A broadcast never ends where one of
                # the workers dies meanwhile (dask's `replicate` goes on waiting for it)
                scattered.append(client.scatter(packed, hash=False))
            tasks += [client.submit(from_packed, work, scattered[0], n, task, pure=False) for n, task in left]
            for finished in as_completed(tasks, loop=client.loop):
                yield finished.result()
        except Exception:
            scattered.clear()  # what was shared may have been lost with the workers
            time.sleep(SETTLE_S)
            raise
        finally:
            client.cancel(tasks)

    try:
        yield Parallel(parallel, max(1, sum(client.nthreads().values())))
    finally:
        client.close(timeout=5)


@contextmanager
def ray(work: Work, shared: Any, address: str | None) -> Iterator[Parallel]:
    """Workers of a ray cluster, or of one that is started on this machine and ends with the block."""
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
        # ray's backend for joblib gives results only when all are there: its own calls give each at once
        whole = Packed.of(shared)
        packed = ray.put(whole)
        try_one = ray.remote(max_retries=0)(from_ray)

        def parallel(left: list[tuple[int, Any]], alone: bool) -> Iterator[Outcome]:
            waiting = [try_one.remote(work, whole.token, [packed], number, task) for number, task in left]
            while waiting:
                finished, waiting = ray.wait(waiting)
                yield ray.get(finished[0])

        yield Parallel(parallel, max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        if started:
            ray.shutdown()
