"""The timeline: its sums equal the report's, its events follow the format, Perfetto's own processor reads it where
it is installed.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict

import pytest
from networks import mobilenet_v2, resnet18

from accelsim.hardware import load_spec
from accelsim.pricing import price
from accelsim.pricing.trace import MOST_STEPS, POWER, TRACKS, save_trace, trace_events

SPECS = {
    "edge": load_spec("edge-16x16"),
    "small": load_spec("edge-16x16").replace(**{"memories.buffer.size_bytes": 8192, "dma.setup_cycles": 20}),
    "single-buffered": load_spec("micro-8x8").replace(**{"memories.buffer.double_buffered": False}),
    "eyeriss": load_spec("eyeriss-v1"),
}
REPORTS = {
    name: price(network(64), spec)
    for (name, spec), network in zip(SPECS.items(), (resnet18, mobilenet_v2, resnet18, resnet18), strict=True)
}


@pytest.fixture(params=REPORTS, scope="module")
def report(request):
    return REPORTS[request.param]


def slices(report, track):
    events = trace_events(report)["traceEvents"]
    return [e for e in events if e["ph"] == "X" and e["tid"] == TRACKS.index(track) + 1]


def whole_ns(microseconds):
    """As a reader with whole nanoseconds takes them."""
    assert abs(microseconds * 1e3 - round(microseconds * 1e3)) < 1e-3
    return round(microseconds * 1e3)


def test_sums_equal_the_report(report):
    layers = slices(report, "layers")
    assert sum(e["args"]["cycles"] for e in layers) == report.latency_cycles
    assert sum(e["args"]["dram_bytes"] for e in layers) == report.dram_bytes
    assert sum(e["args"]["energy_pj"] for e in layers) == pytest.approx(report.total_energy_pj)
    assert sum(e["dur"] for e in layers) == pytest.approx(report.latency_s * 1e6, abs=1e-3)
    assert sum(e["args"]["bytes"] for e in slices(report, "DMA")) == pytest.approx(report.dram_bytes)
    array, vector = slices(report, "array"), slices(report, "vector unit")
    mac_layers = [layer for layer in report.layers if layer.macs]
    assert sum(e["args"]["macs"] for e in array) == pytest.approx(report.macs)
    cycles = sum(layer.compute_cycles for layer in mac_layers)
    assert sum(e["args"]["cycles"] for e in array) == pytest.approx(cycles)
    assert sum(e["args"]["cycles"] for e in vector) == pytest.approx(sum(x.vector_cycles for x in report.layers))


def test_power_over_time_is_the_energy(report):
    counters = [e for e in trace_events(report)["traceEvents"] if e["ph"] == "C" and e["name"] == POWER]
    whole_nj = sum(
        a["args"]["mW"] * (b["ts"] - a["ts"]) for a, b in itertools.pairwise(sorted(counters, key=lambda e: e["ts"]))
    )
    assert whole_nj * 1e3 == pytest.approx(report.total_energy_pj, rel=1e-4)
    assert counters[-1]["args"]["mW"] == 0


def test_slices_of_a_track_follow_each_other_inside_their_layer(report):
    ends = [(e["ts"], e["ts"] + e["dur"]) for e in slices(report, "layers")]
    assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(ends))
    for track in ("DMA", "array", "vector unit"):
        drawn = sorted(slices(report, track), key=lambda e: e["ts"])
        for a, b in itertools.pairwise(drawn):
            assert whole_ns(a["ts"]) + whole_ns(a["dur"]) <= whole_ns(b["ts"]), (track, a, b)
        for e in drawn:
            assert any(start - 1e-6 <= e["ts"] and e["ts"] + e["dur"] <= end + 1e-6 for start, end in ends), e


def test_tiles_are_drawn_and_their_number_bounded():
    report = REPORTS["small"]
    of_layer = defaultdict(int)
    for e in slices(report, "array"):
        of_layer[e["name"].split(" tile ")[0]] += 1
    counts = {layer.name: layer.steps.count for layer in report.layers if layer.steps}
    assert max(counts.values()) > 4 and any(1 < n <= MOST_STEPS for n in counts.values())
    for name, steps in counts.items():
        assert of_layer[name] == min(steps, -(-steps // -(-steps // MOST_STEPS)))
    # the next tile arrives behind the work on this one
    array, dma = slices(report, "array"), slices(report, "DMA")
    first = next(e for e in array if e["name"].startswith(max(counts, key=counts.get) + " tile 1"))
    assert any(d["ts"] < first["ts"] + first["dur"] and first["ts"] < d["ts"] + d["dur"] for d in dma)


def test_occupancy_stays_within_the_buffers(report):
    sizes = {m.name: m.size_bytes for m in report.spec.memories}
    for e in trace_events(report)["traceEvents"]:
        if e["ph"] == "C" and e["name"].endswith(" in use"):
            assert 0 <= e["args"]["bytes"] <= sizes[e["name"].split()[0]]


def test_events_follow_the_trace_event_format(report):
    """Google's "Trace Event Format": phases X, C and M with their mandatory fields, times finite, counters numeric."""
    trace = trace_events(report)
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"} and trace["displayTimeUnit"] in ("ms", "ns")
    for e in trace["traceEvents"]:
        assert e["ph"] in "XCM" and isinstance(e["pid"], int) and isinstance(e["name"], str) and e["name"]
        if e["ph"] == "M":
            assert e["name"] in ("process_name", "thread_name", "thread_sort_index") and len(e["args"]) == 1
            continue
        assert 0 <= e["ts"] < float("inf")
        if e["ph"] == "X":
            assert e["tid"] >= 1 and 0 <= e["dur"] < float("inf") and isinstance(e["cat"], str)
        else:
            assert all(isinstance(v, (int, float)) and v >= 0 for v in e["args"].values()) and e["args"]


def test_file_is_valid_json(tmp_path):
    path = save_trace(REPORTS["edge"], tmp_path / "trace.json")
    assert json.loads(path.read_text()) == json.loads(json.dumps(trace_events(REPORTS["edge"])))
    assert [p.name for p in tmp_path.iterdir()] == ["trace.json"]


def test_perfetto_reads_it(tmp_path):
    processor = pytest.importorskip("perfetto.trace_processor", reason="the perfetto package is not installed")
    report = REPORTS["edge"]
    path = save_trace(report, tmp_path / "trace.json")
    try:
        opened = processor.TraceProcessor(trace=str(path))
    except Exception as error:
        pytest.skip(f"perfetto's processor does not start here: {error}")
    with opened:
        rows = list(
            opened.query(
                "select s.name, s.dur, extract_arg(s.arg_set_id, 'args.cycles') as cycles from slice s "
                "join thread_track t on s.track_id = t.id join thread using (utid) where thread.name = 'layers'"
            )
        )
    assert sum(row.cycles for row in rows) == report.latency_cycles
    assert sum(row.dur for row in rows) == pytest.approx(report.latency_s * 1e9, rel=1e-4)
