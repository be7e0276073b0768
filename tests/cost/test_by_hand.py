"""One small layer priced by hand: every component from its counts and constants, without the code under test."""

from __future__ import annotations

import pytest

from accelsim.hardware import load_spec
from accelsim.mapping import price_tiled
from accelsim.pricing import price
from accelsim.pricing.sram import sram
from accelsim.shapes import ElementwiseNest, LoopNest


def test_a_linear_layer_on_the_edge_array():
    """8 × 32 → 16, 8 bits, on 16×16: two folds along the reduction, so each sum goes out and back once."""
    b, c, k = 8, 32, 16
    report = price_tiled([("fc", "linear", LoopNest(b, k, c))], "edge-16x16", {})
    spec, layer = report.spec, report.layers[0]

    def constant(name):
        return spec.technology.constant(name).value

    macs, outputs, returned = b * c * k, b * k, b * k
    add, register = constant("adder_energy"), constant("register_energy")
    # 8×8 multiplier, 16-bit product added and registered, two operand registers
    assert layer.energy_pj["mac"] == pytest.approx(macs * (constant("multiplier_energy") + 16 * add + 32 * register))
    # 16 more accumulator bits at each step, and 32-bit additions of what returns
    assert layer.energy_pj["accumulator"] == pytest.approx(
        macs * 16 * (add + register) + returned * 32 * (add + register)
    )
    assert layer.energy_pj["dram"] == pytest.approx((b * c + c * k + 4 * k + outputs) * 8 * constant("dram_lpddr4"))
    buffer = sram(262144, 128, 4)
    words_read = (b * c + c * k + 4 * k + outputs) * 8 / 128
    words_written = (b * c + c * k + 4 * k + outputs) * 8 / 128
    assert layer.energy_pj["buffer"] == pytest.approx(words_read * buffer.read_pj + words_written * buffer.write_pj)
    sums = sram(65536, 512, 2)
    assert layer.energy_pj["accumulators"] == pytest.approx(returned * 32 / 512 * (sums.read_pj + sums.write_pj))
    assert sums.read_pj != pytest.approx(sums.write_pj, rel=0.1)
    requantize = constant("requantize_multiply_energy") + 64 * add + 128 * register
    assert layer.energy_pj["requantize"] == pytest.approx(outputs * requantize)
    # loads of 16 rows hide behind streams of 8: 16 to load, one paced fold of 16, a stream of 8, fill and drain
    assert layer.compute_cycles == 16 + 16 + 8 + 16 + 16 - 2
    assert layer.bytes_read["dram"] == {"input": 256, "weight": 512, "bias": 64}


def test_an_addition_on_the_vector_unit():
    nest = ElementwiseNest("add", ((1000, 8), (1000, 8)), 1000, 8, 4, 32)
    layer = price([("add", "add", nest)], "micro-8x8").layers[0]
    spec = load_spec("micro-8x8")
    tech = spec.technology
    per_bit = tech.constant("adder_energy").value + 2 * tech.constant("register_energy").value
    assert layer.energy_pj["vector"] == pytest.approx(4000 * 32 * per_bit)
    assert layer.vector_cycles == 1000 and layer.bytes_at("dram") == 3 * 1024  # whole bursts of 32 bytes
