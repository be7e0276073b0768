"""Steps of the tile loops, the DMA engine and ways of a shared buffer, against a walk over every step."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import conv

from accelsim.dataflow.machine import machine_of
from accelsim.dataflow.problem import problems_of
from accelsim.dataflow.schedule import schedules
from accelsim.dataflow.tiles import ORDERS, Tiles
from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.mapping import price_tiled
from accelsim.pricing import price
from accelsim.shapes import LoopNest

OPERANDS = {"input": "mk", "weight": "nk", "output": "mn", "psum": "mn"}


def walk(order, trips, groups, tiles_cycles, work, buffered):
    """Latency of the steps, one by one; tiles_cycles: of one transfer of each operand's tile."""
    held = dict.fromkeys(OPERANDS)
    loads = []
    for group, *at in product(range(groups), *(range(trips[loop]) for loop in order)):
        place = dict(zip(order, at, strict=True))
        load = 0.0
        for operand, loops in OPERANDS.items():
            here = (group, *(place[loop] for loop in loops))
            if here != held[operand]:
                held[operand] = here
                load += tiles_cycles[operand]
        loads.append(load)
    apart = work * len(loads) + sum(loads)
    ends = sum(cycles for operand, cycles in tiles_cycles.items() if operand != "psum")
    hidden = sum(max(work, load) for load in loads) + ends
    return len(loads), apart if not buffered else min(apart, hidden)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_latency_equals_a_walk_over_the_steps(data):
    draw = data.draw
    order = draw(st.sampled_from(ORDERS))
    nest = LoopNest(
        draw(st.integers(1, 4)), 8, draw(st.sampled_from([4, 12])), oy=4, fy=3, padding=((1, 1), (0, 0)), iy=4
    )
    groups = 1
    ty, tc, tn = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([2, 4])), draw(st.sampled_from([2, 4, 8]))
    setup, outstanding = draw(st.sampled_from([0, 7, 40])), draw(st.sampled_from([1, 2, 8]))
    rate, buffered = draw(st.sampled_from([0.25, 2.0, 64.0])), draw(st.booleans())
    spec = load_spec("micro-8x8").replace(
        **{
            "memories.dram.bandwidth_bytes_per_cycle": rate,
            "memories.dram.burst_bytes": 1,
            "memories.buffer.double_buffered": buffered,
            "dma.setup_cycles": setup,
            "dma.outstanding": outstanding,
        }
    )
    column = Tiles(*(np.array([v]) for v in (1, ty, 1, tc, tn, ORDERS.index(order))))
    plan = schedules(problems_of([nest]), column, machine_of(spec))
    trips = {"m": nest.b * 4 // ty, "n": 8 // tn, "k": nest.c // tc}
    moved = dict.fromkeys(OPERANDS, 0.0)
    for side in (plan.counts.dram_reads, plan.counts.dram_writes):
        for operand, elements in side.items():
            bits = {"psum": 32, "bias": 32}.get(operand, 8)
            moved["weight" if operand == "bias" else operand] += float(elements[0]) * bits
    times = {}
    for operand in OPERANDS:  # how often a tile is moved: once per change of its indices
        seen, held = 0, None
        for at in product(*(range(trips[loop]) for loop in order)):
            place = dict(zip(order, at, strict=True))
            here = tuple(place[loop] for loop in OPERANDS[operand])
            seen, held = seen + (here != held), here
        times[operand] = seen

    def cycles(bits):
        moving = bits / 8 / rate
        return max(moving, (setup + moving) / outstanding) if bits else 0.0

    tile_cycles = {o: cycles(moved[o] / times[o]) for o in OPERANDS}
    steps = plan.steps.row(0)
    busy = steps.work_cycles * steps.count
    count, latency = walk(order, trips, groups, tile_cycles, steps.work_cycles, buffered)
    assert steps.count == count
    assert int(plan.latency_cycles[0]) == pytest.approx(max(busy, math.ceil(latency - 1e-6)), abs=1)
    kinds = steps.kinds_between(0, steps.count)
    assert sum(n * size for n, size in zip(kinds, steps.load_bytes, strict=True)) == pytest.approx(
        sum(moved.values()) / 8
    )
    middle = draw(st.integers(0, steps.count))
    halves = zip(steps.kinds_between(0, middle), steps.kinds_between(middle, steps.count), strict=True)
    assert tuple(a + b for a, b in halves) == kinds


def test_set_up_slows_and_outstanding_transfers_hide_it():
    layers = [("conv", "conv2d", conv(32, 32, 64, 3))]
    tiling = {"conv": {"ty": 4, "tn": 16}}
    base = load_spec("edge-16x16")

    def cycles(**changes):
        return price_tiled(layers, base.replace(**changes), tiling).latency_cycles

    free = cycles()
    slow = [cycles(**{"dma.setup_cycles": n}) for n in (10, 100, 1000)]
    assert free <= slow[0] <= slow[1] < slow[2]
    hidden = [cycles(**{"dma.setup_cycles": 1000, "dma.outstanding": n}) for n in (1, 2, 8)]
    assert hidden[0] > hidden[1] > hidden[2] >= free
    narrow = {"dma.bytes_per_cycle": 1}
    assert cycles(**narrow) == cycles(**{"memories.dram.bandwidth_bytes_per_cycle": 1}) > free
    assert cycles(**{"dma.bytes_per_cycle": 1000}) == free, "the link itself is slower"
    roof = price_tiled(layers, base.replace(**narrow), tiling).roofline()[0]
    assert roof["attainable_ops_per_s"] <= roof["ops_per_byte"] * base.clock_hz


def test_ways_bound_each_operand():
    layers = [("conv", "conv2d", conv(28, 64, 128, 3))]
    shared = price(layers, "edge-16x16")
    spec = load_spec("edge-16x16").replace(**{"memories.buffer.ways": {"weight": 1, "input": 6, "output": 1}})
    report = price(layers, spec)
    assert report.dram_bytes >= shared.dram_bytes and report.total_energy_pj >= shared.total_energy_pj
    tiling = report.layers[0].tiling
    weights = tiling["tc"] * 9 * tiling["tn"]
    assert weights + 4 * tiling["tn"] <= 262144 / 8
    with pytest.raises(AccelsimError, match="its tiles need"):
        price_tiled(layers, spec, {"conv": {}})  # all weights at once: 72 KiB in a way of 32
    assert price_tiled(layers, "edge-16x16", {"conv": {"ty": 14}}).total_energy_pj > 0


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        ({"weight": 1, "input": 2}, "ways of output are missing"),
        ({"weight": 1, "input": 2, "output": 1, "psum": 1}, "operands that it holds"),
        ({"weight": 0, "input": 2, "output": 1}, "greater than or equal to 1"),
    ],
)
def test_wrong_ways_are_named(ways, words):
    with pytest.raises(AccelsimError, match=words):
        load_spec("edge-16x16").replace(**{"memories.buffer.ways": ways})


def test_bandwidth_beyond_the_ports_is_said():
    spec = load_spec("edge-16x16").replace(**{"memories.buffer.banks": 1})
    notes = price([("c", "conv2d", conv(8, 8, 8, 3))], spec).notes
    assert any("'buffer' states 64 bytes per cycle; its banks, ports and words make 16" in note for note in notes)
