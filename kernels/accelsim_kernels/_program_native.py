"""Running a list of prepared steps without the interpreter between them. Imported only to compile.

A lane is what one worker needs to compute one sample: int64 number of steps, address of the table of steps, number of
patches, address of the table of patches. A step is its kernel, its arguments, its jobs and its counter; a patch is the
address of an argument that moves from sample to sample, its value for sample 0, and what is added for each sample.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import add_to, call, next_index, observe, publish, view, wait_a_turn

LANE, STEP, PATCH = 4, 4, 3
CLOSED, OVER = 0, -1


def run_samples():
    """Whole samples off a shared counter, each worker in its own lane.

    arguments: address of the counter, one after the last sample, address of the lanes.
    """

    def kernel(arguments, worker, workers):
        given = view(arguments, 3, np.int64)
        lane = view(given[2], LANE * workers, np.int64)[LANE * worker : LANE * worker + LANE]
        steps = view(lane[1], STEP * lane[0], np.int64)
        while True:
            sample = next_index(given[0])
            if sample >= given[1]:
                break
            _move(lane, sample)
            for number in range(lane[0]):
                step = steps[STEP * number : STEP * number + STEP]
                view(step[3], 1, np.int64)[0] = 0
                call(step[0], (step[1], np.int64(0), np.int64(1)))

    return kernel


def run_steps():
    """Samples one after the other, every worker taking jobs of the same step.

    Worker 0 opens a step to the others by publishing its number at the gate, works on it, closes the gate and waits for
    those that are inside. Nobody waits for a worker that has not come: it may not have a core.
    arguments: address of the gate (with the number of workers inside, a cache line further), samples from, to,
    address of the one lane.
    """

    def kernel(arguments, worker, workers):
        given = view(arguments, 4, np.int64)
        gate = given[0]
        lane = view(given[3], LANE, np.int64)
        steps = view(lane[1], STEP * lane[0], np.int64)
        if worker > 0:
            _follow(gate, steps, worker, workers)
            return
        opened = np.int64(0)
        for sample in range(given[1], given[2]):
            _move(lane, sample)
            for number in range(lane[0]):
                step = steps[STEP * number : STEP * number + STEP]
                for share in range(workers):
                    view(step[3] + 64 * share, 1, np.int64)[0] = 0
                if step[2] == 1:
                    call(step[0], (step[1], np.int64(0), np.int64(1)))
                    continue
                opened += 1
                publish(gate, opened * lane[0] + number)
                call(step[0], (step[1], np.int64(0), workers))
                publish(gate, CLOSED)
                turns = np.int64(0)
                while observe(gate + 64) != 0:
                    turns = wait_a_turn(turns)
        publish(gate, OVER)

    return kernel


@njit
def _follow(gate, steps, worker, workers):
    done = np.int64(CLOSED)
    count, turns = len(steps) // STEP, np.int64(0)
    while True:
        at = observe(gate)
        if at == OVER:
            break
        if at in (CLOSED, done):
            turns = wait_a_turn(turns)
            continue
        turns = np.int64(0)
        add_to(gate + 64, np.int64(1))
        if observe(gate) == at:  # it was open after we were counted: whoever closed it waits for us
            number = at % count
            call(steps[STEP * number], (steps[STEP * number + 1], worker, workers))
            done = at
        add_to(gate + 64, np.int64(-1))


@njit
def _move(lane, sample):
    """Set the arguments that depend on the sample."""
    patches = view(lane[3], PATCH * lane[2], np.int64)
    for number in range(lane[2]):
        patch = patches[PATCH * number : PATCH * number + PATCH]
        view(patch[0], 1, np.int64)[0] = patch[1] + sample * patch[2]
