"""Closed forms of the dataflows against a walk over every tile, fold and element."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import walk
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.dataflow.machine import machine_of
from accelsim.dataflow.problem import problems_of
from accelsim.dataflow.schedule import schedules
from accelsim.dataflow.tiles import ORDERS, Tiles
from accelsim.hardware import load_spec
from accelsim.shapes import LoopNest

DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")
SIDES = {
    "dram_read": "dram_reads",
    "dram_write": "dram_writes",
    "array_read": "array_reads",
    "array_write": "array_writes",
}


def spec_of(dataflow: str, rows: int, cols: int, overlap: bool, **more):
    return load_spec("micro-8x8").replace(
        **{
            "array.dataflow": dataflow,
            "array.rows": rows,
            "array.cols": cols,
            "array.overlap_folds": overlap,
            **more,
        }
    )


def closed_form(nest: LoopNest, spec, tiles: tuple[int, ...], order: str):
    column = Tiles(*(np.array([v]) for v in (*tiles, ORDERS.index(order))))
    return schedules(problems_of([nest]), column, machine_of(spec))


def compare(nest, dataflow, rows, cols, overlap, tiles, order, **array):
    plan = closed_form(nest, spec_of(dataflow, rows, cols, overlap, **array), tiles, order)
    lanes, steps = machine_of(spec_of(dataflow, rows, cols, overlap, **array)).lanes_and_steps(plan.problems)
    slow = walk(nest, dataflow, rows, cols, overlap, tiles, order, int(lanes[0]), int(steps[0]))
    fast = {
        (side, operand): int(column[0])
        for side, name in SIDES.items()
        for operand, column in getattr(plan.counts, name).items()
        if int(column[0]) and (side, operand) != ("array_read", "bias")
    }
    fast["cycles", ""], fast["folds", ""] = int(plan.counts.cycles[0]), int(plan.counts.folds[0])
    fast["macs", ""] = int(plan.problems.macs[0])
    assert fast == {key: value for key, value in slow.items() if value}
    assert slow["macs", ""] == nest.macs


@st.composite
def cases(draw):
    def small(top):
        return draw(st.integers(1, top))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    c, n, oy, ox, fy, fx, b = small(5), small(5), small(4), small(3), small(3), small(2), small(2)
    stride, dilation = (small(3), small(2)), (small(2), small(2))
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2))
    spare = small(2) - 1
    sizes = []
    for out, filt, s, d, pad in (
        (oy, fy, stride[0], dilation[0], padding[0]),
        (ox, fx, stride[1], dilation[1], padding[1]),
    ):
        sizes.append(max(1, (out - 1) * s + (filt - 1) * d + 1 - sum(pad)) + spare)
    nest = LoopNest(
        b, n * groups, c * groups, oy, ox, fy, fx, groups, stride, dilation, padding, iy=sizes[0], ix=sizes[1]
    )
    pixels = draw(st.sampled_from([(small(b), oy, ox), (1, small(oy), ox), (1, 1, small(ox))]))
    return (
        nest,
        draw(st.sampled_from(DATAFLOWS)),
        small(5),
        small(5),
        draw(st.booleans()),
        (*pixels, small(c), small(n)),
        draw(st.sampled_from(ORDERS)),
    )


@settings(max_examples=100, deadline=None)
@given(cases())
def test_counts_equal_the_walk(case):
    compare(*case)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("order", ORDERS)
def test_ragged_tiles_in_every_order(dataflow, order):
    nest = LoopNest(2, 10, 6, 5, 4, 3, 2, 2, (2, 1), (1, 2), ((1, 0), (1, 1)), iy=11, ix=5)
    compare(nest, dataflow, 4, 3, True, (1, 2, 4, 2, 3), order)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(
    "array",
    [{"array.pe": "fused"}, {"array.pe": "serial"}, {"array.pe": "serial", "array.serial_operand": "both"}],
)
def test_fused_and_serial_elements(dataflow, array):
    nest = LoopNest(1, 4, 5, 3, 3, 3, 3, weight_bits=2, activation_bits=4)
    compare(nest, dataflow, 3, 3, False, (1, 3, 3, 5, 4), "mnk", **array)


def test_depthwise_groups_share_folds_on_the_diagonal():
    nest = LoopNest(1, 32, 32, 8, 8, 3, 3, groups=32, padding=((1, 1), (1, 1)), iy=8, ix=8)
    plan = closed_form(nest, spec_of("weight_stationary", 36, 8, False), (1, 8, 8, 1, 1), "mnk")
    assert plan.counts.folds[0] == 32 // 4
    compare(nest, "weight_stationary", 36, 8, False, (1, 8, 8, 1, 1), "mnk")


def test_columns_limit_how_many_groups_share_a_fold():
    nest = LoopNest(1, 12, 12, 3, 3, 1, 1, groups=6)
    compare(nest, "weight_stationary", 40, 5, True, (1, 3, 3, 2, 2), "mnk")
    plan = closed_form(nest, spec_of("weight_stationary", 40, 5, True), (1, 3, 3, 2, 2), "mnk")
    assert plan.counts.folds[0] == 3


def test_spilled_sums_are_written_and_read_back():
    nest = LoopNest(1, 4, 8, 4, 4)
    plan = closed_form(nest, spec_of("weight_stationary", 2, 2, False), (1, 2, 4, 4, 4), "kmn")
    assert plan.counts.dram_writes["psum"][0] == plan.counts.dram_reads["psum"][0] == nest.output_count
