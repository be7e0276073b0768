"""What physics says must not fall: more bits, smaller buffers, slower links; counts of giant layers; specs that are
wrong say where.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import conv

from accelsim.dataflow import scalesim_compat
from accelsim.errors import AccelsimError
from accelsim.hardware import load_spec
from accelsim.mapping import search
from accelsim.pricing import cost_many, price
from accelsim.shapes import LoopNest


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_more_bits_never_cost_less(data):
    """Energy, latency, area and traffic, on the same elements' kind and the best tiling of each."""
    draw = data.draw
    pe = draw(st.sampled_from(["sized", "fixed", "fused", "serial"]))
    dataflow = draw(st.sampled_from(["ws", "os", "is"]))
    wide = {"array.weight_bits": 16, "array.activation_bits": 16} if pe != "sized" else {}
    spec = load_spec("edge-16x16").replace(**{"array.pe": pe, "array.dataflow": dataflow, **wide})
    nest = conv(
        draw(st.integers(5, 14)), draw(st.integers(3, 40)), draw(st.integers(3, 40)), draw(st.sampled_from([1, 3]))
    )
    w, a = draw(st.integers(1, 15)), draw(st.integers(1, 15))
    wider = draw(st.sampled_from([{"weight_bits": w + 1}, {"activation_bits": a + 1}, {"output_bits": 16}]))
    base = replace(nest, weight_bits=w, activation_bits=a, output_bits=8)
    less, more = (price([("c", "conv2d", n)], spec) for n in (base, replace(base, **wider)))
    assert more.total_energy_pj >= less.total_energy_pj * (1 - 1e-9)
    assert more.total_area_mm2 >= less.total_area_mm2
    quick = [price([("c", "conv2d", n)], spec, objective="latency") for n in (base, replace(base, **wider))]
    assert quick[1].latency_cycles >= quick[0].latency_cycles


def test_larger_buffers_never_need_more_traffic():
    """By exhaustion of what the search tries: every tiling that fits a buffer fits a larger one."""
    nests = [conv(16, 24, 32, 3), conv(12, 64, 64, 3, groups=64), LoopNest(4, 200, 300)]
    falls = []
    for nest in nests:
        moved, cycles = [], []
        for kib in (4, 8, 16, 32, 64, 256):
            spec = load_spec("micro-8x8").replace(
                **{"memories.buffer.size_bytes": kib * 1024, "technology.constants.sram_energy.value": 1e-9}
            )
            free = search([("c", "conv2d", nest)], spec)
            moved.append(free.dram_bytes)
            cycles.append(search([("c", "conv2d", nest)], spec, objective="latency").latency_cycles)
        assert moved == sorted(moved, reverse=True), nest
        assert cycles == sorted(cycles, reverse=True), nest
        falls.append(moved[0] > moved[-1])
    assert falls == [True, False, False], "nothing of depthwise and linear layers is fetched twice anyway"


def test_slower_links_never_run_faster():
    layers = [("c", "conv2d", conv(28, 64, 64, 3))]
    base = load_spec("edge-16x16")
    for field in ("memories.dram", "memories.buffer"):
        cycles = [
            price(
                layers, base.replace(**{f"{field}.bandwidth_bytes_per_cycle": rate}), objective="latency"
            ).latency_cycles
            for rate in (64, 16, 4, 1, 0.25)
        ]
        assert cycles == sorted(cycles) and cycles[0] < cycles[-1], field


def test_giant_layers_are_counted_or_refused():
    giant = LoopNest(1, 60_000, 60_000, 512, 512)
    report = price([("giant", "conv2d", giant)], "datacenter-256x256")
    report.check()
    assert report.macs == 60_000**2 * 512**2 and report.latency_cycles > report.macs // 65536
    absurd = LoopNest(65536, 2**20, 2**20, 4096, 4096)
    for pricing in (
        lambda: price([("x", "conv2d", absurd)], "edge-16x16"),
        lambda: cost_many([absurd], ["edge-16x16"]),
    ):
        with pytest.raises(AccelsimError, match="too large to count"):
            pricing()


