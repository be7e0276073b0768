"""The report's numbers: totals are sums of the rows, files are whole and readable, text is complete."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest
from report.samples import cost_report, report

from accelsim.errors import AccelsimError
from accelsim.report.units import count, energy, memory_size, percent, si


def test_totals_are_the_sums_of_the_layer_table():
    r = report(9)
    frame = r.layers
    assert len(frame) == 9
    assert math.isclose(frame["energy_pj"].sum(), r.energy_pj, rel_tol=1e-12)
    components = [name for name in frame if name.startswith("energy_") and name.endswith("_pj") and name != "energy_pj"]
    assert len(components) == 7
    assert math.isclose(frame[components].to_numpy().sum(), r.energy_pj, rel_tol=1e-12)
    assert math.isclose(frame["latency_s"].sum(), r.latency_s, rel_tol=1e-12)
    assert (frame["compute_cycles"] + frame["stall_cycles"]).equals(frame["latency_cycles"])
    assert frame["dram_bytes"].sum() == r.dram_bytes
    operands = [f"dram_{o}_bytes" for o in ("weight_read", "input_read", "output_write")]
    assert frame[operands].to_numpy().sum() == r.dram_bytes
    assert frame["macs"].sum() == r.cost.macs
    assert frame["outputs_with_events"].sum() == 12
    assert math.isclose(r.power_w, r.energy_pj * 1e-12 / r.latency_s)
    assert math.isclose(r.area_mm2, 1.93)


def test_layers_without_weights_have_no_weight_bits():
    frame = report(4).layers
    assert frame["weight_bits"].isna().tolist() == [False, False, False, True]
    assert str(frame["weight_bits"].dtype) == "Int64"


def test_widths_are_a_span_where_layers_differ():
    assert report().widths == "W4A8"
    assert report(layer_bits={"a": (2, 8), "b": (6, 4), "c": (None, 8)}).widths == "W2-6A4-8"
    assert report(layer_bits={}).widths == ""


def test_json_holds_what_the_properties_say(tmp_path):
    r = report(5, sqnr_db=math.inf)
    path = r.save(tmp_path / "new folder" / "r.json")
    data = json.loads(path.read_text("utf-8"))
    assert data["totals"]["energy_pj"] == r.energy_pj
    assert math.isclose(sum(row["energy_pj"] for row in data["layers"]), data["totals"]["energy_pj"])
    assert data["accuracy"] == 0.9833 and data["sqnr_db"] is None, "infinity is not JSON"
    assert data["constants"]["dram_lpddr4"] == {
        "value": 8.0, "unit": "pJ/bit", "source": "a published plug-in", "uncertainty": 0.3,
    }  # fmt: skip
    assert data["notes"] == list(r.all_notes) and data["command"] == r.command
    assert data["accelerator"]["name"] == "edge-16x16"
    assert sum(e["outputs_with_events"] for e in data["events"]) == 12


def test_csv_is_the_layer_table(tmp_path):
    r = report(5)
    rows = list(csv.DictReader(io.StringIO(r.save(tmp_path / "r.CSV").read_text("utf-8"))))
    assert [row["layer"] for row in rows] == [layer.name for layer in r.cost.layers]
    assert math.isclose(sum(float(row["energy_pj"]) for row in rows), r.energy_pj)


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.html.gz"])
def test_unknown_suffix_names_the_known_ones_and_writes_nothing(tmp_path, name):
    with pytest.raises(AccelsimError, match=r"\.html, \.json or \.csv"):
        report().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_writer_leaves_no_half_written_file(tmp_path, monkeypatch):
    target = tmp_path / "r.html"
    target.write_text("the one before")

    def fail(*_):
        raise RuntimeError("in the middle")

    monkeypatch.setattr("accelsim.report.html.page", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        report().save(target)
    assert target.read_text() == "the one before" and len(list(tmp_path.iterdir())) == 1


def test_a_path_below_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AccelsimError, match=r"cannot write .*r\.json"):
        report().save(tmp_path / "file" / "r.json")


def test_text_fits_the_width_and_names_every_layer_and_note():
    r = report(8)
    text = r.to_text(90)
    assert max(map(len, text.splitlines())) <= 90
    fixed = ("98.33 %", "99.86 %", "-1.53 points", "719 samples", "27.2 dB", "edge-16x16", "profile tflm")
    for needed in (*fixed, *r.all_notes, *(layer.name for layer in r.cost.layers)):
        assert needed in text, needed
    assert str(r) == r.to_text()


def test_a_report_of_cost_alone_says_nothing_of_accuracy():
    r = report(accuracy=None, float_accuracy=None, sqnr_db=None, samples=0, events=(), rescale_differences=())
    for text in (r.to_text(), r.to_html()):
        assert "accuracy" not in text.lower() and "SQNR" not in text
    assert "outputs_with_events" not in r.layers
    assert r.to_dict()["accuracy"] is None


def test_another_metric_is_not_a_percentage():
    r = report(metric="mean_iou", accuracy=0.5, float_accuracy=0.75)
    assert "mean_iou" in r.to_text() and "-0.25" in r.to_text() and "50.00 %" not in r.to_text()


def test_a_network_without_layers_still_reports():
    r = report(cost=cost_report(0))
    assert r.energy_pj == 0 and r.latency_s == 0 and len(r.layers) == 0
    assert r.to_html() and r.to_text() and json.loads(r.to_json())["layers"] == []


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "J", "0 J"),
        (1.234e-5, "J", "12.3 µJ"),
        (999.4, "B", "999 B"),
        (999.6, "B", "1.00 kB"),
        (1e-16, "J", "0.10 fJ"),
        (-2500.0, "W", "-2.50 kW"),
        (5e18, "B", "5000 PB"),
        (math.inf, "s", "inf s"),
        (None, "B", "–"),
        (1, "", "1.00"),
    ],
)
def test_si(value, unit, text):
    assert si(value, unit) == text


def test_units():
    assert energy(1e6) == "1.00 µJ"
    assert percent(0.98765, 2) == "98.77 %" and percent(None) == "–"
    sizes = [0, 448, 1023, 1024, 65536, 25 << 20, 3 << 40]
    assert [memory_size(b) for b in sizes] == ["0 B", "448 B", "1023 B", "1 KiB", "64 KiB", "25 MiB", "3072 GiB"]
    assert count(1234567) == "1\u202f234\u202f567"
