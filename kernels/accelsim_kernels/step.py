"""A kernel call with everything prepared but where its operands lie, and how one is run."""

from __future__ import annotations

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

    @property
    def jobs(self) -> int:
        return int(self.arguments[JOBS])

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
        workers = min(_threads.count(), self.jobs)
        count = len(self.arguments)
        counters = workers * LINE
        given = np.empty(count + (counters + workers * self.scratch_bytes + LINE) // 8, np.int64)
        at = address(given)
        self.fill(given, tuple([address(x) for x in inputs]), address(out), at + 8 * count, at + 8 * count + counters)
        given[count : count + counters // 8] = 0
        _threads.run_workers(self.code, at, workers)
        return out
