"""The timeline: its sums equal the report's, and Perfetto's own processor reads it where it is installed."""

from __future__ import annotations

import itertools
import json

import pytest
from networks import resnet18

from accelsim.pricing import price
from accelsim.pricing.trace import save_trace, trace_events

REPORT = price(resnet18(64), "edge-16x16")


def test_sums_equal_the_report():
    events = trace_events(REPORT)["traceEvents"]
    layers = [e for e in events if e["ph"] == "X" and e["tid"] == 0]
    assert sum(e["args"]["cycles"] for e in layers) == REPORT.latency_cycles
    assert sum(e["args"]["dram_bytes"] for e in layers) == REPORT.dram_bytes
    assert sum(e["args"]["energy_pj"] for e in layers) == pytest.approx(REPORT.total_energy_pj)
    assert sum(e["dur"] for e in layers) == pytest.approx(REPORT.latency_s * 1e6)
    moved = [e["args"] for e in events if e["ph"] == "X" and e["tid"] == 1]
    assert sum(a["bytes_read"] + a["bytes_written"] for a in moved) == REPORT.dram_bytes
    ends = [(e["ts"], e["ts"] + e["dur"]) for e in layers]
    assert all(a[1] == pytest.approx(b[0]) for a, b in itertools.pairwise(ends))
    for e in events:
        if e["ph"] == "X":  # nothing leaves its layer
            own = next(o for o in layers if o["name"] == e["name"])
            assert own["ts"] - 1e-6 <= e["ts"] and e["ts"] + e["dur"] <= own["ts"] + own["dur"] + 1e-6
    sizes = {m.name: m.size_bytes for m in REPORT.spec.memories}
    for e in events:
        if e["ph"] == "C" and e["name"].endswith("(bytes)"):
            assert 0 <= e["args"]["bytes"] <= sizes[e["name"].split()[0]]


def test_file_is_valid_json(tmp_path):
    path = save_trace(REPORT, tmp_path / "trace.json")
    assert json.loads(path.read_text()) == json.loads(json.dumps(trace_events(REPORT)))
    assert [p.name for p in tmp_path.iterdir()] == ["trace.json"]


def test_perfetto_reads_it(tmp_path):
    processor = pytest.importorskip("perfetto.trace_processor", reason="the perfetto package is not installed")
    path = save_trace(REPORT, tmp_path / "trace.json")
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
    assert sum(row.cycles for row in rows) == REPORT.latency_cycles
    assert sum(row.dur for row in rows) == pytest.approx(REPORT.latency_s * 1e9, rel=1e-4)
