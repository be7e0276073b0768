"""Any accumulator, one addition at a time: the general path, over several output channels. Imported only to compile.

Serves every combination of levels, order, bias and zero points, any operand dtype, with events; what has a faster
form is handled elsewhere and falls back to this. Equations A1 to A5 of kernels/README.md.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import call, next_job, view
from accelsim_kernels.mac_general import EVENT, FATAL, LEVEL_WORDS, Gen


@njit
def _add(held, sums, flags, level):
    """One addition to a level (minimum, maximum, saturates, raises, span): clipped at once, or exact until emptied."""
    low, high = level[0], level[1]
    mark = EVENT | (FATAL * level[3])
    for j in range(len(sums)):
        total = held[j] + sums[j]
        kept = min(max(total, low), high)
        flags[j] |= mark * (kept != total)
        held[j] = kept if level[2] else total


@njit
def _add_wide(held, carry, sums, sums_carry, flags, level):
    """_add where numbers reach beyond int64: each is low bits and a carry, its value low + carry * 2**64."""
    low, high = level[0], level[1]
    mark = EVENT | (FATAL * level[3])
    for j in range(len(sums)):
        total = held[j] + sums[j]
        over = ((held[j] ^ total) & (sums[j] ^ total)) < 0
        beyond = carry[j] + sums_carry[j] + over * (1 - 2 * (held[j] < 0))
        outside = (beyond != 0) | (total < low) | (total > high)
        flags[j] |= mark * outside
        if level[2]:
            nearest = high if beyond > 0 or (beyond == 0 and total > high) else low
            held[j], carry[j] = nearest if outside else total, 0
        else:
            held[j], carry[j] = total, beyond


@njit
def _empty(held, sums, level):
    """Move what a level holds to the sums and clear it."""
    low, mask = level[0], level[1] - level[0]
    for j in range(len(sums)):
        sums[j] = held[j] if level[2] else ((held[j] - low) & mask) + low
        held[j] = 0


@njit
def _products(window, weights, lanes, weight_bytes, first, end, sums):
    """The exact sum of some products in every lane."""
    for j in range(lanes):
        sums[j] = 0
    for k in range(first, end):
        x = np.int64(window[k])
        if weight_bytes == 2:
            short = view(weights + 2 * k * lanes, lanes, np.int16)
            for j in range(lanes):
                sums[j] += x * short[j]
        else:
            long = view(weights + 4 * k * lanes, lanes, np.int32)
            for j in range(lanes):
                sums[j] += x * long[j]


@njit
def _gather(given, window, image, oy, ox, group):
    """The activations of one output in (fy, fx, c) order, minus given[Gen.subtract]; returns their sum."""
    channels, at, total = given[Gen.group_channels], np.int64(0), np.int64(0)
    for ky in range(given[Gen.fy]):
        y = oy * given[Gen.stride_y] + ky * given[Gen.dilation_y] - given[Gen.pad_top]
        for kx in range(given[Gen.fx]):
            x = ox * given[Gen.stride_x] + kx * given[Gen.dilation_x] - given[Gen.pad_left]
            if 0 <= y < given[Gen.in_y] and 0 <= x < given[Gen.in_x]:
                source = given[Gen.x] + image * given[Gen.x_image] + y * given[Gen.x_row] + x * given[Gen.x_column]
                step = given[Gen.x_channel]
                _read(given, source + group * channels * step, step, window[at : at + channels])
            else:
                for c in range(channels):
                    window[at + c] = given[Gen.fill]
            at += channels
    for k in range(at):
        total += window[k]
    return total


@njit
def _read(given, source, step, to):
    """Items of one or two bytes, `step` bytes apart."""
    subtract = given[Gen.subtract]
    if given[Gen.x_bytes] == 1:
        for c in range(len(to)):
            byte = view(source + c * step, 1, np.uint8)[0]
            to[c] = (np.int64(np.int8(byte)) if given[Gen.x_signed] else np.int64(byte)) - subtract
    else:
        for c in range(len(to)):
            pair = view(source + c * step, 2, np.uint8)
            word = np.uint16(pair[0]) | np.uint16(pair[1]) << np.uint16(8)
            to[c] = (np.int64(np.int16(word)) if given[Gen.x_signed] else np.int64(word)) - subtract


def walk_rows(lanes: int, narrow: bool, wide: bool):
    """Output rows of a layer; the arguments are named in mac_general.Gen.

    narrow: the innermost level's lanes have 32 bits. wide: the outermost level's exact sums may leave int64; those of
    the levels inside it, sums of products, never do.
    """
    count = len(Gen)
    kind = np.int32 if narrow else np.int64

    @njit
    def level_of(given, number):
        return view(given[Gen.levels] + number * LEVEL_WORDS * 8, LEVEL_WORDS, np.int64)

    @njit
    def room(given, state, number):
        return view(state + 8 * number * lanes, lanes, np.int64)

    @njit
    def start(given, state, group, block, total, flags, sums, carry, sums_carry):
        """Add bias and corrections to the outermost level."""
        last = given[Gen.level_count] - 1
        rule, place = level_of(given, last), 8 * lanes * (group * given[Gen.blocks] + block)
        initial = view(given[Gen.initial] + place, lanes, np.int64)
        fixed = view(given[Gen.fixed] + place, lanes, np.int64)
        factor = view(given[Gen.factor] + place, lanes, np.int64)
        for j in range(lanes):
            correction = fixed[j] - total * factor[j]
            sums[j] = initial[j] + correction
            over = ((initial[j] ^ sums[j]) & (correction ^ sums[j])) < 0
            sums_carry[j] = over * (1 - 2 * (correction < 0))
        if wide:
            _add_wide(room(given, state, last), carry, sums, sums_carry, flags, rule)
            for j in range(lanes):
                sums_carry[j] = 0
        elif last == 0:
            _add(view(state, lanes, kind), sums, flags, rule)
        else:
            _add(room(given, state, last), sums, flags, rule)

    @njit
    def one_block(given, window, state, total, group, block, out, events):
        levels, depth = given[Gen.level_count], given[Gen.depth]
        flags, sums = room(given, state, levels), room(given, state, levels + 1)
        carry, sums_carry = room(given, state, levels + 2), room(given, state, levels + 3)
        seen_at = state + 8 * (levels + 4) * lanes
        everything = view(state, (levels + 5) * lanes, np.int64)
        for i in range(len(everything)):
            everything[i] = 0
        innermost = level_of(given, 0)
        alone = levels == 1
        weights = given[Gen.weights] + given[Gen.block_bytes] * (group * given[Gen.blocks] + block)
        if given[Gen.after] == 0:
            start(given, state, group, block, total, flags, sums, carry, sums_carry)
        position = np.int64(0)
        while position < depth:
            stop = min(depth, (position // innermost[4] + 1) * innermost[4])
            if wide and alone:
                while position < stop:
                    end = min(position + given[Gen.group], stop)
                    _products(
                        view(window, depth, np.int32), weights, lanes, given[Gen.weight_bytes], position, end, sums
                    )
                    _add_wide(room(given, state, 0), carry, sums, sums_carry, flags, innermost)
                    position = end
                continue
            call(
                given[Gen.segment],
                (window, position, stop, given[Gen.group], weights, state, seen_at, given[Gen.low], given[Gen.high]),
            )
            position = stop
            if alone:
                continue
            _empty(view(state, lanes, kind), sums, innermost)
            for number in range(1, levels):
                rule, held = level_of(given, number), room(given, state, number)
                if wide and number == levels - 1:
                    _add_wide(held, carry, sums, sums_carry, flags, rule)
                else:
                    _add(held, sums, flags, rule)
                if number == levels - 1 or (position % rule[4] != 0 and position != depth):
                    break
                _empty(held, sums, rule)
        if given[Gen.after]:
            start(given, state, group, block, total, flags, sums, carry, sums_carry)
        if alone and not wide:
            _empty(view(state, lanes, kind), sums, innermost)
        else:
            _empty(room(given, state, levels - 1), sums, level_of(given, levels - 1))
        width = min(lanes, given[Gen.group_outputs] - block * lanes)
        if given[Gen.events]:
            mark = EVENT | (FATAL * innermost[3])
            seen, marks = view(seen_at, lanes, kind), view(events + block * lanes, width, np.uint8)
            for j in range(width):
                marks[j] = flags[j] | mark * (seen[j] != 0)
        if given[Gen.out_bytes] == 4:
            short = view(out + 4 * block * lanes, width, np.int32)
            for j in range(width):
                short[j] = sums[j]
        else:
            long = view(out + 8 * block * lanes, width, np.int64)
            for j in range(width):
                long[j] = sums[j]

    def kernel(arguments, worker, workers):
        given = view(arguments, count, np.int64)
        window_at = given[Gen.scratch] + worker * given[Gen.scratch_bytes]
        state = window_at + given[Gen.state_at]
        window = view(window_at, given[Gen.depth], np.int32)
        rows, jobs = given[Gen.rows], given[Gen.jobs]
        while True:
            job = next_job(given[Gen.counter], jobs, worker, workers)
            if job < 0:
                break
            for row in range(rows * job // jobs, rows * (job + 1) // jobs):
                image, oy = row // given[Gen.out_y], row % given[Gen.out_y]
                for ox in range(given[Gen.out_x]):
                    pixel = row * given[Gen.out_x] + ox
                    for group in range(given[Gen.groups]):
                        total = _gather(given, window, image, oy, ox, group)
                        place = pixel * given[Gen.out_channels] + group * given[Gen.group_outputs]
                        out, events = given[Gen.out] + place * given[Gen.out_bytes], given[Gen.events] + place
                        for block in range(given[Gen.blocks]):
                            one_block(given, window_at, state, total, group, block, out, events)

    return kernel