def walked(ifmap, filt, channels, num_filt, stride, rows, cols, dataflow):
    """SCALE-Sim's folds one by one: (cycles, ifmap reads, filter reads, ofmap writes)."""
    out = [0, 0]
    for axis in (0, 1):  # by ceiling: a window may hang over the edge, and one always starts
        start = 0
        while start < ifmap[axis] - filt[axis] + stride:
            out[axis], start = out[axis] + 1, start + stride
    m, k, n = out[0] * out[1], filt[0] * filt[1] * channels, num_filt
    on_rows, on_cols, streamed = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    cycles, reads, filters, writes = -1, 0, 0, 0
    for row in range(0, on_rows, rows):
        for col in range(0, on_cols, cols):
            used_rows, used_cols = min(rows, on_rows - row), min(cols, on_cols - col)
            cycles += streamed + rows + cols - 2 + (0 if dataflow == "os" else rows)
            if dataflow == "os":
                reads, filters = reads + used_rows * k, filters + used_cols * k
                writes += used_rows * used_cols + rows + cols
            elif dataflow == "ws":
                reads, filters, writes = reads + used_rows * m, filters + used_rows * used_cols, writes + used_cols * m
            else:
                reads, filters, writes = reads + used_rows * used_cols, filters + used_rows * n, writes + used_cols * n
    return cycles, reads, filters, writes


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from(["os", "ws", "is"]),
)
def test_scalesim_equals_a_walk_over_its_folds(ifmap, filt, channels, num_filt, stride, rows, cols, dataflow):
    filt = (min(filt[0], ifmap[0]), min(filt[1], ifmap[1]))
    got = scalesim_compat(*ifmap, *filt, channels, num_filt, stride, rows=rows, cols=cols, dataflow=dataflow)
    expected = walked(ifmap, filt, channels, num_filt, stride, rows, cols, dataflow)
    assert (got.total_cycles, got.sram_ifmap_reads, got.sram_filter_reads, got.sram_ofmap_writes) == expected


@pytest.mark.parametrize("size", [(3, 8), (8, 3)])
def test_filters_larger_than_the_input_are_refused(size):
    with pytest.raises(AccelsimError, match="filter does not fit"):
        scalesim_compat(*size, 5, 5, 1, 1, 1, rows=4, cols=4, dataflow="os")


GOOD = """extends: edge-16x16
name: mine
array:
  rows: 32
memories:
  - name: buffer
    size_bytes: 131072
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("  rows: 32", "  rowz: 32"), r"mine\.yaml: line 4, array\.rowz: unknown field"),
        (("  rows: 32", "  rows: -1"), r"line 4, array\.rows: .*greater than or equal to 1 \(got -1\)"),
        (("  rows: 32", "  rows: 32 mm"), r"line 4, array\.rows: .*integer"),
        (("131072", "128 KiB"), r"memories\.1\.size_bytes: .*integer.*128 KiB"),
        (("131072", "-4"), r"memories\.1\.size_bytes: .*\(got -4\)"),
        (("extends: edge-16x16", "extends: edge-17"), r"unknown accelerator 'edge-17'; did you mean edge-16x16"),
        (("extends: edge-16x16", "extends: mine.yaml"), r"extends itself"),
        (("  rows: 32", "  rows: 32\n  rows: 16"), r"line 5: 'rows' is given twice"),
        (("array:", "array: ["), r"line \d+: not valid YAML"),
        (("array:", "clock_hz: .nan\narray:"), r"line 3, clock_hz"),
        (("array:", "technology: 44nm\narray:"), r"unknown technology '44nm'; did you mean"),
        (("array:", "dma: {setup: 3}\narray:"), r"line 3, dma\.setup: unknown field"),
    ],
)
def test_wrong_specs_name_file_line_and_field(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert load_spec(path).array.rows == 32
    path.write_text(GOOD.replace(*change, 1))
    with pytest.raises(AccelsimError, match=words):
        load_spec(path)
