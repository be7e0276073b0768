"""A kernel call with everything prepared but where its operands lie, and how one is run."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import numpy as np

from accelsim_kernels import _threads
from accelsim_kernels._jit import Kernel, address

#: positions in the arguments of every kernel of a step: the address of its counters of jobs (see _memory.next_job), and
#: how many jobs there are
COUNTER, JOBS = 0, 1
#: bytes from one worker's counter to the next
LINE = 64
#: memory that a step keeps for its next call
_KEPT_BYTES = 1 << 18


@dataclass(frozen=True, eq=False)
class Step:
    """One operator on C-contiguous arrays of fixed shapes, cut into jobs that any number of workers take.

    code: takes (arguments, worker, workers). arguments: int64, complete but for the addresses of the counter, the
    operands, the output and the scratch memory. inputs, output, scratch: positions of the latter in the arguments.
    scratch_bytes: for each worker. shape, dtype: of the output. held: what the arguments point to.
    """

    code: Kernel
    arguments: np.ndarray
    inputs: tuple[int, ...]
    output: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scratch: int | None = None
    scratch_bytes: int = 0
    held: object = field(default=None, repr=False)

    @functools.cached_property
    def jobs(self) -> int:
        return int(self.arguments[JOBS])

    @functools.cached_property
    def _rooms(self) -> list[_Room]:
        """What the last call used, unless another call uses it now."""
        return []

    @property
    def out_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def fill(self, given: np.ndarray, inputs: tuple[int, ...], output: int, counter: int, scratch: int) -> None:
        """Write the arguments to `given`, with these addresses of the operands, output, counter and scratch memory."""
        given[: len(self.arguments)] = self.arguments
        given[COUNTER], given[self.output] = counter, output
        for position, at in zip(self.inputs, inputs, strict=True):
            given[position] = at
        if self.scratch is not None:
            given[self.scratch] = scratch

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Run on C-contiguous arrays of the prepared shapes and dtypes; a fresh output."""
        out = np.empty(self.shape, self.dtype)
        workers = _threads.count()
        if workers > self.jobs:
            workers = self.jobs
        rooms = self._rooms
        room = rooms.pop() if rooms else None
        if room is None or room.workers < workers:
            room = _Room(self, workers)
        words, positions = room.words, self.inputs
        for number, x in enumerate(inputs):  # a strict zip takes as long as an address
            words[positions[number]] = address(x)
        words[self.output] = address(out)
        for counter in room.counters:
            words[counter] = 0
        _threads.run_workers(self.code, room.at, workers)
        if room.small and not rooms:
            rooms.append(room)
        return out


class _Room:
    """Arguments, counters and scratch memory of a call by itself: filling them in costs as much as a small layer."""

    def __init__(self, step: Step, workers: int) -> None:
        count = len(step.arguments)
        counters = workers * LINE
        self._memory = np.empty(count + (counters + workers * step.scratch_bytes + LINE) // 8, np.int64)
        self.at, self.workers = address(self._memory), workers
        self.counters = range(count, count + counters // 8, LINE // 8)
        self.small = self._memory.nbytes <= _KEPT_BYTES
        at = self.at + 8 * count
        step.fill(self._memory, (0,) * len(step.inputs), 0, at, at + counters)
        #: Python's view of the memory is several times as fast as NumPy's for single words
        self.words = memoryview(self._memory)
