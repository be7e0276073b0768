"""Independent tasks on the cores of this machine or on a cluster: outcomes as they come.

A task that raises does not stop the others. Where a worker process dies, what was in flight is computed again; what
dies again and again is reported as failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.search import backends
from accelsim.search.workers import Outcome, Work, cores

#: "local": processes of this machine; "dask", "ray": the cluster that an address names
ENGINES = ("local", "dask", "ray")
ATTEMPTS = 3  # losses of a worker without a task finished in between, before the tasks left are tried alone


class Run:
    """Called with tasks, again and again: one Outcome each, in the order in which they finish.

    places: tasks that run at a time.
    """

    def __init__(self, parallel: backends.Parallel) -> None:
        self.places = parallel.places
        self._compute = parallel.compute

    def __call__(self, tasks: Sequence[Any]) -> Iterator[Outcome]:
        return _until_done(self._compute, tasks)


@contextmanager
def crew(
    work: Work,
    shared: Any,
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    most: int | None = None,
) -> Iterator[Run]:
    """Workers that stay for several batches of tasks: what is shared travels to each of them once.

    work: a function that a worker can import. shared: what every task needs. workers: processes of engine "local"
    (default: one per core; 1 stays in this process). address: of the dask scheduler ("host:port") or the ray cluster;
    ray starts one of its own where none is given. most: tasks in all, where that is known: no more processes than
    that. Raises AccelsimError for an unknown engine, or a cluster that cannot be reached.
    """
    check_engine(engine, workers, address)
    if engine == "dask":
        where = backends.dask(work, shared, address)
    elif engine == "ray":
        where = backends.ray(work, shared, address)
    else:
        processes = workers or cores()
        processes = processes if most is None else min(processes, most)
        where = backends.local(work, shared, processes) if processes > 1 else backends.here(work, shared)
    with where as parallel:
        yield Run(parallel)


def run_tasks(work: Work, shared: Any, tasks: Sequence[Any], **where: Any) -> Iterator[Outcome]:
    """One Outcome per task, in the order in which they finish. where: engine, workers, address as in `crew`."""
    with crew(work, shared, most=len(tasks), **where) as run:
        yield from run(tasks)


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


def _until_done(compute: backends.Compute, tasks: Sequence[Any]) -> Iterator[Outcome]:
    left = dict(enumerate(tasks))
    losses = 0
    while left and losses < ATTEMPTS:
        try:
            for outcome in compute(list(left.items()), False):
                del left[outcome.number]
                losses = 0
                yield outcome
        except AccelsimError:
            raise  # there is no cluster any more
        except Exception as error:
            # outcomes carry what a task raised: this is a worker, or the way to it, that was lost
            losses += 1
            lost = error
    for number, task in left.items():
        try:
            yield from compute([(number, task)], True)
        except AccelsimError:
            raise
        except Exception as error:
            yield Outcome(number, error=f"the worker was lost each time it was tried: {error or lost}")
