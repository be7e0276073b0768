"""Whole networks priced: parts add up, more bits never cost less, each kind of element behaves as it should."""

from __future__ import annotations

import math

import pytest
from networks import conv, mobilenet_v2, resnet18

from accelsim.errors import AccelsimError
from accelsim.hardware import list_presets, load_spec
from accelsim.pricing import price
from accelsim.shapes import ElementwiseNest, LoopNest

SMALL = [
    ("conv", "conv2d", conv(16, 16, 32, 3)),
    ("dw", "conv2d", conv(16, 32, 32, 3, groups=32)),
    ("add", "add", ElementwiseNest("add", ((8192, 8), (8192, 8)), 8192, 8, 4)),
    ("view", "reshape", None),
    ("fc", "linear", LoopNest(4, 10, 512)),
]


def with_bits(layers, weight_bits, activation_bits):
    from dataclasses import replace

    return [
        (
            name,
            kind,
            replace(nest, weight_bits=weight_bits, activation_bits=activation_bits)
            if isinstance(nest, LoopNest)
            else nest,
        )
        for name, kind, nest in layers
    ]


@pytest.mark.parametrize("name", list_presets())
@pytest.mark.parametrize("network", [resnet18, mobilenet_v2])
def test_parts_add_up(name, network):
    layers = network(64)
    report = price(layers, name)
    report.check()
    assert [layer.name for layer in report.layers] == [layer[0] for layer in layers]
    assert report.macs == sum(nest.macs for _, _, nest in layers if isinstance(nest, LoopNest))
    assert math.isclose(sum(report.energy_pj.values()), report.total_energy_pj)
    assert report.latency_cycles == report.compute_cycles + report.stall_cycles
    assert report.dram_bytes == sum(layer.bytes_at(report.spec.dram.name) for layer in report.layers)
    low, high = report.band_pj
    assert 0 < low < report.total_energy_pj < high < 2 * report.total_energy_pj
    # what DRAM sends the buffers take, and the other way round
    read, written, dram = report.bytes_read, report.bytes_written, report.spec.dram.name
    assert sum(read[dram].values()) + sum(written[dram].values()) == report.dram_bytes
    for layer in report.layers:
        if layer.macs:
            nest = next(n for label, _, n in layers if label == layer.name)
            assert layer.bytes_read[dram]["weight"] >= nest.weight_count
            assert layer.bytes_written[dram]["output"] >= nest.output_count
            assert 0 < layer.utilization <= 1


def test_sized_elements_follow_the_synthesis_data():
    mac = {bits: price(with_bits(SMALL, bits, bits), "edge-16x16") for bits in (2, 8, 16)}
    for bits, pj, um2 in ((2, 0.0407, 81.1), (8, 0.2034, 510.7), (16, 0.6027, 1679.4)):
        assert mac[bits].energy_pj["mac"] / mac[8].energy_pj["mac"] == pytest.approx(pj / 0.2034, rel=0.12)
        assert mac[bits].area_mm2["mac"] / mac[8].area_mm2["mac"] == pytest.approx(um2 / 510.7, rel=0.12)


def test_fixed_elements_save_traffic_only_and_say_so():
    spec = load_spec("edge-16x16").replace(**{"array.pe": "fixed"})
    wide, narrow = price(SMALL, spec), price(with_bits(SMALL, 4, 4), spec)
    assert narrow.mac_energy_pj == wide.mac_energy_pj and narrow.area_mm2 == wide.area_mm2
    assert narrow.dram_bytes < wide.dram_bytes
    assert any("sign-extended" in note for note in narrow.notes)


def test_fused_and_serial_elements_run_faster_on_narrow_operands():
    for pe, factor in (("fused", 16), ("serial", 4)):
        spec = load_spec("edge-16x16").replace(**{"array.pe": pe})
        big = [("conv", "conv2d", conv(56, 256, 256, 3))]
        wide, narrow = price(big, spec), price(with_bits(big, 2, 2), spec)
        assert wide.compute_cycles / narrow.compute_cycles == pytest.approx(factor, rel=0.15)
        assert narrow.area_mm2 == wide.area_mm2 and narrow.mac_energy_pj < wide.mac_energy_pj


