"""Several prepared steps as one call: no interpreter between them, intermediate tensors in memory that is kept.

Samples are independent of one another. Where there are as many as threads, each thread computes whole samples, so that
nothing is shared; what is left is computed by all threads together, step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from accelsim_kernels import _threads
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.step import LINE, Step

#: lanes that wait for the next call, and the memory above which one is not kept
_MOST_LANES, _MOST_BYTES = 8, 1 << 28
_LANE, _STEP, _PATCH = 4, 4, 3  # int64 words, as _program_native reads them


class Wired(NamedTuple):
    """A step with the names of the tensors that it reads and defines."""

    step: Step
    inputs: tuple[str, ...]
    output: str


class Program:
    """Steps on one sample, run on any number of samples.

    wired: in the order of execution. inputs: name -> bytes of a sample, of tensors that come from outside.
    outputs: names of tensors that are wanted outside. workers: threads that the steps are cut for.
    """

    def __init__(self, wired: Sequence[Wired], inputs: Mapping[str, int], outputs: Sequence[str], workers: int) -> None:
        self.workers = workers
        self._wired = tuple(wired)
        self._outside = dict(inputs) | {output: step.out_bytes for step, _, output in self._wired if output in outputs}
        self._places, self._arena_bytes = _arrange(self._wired, self._outside)
        self._lanes: list[_Lane] = []

    def run(self, tensors: Mapping[str, np.ndarray], first: int, end: int) -> None:
        """Compute samples first .. end of the arrays that hold the inputs and outputs, batch first, C-contiguous."""
        lanes = [self._take() for _ in range(1 if self.workers > 1 else min(_threads.count(), end - first))]
        for lane in lanes:
            lane.point(tensors)
        if self.workers > 1:
            room = np.zeros(24, np.int64)
            gate = (address(room) + LINE - 1) // LINE * LINE
            given = np.array([gate, first, end, address(lanes[0].words)], np.int64)
            _threads.run_workers(kernel("_program_native", "run_steps"), address(given), self.workers)
        else:
            table = np.concatenate([lane.words for lane in lanes])
            counter = np.array([first], np.int64)
            given = np.array([address(counter), end, address(table)], np.int64)
            _threads.run_workers(kernel("_program_native", "run_samples"), address(given), len(lanes))
        self._lanes += [lane for lane in lanes if len(self._lanes) < _MOST_LANES and lane.size <= _MOST_BYTES]

    def _take(self) -> _Lane:
        """A lane that no other call uses."""
        try:
            return self._lanes.pop()
        except IndexError:
            return _Lane(self._wired, self._outside, self._places, self._arena_bytes, self.workers)


class _Lane:
    """Memory and arguments with which one sample is computed; `words` describe it to the native loop."""

    def __init__(
        self,
        wired: Sequence[Wired],
        outside: Mapping[str, int],
        places: Mapping[str, int],
        arena_bytes: int,
        workers: int,
    ) -> None:
        scratch = _whole(max((step.scratch_bytes for step, _, _ in wired), default=0)) * workers
        words = sum(_whole(8 * len(step.arguments)) + LINE * workers for step, _, _ in wired)
        self.size = arena_bytes + scratch + words + 2 * LINE
        self._memory = np.zeros(self.size // 8, np.int64)
        arena = _whole(address(self._memory))
        scratch_at = arena + arena_bytes
        at = scratch_at + scratch
        self._table = np.empty((len(wired), _STEP), np.int64)
        moving: list[tuple[int, str]] = []
        for row, (step, sources, output) in zip(self._table, wired, strict=True):
            counter, at = at, at + LINE * workers
            given = self._memory[(at - address(self._memory)) // 8 :]
            inputs = tuple([arena + places.get(name, 0) for name in sources])
            step.fill(given, inputs, arena + places.get(output, 0), counter, scratch_at)
            operands = (*zip(step.inputs, sources, strict=True), (step.output, output))
            moving += [(at + 8 * position, name) for position, name in operands if name in outside]
            row[:] = step.code.address, at, step.jobs, counter
            at += _whole(8 * len(step.arguments))
        self._moving = [name for _, name in moving]
        self._patches = np.array([(to, 0, outside[name]) for to, name in moving], np.int64).reshape(-1, _PATCH)
        self.words = np.array([len(wired), address(self._table), len(moving), address(self._patches)], np.int64)

    def point(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Let the arguments that come from outside refer to these arrays."""
        for row, name in zip(self._patches, self._moving, strict=True):
            row[1] = address(tensors[name])


def _whole(size: int) -> int:
    return (size + LINE - 1) // LINE * LINE


def _arrange(wired: Sequence[Wired], outside: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """(offset of each tensor inside, bytes of all): memory is used again after a tensor's last reader."""
    last = {name: number for number, (_, sources, _) in enumerate(wired) for name in sources}
    places: dict[str, int] = {}
    alive: list[tuple[int, int, int]] = []  # offset, end, last reader
    size = 0
    for number, (step, _, output) in enumerate(wired):
        alive = [one for one in alive if one[2] >= number]
        if output in outside:
            continue
        bytes_, at = _whole(step.out_bytes), 0
        for offset, end, _ in sorted(alive):
            if offset - at >= bytes_:
                break
            at = max(at, end)
        places[output] = at
        alive.append((at, at + bytes_, last.get(output, number)))
        size = max(size, at + bytes_)
    return places, size
