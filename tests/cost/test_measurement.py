"""What data do, measured on simulated tensors, against streams written out by hand."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim as acs
from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.measurement import measure_activity, on_port, run_length_words

torch = pytest.importorskip("torch")


@cache
def network(weight_bits=8):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 5)
    ).eval()
    x = np.random.default_rng(0).normal(size=(12, 2, 6, 6)).astype(np.float32)
    return acs.from_torch(model, x, weight_bits=weight_bits), x


def slow_run_lengths(sample, run_bits):
    """Code one sample value by value: (zeros before, value), the counter as far as it goes."""
    words, run = 0, 0
    for nonzero in sample:
        if nonzero or run == 2**run_bits - 1:
            words, run = words + 1, 0
        else:
            run += 1
    return words + (run > 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=90), st.integers(1, 5))
def test_run_lengths_equal_coding_value_by_value(sample, run_bits):
    assert run_length_words(np.array([sample, sample]), run_bits) == 2 * slow_run_lengths(sample, run_bits)


def test_ports_show_two_complement_at_their_width():
    codes = np.array([-8, -1, 0, 7], np.int8)
    assert on_port(codes, 4).tolist() == [8, 15, 0, 7]
    assert on_port(codes, 16).tolist() == [0xFFF8, 0xFFFF, 0, 7]
    assert on_port(np.array([200], np.uint8), 16).tolist() == [200]


@pytest.mark.parametrize("dataflow", ["weight_stationary", "output_stationary", "input_stationary"])
@pytest.mark.parametrize("weight_bits", [4, 8])
def test_toggles_equal_streams_written_out(dataflow, weight_bits):
    graph, x = network(weight_bits)
    spec = load_spec("edge-16x16").replace(**{"array.dataflow": dataflow}).sized_for(weight_bits, 8)
    run = acs.simulate(graph, x[:3], spec, keep="all")
    op = next(op for op in graph.ops if op.kind == "conv2d")
    known = measure_activity(graph, run.tensors, spec)[op.name]
    codes = run.tensors[op.inputs[0]].astype(int)
    padded = np.pad(codes, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=op.x_zero_point)
    windows = np.array(
        [padded[n, y : y + 3, z : z + 3].reshape(-1) for n in range(3) for y in range(6) for z in range(6)]
    )
    weights = op.weight.reshape(4, -1).astype(int)

    def share(streams, bits):
        pairs = [pair for stream in streams for pair in itertools.pairwise(stream.tolist())]
        return sum(((a ^ b) & (2**bits - 1)).bit_count() for a, b in pairs) / (len(pairs) * bits)

    inputs = windows.T if dataflow == "weight_stationary" else windows
    assert known.input_toggles == pytest.approx(share(inputs, 8))
    columns = weights.T if dataflow == "input_stationary" else weights
    assert known.weight_toggles == pytest.approx(share(columns, weight_bits))
    assert known.mac_zeros == pytest.approx(float(np.mean(windows == op.x_zero_point)))
    assert known.input_zeros == pytest.approx(float(np.mean(codes == op.x_zero_point)))
    assert 0 < known.psum_toggles < 1 and 0 < known.psum_toggles_error < 0.2


def test_evaluate_shows_average_and_real_data_side_by_side():
    graph, x = network()
    sparse = load_spec("edge-16x16").replace(**{"array.zero_gating": True, "memories.dram.compression": "zvc"})
    report = acs.evaluate(graph, (np.where(x > 1, x, 0), None), sparse, activity_samples=5)
    again = acs.evaluate(graph, (np.where(x > 1, x, 0), None), sparse, activity_samples=5)
    assert report.data_energy_pj == again.data_energy_pj < report.energy_pj == acs.cost(graph, sparse).energy_pj
    assert report.activity_samples == 5 and report.data_cost.dram_bytes < report.cost.dram_bytes
    tilings = [[layer.tiling for layer in cost.layers] for cost in (report.cost, report.data_cost)]
    assert tilings[0] == tilings[1], "the same schedule"
    frame = report.layers
    assert frame["data_energy_pj"].sum() == pytest.approx(report.data_energy_pj)
    assert frame["mac_zeros"].dropna().iloc[0] > 0.8
    text, page, data = report.to_text(), report.to_html(), report.to_dict()
    for shown in (text, page):
        assert "energy, real data" in shown and "from 5 samples" in shown and "Toggle term, calibrated" in shown
    assert "Energy from real bits" in page and data["data_totals"]["energy_pj"] == report.data_energy_pj
    without = acs.evaluate(graph, (x, None), sparse, activity_samples=0)
    assert without.data_cost is None and "real data" not in without.to_text()
    with pytest.raises(AccelsimError, match="activity_samples"):
        acs.evaluate(graph, (x, None), activity_samples=-1)


def test_quieter_data_cost_less():
    graph, x = network()
    loud = acs.evaluate(graph, (x, None))
    quiet = acs.evaluate(graph, (np.zeros_like(x), None))
    assert quiet.data_energy_pj < loud.data_energy_pj and quiet.energy_pj == loud.energy_pj
    assert quiet.data_cost.latency_cycles == quiet.cost.latency_cycles


def test_cost_takes_data_objectives_and_tilings():
    graph, x = network()
    report = acs.cost(graph, data=x, activity_samples=3, objective="latency")
    assert report.activity_samples == 3 and report.accuracy is None and report.data_energy_pj != report.energy_pj
    quick = {o: acs.cost(graph, "micro-8x8", objective=o).cost.latency_cycles for o in ("latency", "energy")}
    assert quick["latency"] <= quick["energy"]
    conv = next(op.name for op in graph.ops if op.kind == "conv2d")
    tiled = acs.cost(graph, tilings={conv: {"ty": 2}})
    assert next(layer for layer in tiled.cost.layers if layer.name == conv).tiling["ty"] == 2
    with pytest.raises(AccelsimError, match="beauty"):
        acs.cost(graph, objective="beauty")
    with pytest.raises(AccelsimError, match="tilings name layers"):
        acs.cost(graph, tilings={"nothing": {"ty": 2}})


def test_a_scaled_technology_shows_the_range_of_both_tables():
    graph, x = network()
    report = acs.cost(graph, "nvdla-small")
    low, high = sorted(report.scaling_energy_pj.values())
    assert low < high and low == pytest.approx(report.energy_pj), "nvdla-small is scaled by the first table"
    assert "energy by scaling table" in report.to_text() and "stillmaker to tpuv4i, 45nm to 16 nm" in report.to_text()
    assert acs.cost(graph, "edge-16x16").scaling_energy_pj == {}
    assert acs.evaluate(graph, (x, None), "nvdla-small").scaling_energy_pj == report.scaling_energy_pj
