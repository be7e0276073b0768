"""Closed forms of the row-stationary dataflow against a walk over its passes, elements and registers."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
from brute_force import blocks
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.dataflow.machine import machine_of
from accelsim.dataflow.problem import problems_of
from accelsim.dataflow.row_stationary import sets_of
from accelsim.dataflow.schedule import schedules
from accelsim.dataflow.tiles import ORDERS, Tiles
from accelsim.hardware import load_spec
from accelsim.shapes import LoopNest


def spec_of(rows, cols, inputs, weights, sums):
    return load_spec("eyeriss-v1").replace(
        **{
            "array.rows": rows,
            "array.cols": cols,
            "array.efficiency": 1.0,
            "memories.ifmap_spad.size_bytes": 2 * inputs,
            "memories.filter_spad.size_bytes": 2 * weights,
            "memories.psum_spad.size_bytes": 2 * sums,
        }
    )


def walk(nest: LoopNest, tiles, laid, load_elements: int) -> Counter:
    """Passes one by one: inputs enter once per pass, sums return once per block of channels."""
    tb, ty, tx, tc, tn = tiles
    e, r, t, q, p, folds = laid
    count: Counter = Counter()
    for _ in range(nest.groups):
        partial: dict[tuple, int] = {}
        for bs, ys, xs, ns, cs in product(
            blocks(nest.b, tb),
            blocks(nest.oy, ty),
            blocks(nest.ox, tx),
            blocks(nest.n, tn),
            blocks(nest.c // nest.groups, tc),
        ):
            strips = blocks(len(ys), e)
            count["weight"] += len(ns) * len(cs) * nest.fy * nest.fx * len(strips)
            for strip, f_block, c_block in product(strips, blocks(len(ns), p * t), blocks(len(cs), r * q)):
                out = [ys[i] for i in strip]
                touched = 1
                for axis, (span, filt, size) in enumerate(((out, nest.fy, nest.iy), (list(xs), nest.fx, nest.ix))):
                    first = span[0] * nest.stride[axis] - nest.padding[axis][0]
                    last = span[-1] * nest.stride[axis] - nest.padding[axis][0] + (filt - 1) * nest.dilation[axis]
                    touched *= len([i for i in range(first, last + 1) if 0 <= i < size])
                count["input"] += len(bs) * len(c_block) * touched
                # every element slides q windows of fx under p filters along the row, image after image
                count["cycles"] += len(bs) * len(xs) * q * nest.fx * p * folds
                for b, y, x, f in product(bs, out, xs, f_block):
                    key = (b, y, x, ns[f])
                    count["psum_back"] += key in partial
                    partial[key] = partial.get(key, 0) + len(c_block)
        assert all(done == nest.c // nest.groups for done in partial.values())
        assert len(partial) == nest.m * nest.n
    count["cycles"] += -(-count["weight"] * 16 // load_elements)
    return count


@st.composite
def cases(draw):
    def small(top):
        return draw(st.integers(1, top))

    groups, c, n, b = draw(st.sampled_from([1, 1, 2])), small(6), small(6), small(2)
    oy, ox, fy, fx = small(6), small(4), small(3), small(3)
    pad = ((draw(st.integers(0, 1)), draw(st.integers(0, 1))), (draw(st.integers(0, 1)), 0))
    stride, dilation = (small(2), small(2)), (small(2), 1)
    sizes = [
        max(1, (o - 1) * s + (f - 1) * d + 1 - sum(side))
        for o, f, s, d, side in zip((oy, ox), (fy, fx), stride, dilation, pad, strict=True)
    ]
    nest = LoopNest(b, n * groups, c * groups, oy, ox, fy, fx, groups, stride, dilation, pad, 16, 16, 16, 0, *sizes)
    pixels = draw(st.sampled_from([(small(b), small(oy), ox), (1, small(oy), small(ox))]))
    spec = spec_of(small(6), small(5), 1 + small(8), 4 + small(20), small(6))
    return nest, spec, (*pixels, small(c), small(n))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_counts_equal_the_walk(case):
    nest, spec, tiles = case
    problems, machine = problems_of([nest]), machine_of(spec)
    column = Tiles(*(np.array([v]) for v in (*tiles, ORDERS.index("mnk"))))
    plan = schedules(problems, column, machine)
    laid = [int(np.ravel(v)[0]) for v in vars(sets_of(problems, column, machine)).values()]
    e, r, t, q, p, _ = laid
    # what is laid on the array fits it: sets of fy × e elements, and the registers of each element
    assert q * nest.fx <= max(nest.fx, machine.registers_of("input") - 1)
    assert p <= machine.registers_of("psum") or p == 1
    assert p * q * nest.fx <= max(q * nest.fx, machine.registers_of("weight"))
    assert r * t * min(nest.fy, spec.array.rows) * e <= max(spec.array.pes, min(nest.fy, spec.array.rows) * e)
    slow = walk(nest, tiles, laid, spec.array.load_bits_per_cycle)
    reads = {operand: int(v[0]) for operand, v in plan.counts.array_reads.items()}
    assert reads["input"] == slow["input"] and reads["weight"] == slow["weight"]
    assert reads["psum"] == slow["psum_back"] == int(plan.counts.array_writes["psum"][0])
    assert int(plan.counts.cycles[0]) == slow["cycles"]
