"""A user's own reference table in place of the laws; look-up tables and clock network priced by hand."""

from __future__ import annotations

import pytest
from networks import conv

from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.pricing import calibrate_to_table, price
from accelsim.pricing.sram import sram
from accelsim.shapes import ElementwiseNest

LAYERS = [("conv", "conv2d", conv(16, 16, 32, 3))]
TABLE = """
ERT:
  version: 0.4
  tables:
    - name: system.chip.buffer[1..4]
      actions:
        - {name: read, arguments: {data_delta: 1, address_delta: 1}, energy: 50}
        - {name: write, energy: 80}
        - {name: idle, energy: 0}
    - name: system.chip.pe[1..256].mac
      actions: [{name: mac_random, energy: 0.5}, {name: mac_gated, energy: 0.02}]
    - name: system.dram
      actions: [{name: read, energy: 512}, {name: write, energy: 1024}]
ART:
  version: 0.4
  tables:
    - {name: system.chip.buffer, area: 900000}
    - {name: mac, area: 700}
"""


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_the_table_replaces_the_laws(tmp_path):
    plain = price(LAYERS, "edge-16x16")
    result = calibrate_to_table(written(tmp_path, TABLE), "edge-16x16", uncertainty=0.05)
    report = price(LAYERS, result.spec)
    report.check()
    assert report.mac_energy_pj - _outer(report) == pytest.approx(0.5 * report.macs)
    read, written_ = (sum(side["buffer"].values()) / 16 for side in (report.bytes_read, report.bytes_written))
    assert report.energy_pj["buffer"] == pytest.approx(50 * read + 80 * written_, rel=1e-3)
    dram = sum(report.bytes_read["dram"].values()) / 8 * 512 + sum(report.bytes_written["dram"].values()) / 8 * 1024
    assert report.energy_pj["dram"] == pytest.approx(dram)
    assert report.area_mm2["buffer"] == pytest.approx(0.9)
    assert report.area_mm2["mac"] + report.area_mm2["accumulator"] == pytest.approx(256 * 700e-6)
    assert report.energy_pj["accumulators"] == plain.energy_pj["accumulators"], "what the table leaves out stays"
    assert report.constants["buffer_read_energy"].source == "energy table mine.yaml"
    assert "dram_lpddr4" not in report.constants
    assert len(result.replaced) == 7 and "buffer area: 0.9 mm2 in place of" in result.summary()


def _outer(report):
    """Additions of partial sums at the edge of the array, which a table's product does not hold."""
    constants = report.constants
    per_bit = constants["adder_energy"].value + constants["register_energy"].value
    return report.bytes_written["accumulators"]["psum"] / 4 * 32 * per_bit


def test_names_can_be_mapped_or_left_out(tmp_path):
    text = "ERT: {version: 0.4, tables: [{name: a.glb, actions: [{name: read, energy: 9}, {name: write, energy: 9}]},"
    text += " {name: a.router, actions: [{name: compute, energy: 1}]}]}"
    path = written(tmp_path, text)
    result = calibrate_to_table(path, "edge-16x16", components={"glb": "buffer", "a.router": None})
    assert [r.component for r in result.replaced] == ["buffer", "buffer"]
    with pytest.raises(AccelsimError, match=r"'a\.glb' is no component of spec 'edge-16x16'; known: mac, dram, buffer"):
        calibrate_to_table(path, "edge-16x16")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ERT: {version: 0.4, tables: [{name: mac, actions: [{name: mac, energie: 1}]}]}", "unknown key energie"),
        ("ERT: {version: 0.4, tabels: []}", "unknown key tabels"),
        ("ETR: {}", "unknown key ETR"),
        ("{}", "needs ERT, ART or both"),
        ("ERT: {tables: []}", "expected a list"),
        ("ERT: {tables: [{name: mac, actions: [{name: fly, energy: 1}]}]}", "unknown action 'fly'"),
        ("ERT: {tables: [{name: mac, actions: [{name: mac, energy: -1}]}]}", "expected a positive number, found -1"),
        ("ERT: {tables: [{name: buffer, actions: [{name: read, energy: 1}]}]}", "both read and write"),
        ("ART: {tables: [{name: dram, area: 1}]}", "takes no area"),
        ("[1, 2]", "expected a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, words):
    with pytest.raises(AccelsimError, match=words):
        calibrate_to_table(written(tmp_path, text), "edge-16x16")


def test_look_ups_read_the_lanes_table_or_the_buffer():
    nest = ElementwiseNest("lut", ((1000, 8),), 1000, 8, 1.0)
    own = price([("tanh", "lut", nest)], "edge-16x16")
    assert own.energy_pj["lut"] == pytest.approx(1000 * sram(512, 8).read_pj) and own.area_mm2["lut"] > 0
    none = load_spec("edge-16x16").replace(**{"vector.lut_bytes": 0})
    shared = price([("tanh", "lut", nest)], none)
    assert shared.energy_pj["lut"] == pytest.approx(1000 * sram(262144, 128, 4).read_pj)
    assert "lut" not in shared.area_mm2 and shared.total_area_mm2 < own.total_area_mm2


def test_the_clock_network_runs_all_the_time():
    layer = price(LAYERS, "edge-16x16").layers[0]
    bits = 8 + 8 + 32
    tree = load_spec("edge-16x16").technology.constant("clock_tree_energy").value
    assert layer.energy_pj["clock"] == pytest.approx(layer.latency_cycles * 256 * bits * tree)
    eyeriss = load_spec("eyeriss-v1")
    own = price([("c", "conv2d", conv(16, 16, 32, 3))], eyeriss)
    assert own.energy_pj["clock"] == pytest.approx(own.latency_cycles * 168 * 3.6)
    assert "clock_tree_energy" not in own.constants and "clock_tree_energy" in price(LAYERS, "edge-16x16").constants
