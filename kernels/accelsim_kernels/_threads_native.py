"""Handing a kernel's shares to waiting threads without the interpreter. Imported only to compile.

Each helper thread owns a slot of eight int64: state, kernel, arguments, worker, workers. The state of a posted
share is the address of its caller's count of shares under way, which no other call has meanwhile. A helper waits for
work actively for a moment after its last share, so that the next layer finds it awake; then it falls asleep in Python.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import add_to, call, exchange_if, observe, pause, publish, view

ASLEEP, AWAKE, RUNNING, CLAIMED = 0, 1, 2, 3
#: turns of a waiting loop: about a tenth of a millisecond
_PATIENCE = 4000


def serve():
    """Run the share that was posted to the slot at `slot_at`, and others that follow soon; then fall asleep."""

    def kernel(slot_at, unused, unused_too):
        slot = view(slot_at, 8, np.int64)
        turns = 0
        while True:
            under_way = observe(slot_at)
            if under_way > CLAIMED and exchange_if(slot_at, under_way, RUNNING):
                call(slot[1], (slot[2], slot[3], slot[4]))
                publish(slot_at, AWAKE)
                add_to(under_way, np.int64(-1))
                turns = 0
            pause()
            turns += 1
            if turns > _PATIENCE:
                if exchange_if(slot_at, AWAKE, ASLEEP):
                    break
                turns = 0

    return kernel


def share_out():
    """Post shares 1 .. workers - 1 to helpers, run share 0 and what nobody took, and wait for the rest.

    arguments: slots, their number, kernel, its arguments, workers; then shares under way, first share not handed out,
    bits of the slots to wake. phase 0 stops after posting where a helper must be woken from Python, phase 1 goes on
    from there, phase 2 only waits. Waiting ends after a while: shares may still be under way.
    """

    def kernel(arguments, phase, unused):
        given = view(arguments, 8, np.int64)
        under_way_at = arguments + 40
        if phase == 0:
            _post(given, under_way_at)
            if given[7] != 0:
                return
        if phase < 2:
            call(given[2], (given[3], np.int64(0), given[4]))
            for share in range(given[6], given[4]):
                call(given[2], (given[3], share, given[4]))
            _take_back(given, under_way_at)
        turns = 0
        while observe(under_way_at) > 0 and turns < _PATIENCE:
            pause()
            turns += 1

    return kernel


@njit
def _post(given, under_way_at):
    share = np.int64(1)
    for number in range(given[1]):
        if share == given[4]:
            break
        slot_at = given[0] + 64 * number
        if exchange_if(slot_at, AWAKE, CLAIMED) == 0:
            if exchange_if(slot_at, ASLEEP, CLAIMED) == 0:
                continue
            given[7] |= np.int64(1) << number
        slot = view(slot_at, 8, np.int64)
        slot[1], slot[2], slot[3], slot[4] = given[2], given[3], share, given[4]
        add_to(under_way_at, np.int64(1))
        publish(slot_at, under_way_at)
        share += 1
    given[6] = share


@njit
def _take_back(given, under_way_at):
    """Run here what a helper has not begun: it may not have a core."""
    for number in range(given[1]):
        slot_at = given[0] + 64 * number
        if observe(slot_at) == under_way_at:
            share = view(slot_at, 8, np.int64)[3]
            if exchange_if(slot_at, under_way_at, AWAKE):
                call(given[2], (given[3], share, given[4]))
                add_to(under_way_at, np.int64(-1))