@pytest.mark.parametrize("pe", ["sized", "fixed", "fused", "serial"])
def test_more_bits_never_cost_less_energy(pe):
    spec = load_spec("edge-16x16").replace(**{"array.pe": pe, "array.weight_bits": 16, "array.activation_bits": 16})
    for fixed_bits in (4, 8):
        by_weight = [price(with_bits(SMALL, w, fixed_bits), spec).total_energy_pj for w in range(1, 17)]
        by_activation = [price(with_bits(SMALL, fixed_bits, a), spec).total_energy_pj for a in range(1, 17)]
        assert by_weight == sorted(by_weight) and by_activation == sorted(by_activation)
    by_accumulator = [price(SMALL, spec.replace(**{"array.accumulators.bits": bits})) for bits in range(16, 65, 4)]
    totals = [report.total_energy_pj for report in by_accumulator]
    areas = [report.total_area_mm2 for report in by_accumulator]
    assert totals == sorted(totals) and totals[0] < totals[-1] and areas == sorted(areas) and areas[0] < areas[-1]


def test_asymmetric_weights_and_raw_outputs_are_priced():
    from dataclasses import replace

    nest = conv(16, 16, 32, 3)
    plain = price([("c", "conv2d", nest)], "micro-8x8")
    asymmetric = price([("c", "conv2d", replace(nest, asymmetric_weights=True))], "micro-8x8")
    raw = price([("c", "conv2d", replace(nest, requantized=False, output_bits=32))], "micro-8x8")
    assert "row_sums" not in plain.energy_pj and asymmetric.energy_pj["row_sums"] > 0
    assert plain.energy_pj["requantize"] > 0 and "requantize" not in raw.energy_pj
    assert raw.dram_bytes - plain.dram_bytes == 3 * nest.output_count


def test_area_follows_the_hardware_not_the_layers():
    assert price(SMALL, "edge-16x16").area_mm2 == price(SMALL[:1], "edge-16x16").area_mm2
    one = price([], "edge-16x16")
    assert one.layers == () and one.total_energy_pj == 0 and one.total_area_mm2 > 0 and one.power_w == 0


def test_errors_name_the_layer():
    spec = load_spec("edge-16x16").replace(**{"array.pe": "fixed", "array.weight_bits": 4})
    with pytest.raises(AccelsimError, match=r"layer 'conv': 8-bit weights do not fit"):
        price(SMALL, spec)
    tiny = load_spec("edge-16x16").replace(**{"memories.buffer.size_bytes": 16})
    with pytest.raises(AccelsimError, match=r"layer 'conv' does not fit on chip"):
        price(SMALL, tiny)
    with pytest.raises(AccelsimError, match="unknown objective"):
        price(SMALL, "edge-16x16", objective="beauty")


def test_objectives_minimise_what_they_say():
    reports = {o: price(resnet18(64), "edge-16x16", objective=o) for o in ("energy", "latency", "edp")}
    least_energy = min(report.total_energy_pj for report in reports.values())
    assert reports["energy"].total_energy_pj == least_energy
    assert reports["latency"].latency_cycles == min(report.latency_cycles for report in reports.values())


def test_the_report_names_the_constants_that_entered():
    plain, fused = (price(SMALL, load_spec("edge-16x16").replace(**{"array.pe": pe})) for pe in ("sized", "fused"))
    assert {"multiplier_energy", "adder_energy", "sram_energy", "dram_lpddr4"} <= set(plain.constants)
    assert "fused_brick_energy" in fused.constants and "fused_brick_energy" not in plain.constants
    assert not any(name.startswith("evoapprox") or name == "dram_hbm2" for name in plain.constants)
    assert all(constant.unit and constant.source for constant in plain.constants.values())
