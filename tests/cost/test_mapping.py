"""The tiling search against exhaustion of every tile in every order."""

from __future__ import annotations

import numpy as np
import pytest
from networks import conv, mobilenet_v2

from accelsim.dataflow.candidates import exhaustive_of, tiles_from
from accelsim.dataflow.machine import machine_of
from accelsim.dataflow.problem import problems_of
from accelsim.dataflow.schedule import schedules
from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.mapping import price_tiled, search
from accelsim.pricing import energy, price
from accelsim.pricing.rates import rates_of
from accelsim.shapes import LoopNest

TINY = load_spec("micro-8x8").replace(**{"memories.buffer.size_bytes": 256, "array.rows": 4, "array.cols": 4})
NESTS = {
    "conv": conv(5, 4, 8, 3),
    "strided": conv(8, 6, 4, 3, 2),
    "depthwise": conv(6, 8, 8, 3, groups=8),
    "pointwise": conv(4, 12, 16, 1),
    "linear": LoopNest(6, 20, 24),
    "batch": LoopNest(3, 4, 4, 3, 3, 3, 3, padding=((1, 1), (1, 1)), iy=3, ix=3),
}


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("name", NESTS)
def test_never_worse_than_exhaustion(name, dataflow):
    spec = TINY.replace(**{"array.dataflow": dataflow})
    machine, problems = machine_of(spec), problems_of([NESTS[name]])
    table = exhaustive_of(problems, 0)
    plan = schedules(problems.take(np.zeros(len(table), dtype=int)), tiles_from(table), machine)
    total = energy.total_of(energy.schedule_terms(plan, machine, rates_of(spec)))
    for objective, value in (
        ("energy", total),
        ("latency", plan.latency_cycles),
        ("edp", total * plan.latency_cycles),
    ):
        best = float(np.min(value[plan.fits]))
        report = search([(name, "conv2d", NESTS[name])], spec, objective=objective, budget=len(table))
        found = {
            "energy": report.total_energy_pj,
            "latency": report.latency_cycles,
            "edp": report.total_energy_pj * report.latency_cycles,
        }[objective]
        assert found <= best * (1 + 1e-9)
        quick = price([(name, "conv2d", NESTS[name])], spec, objective=objective)
        quick = {
            "energy": quick.total_energy_pj,
            "latency": quick.latency_cycles,
            "edp": quick.total_energy_pj * quick.latency_cycles,
        }[objective]
        assert quick <= best * 1.15


def test_a_larger_budget_never_costs_more():
    layers = mobilenet_v2(64)
    totals = [search(layers, "micro-8x8", budget=budget).total_energy_pj for budget in (500, 6000)]
    assert totals[1] <= totals[0] * (1 + 1e-9)


def test_users_tilings_are_priced_as_given():
    layers = [("conv", "conv2d", conv(16, 16, 32, 3))]
    report = price_tiled(layers, "edge-16x16", {"conv": {"ty": 4, "tn": 16, "order": "nmk"}})
    tiling = report.layers[0].tiling
    assert (tiling["ty"], tiling["tn"], tiling["tc"], tiling["order"]) == (4, 16, 16, "nmk")
    assert report.total_energy_pj >= search(layers, "edge-16x16").total_energy_pj
    for wrong in ({"conv": {"ty": 17}}, {"conv": {"tz": 1}}, {"conv": {"order": "abc"}}, {"cnv": {}}):
        with pytest.raises(AccelsimError, match=r"conv|cnv"):
            price_tiled(layers, "edge-16x16", wrong)
    with pytest.raises(AccelsimError, match="layer 'conv': its tiles need"):
        price_tiled([("conv", "conv2d", conv(64, 64, 64, 3))], TINY, {})
