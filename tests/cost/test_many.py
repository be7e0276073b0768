"""Bulk pricing equals pricing one by one."""

from __future__ import annotations

import numpy as np
import pytest
from networks import mobilenet_v2

from accelsim.dataflow.problem import problems_of
from accelsim.dataflow.tiles import whole
from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.pricing import cost_many, price
from accelsim.shapes import LoopNest

NESTS = [nest for _, _, nest in mobilenet_v2(32) if isinstance(nest, LoopNest)][:12]


def specs():
    big = {"memories.buffer.size_bytes": 2**24, "memories.buffer.word_bits": 64}
    edge = load_spec("edge-16x16").replace(**big, **{"memories.accumulators.size_bytes": 2**22})
    some = [
        edge,
        edge.replace(**{"array.rows": 8}),
        edge.replace(**{"array.cols": 64, "array.accumulators.bits": 24}),
        edge.replace(**{"memories.dram.bandwidth_bytes_per_cycle": 2, "clock_hz": 1e8}),
    ]
    return [
        *some,
        *(s.replace(**{"array.pe": "serial"}) for s in some),
        load_spec("micro-8x8").replace(**{"memories.buffer.size_bytes": 2**24}),
    ]


def test_equals_pricing_one_by_one():
    costs = cost_many(NESTS, specs())
    assert len(costs.energy_pj) == len(NESTS) * 9 and costs.fits.all()
    for i in range(0, len(costs.layer), 7):
        nest, spec = NESTS[costs.layer[i]], specs()[costs.spec[i]]
        report = price([("layer", "conv2d", nest)], spec, tiles=whole(problems_of([nest])))
        assert costs.energy_pj[i] == pytest.approx(report.total_energy_pj)
        assert costs.mac_energy_pj[i] == pytest.approx(report.mac_energy_pj)
        assert costs.latency_cycles[i] == report.latency_cycles
        assert costs.dram_bytes[i] == report.dram_bytes
        assert costs.area_mm2[costs.spec[i]] == pytest.approx(report.total_area_mm2)


def test_pairs_are_priced_as_named():
    every = cost_many(NESTS, specs())
    some = cost_many(NESTS, specs(), pairs=(np.array([3, 0]), np.array([8, 2])))
    where = [
        np.flatnonzero((every.layer == 3) & (every.spec == 8))[0],
        np.flatnonzero((every.layer == 0) & (every.spec == 2))[0],
    ]
    assert np.array_equal(some.energy_pj, every.energy_pj[where])
    with pytest.raises(AccelsimError, match="pairs"):
        cost_many(NESTS, specs(), pairs=(np.array([99]), np.array([0])))
