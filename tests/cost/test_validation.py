"""Presets against published figures: TPU v1, NVDLA, Ethos-U55."""

from __future__ import annotations

import itertools
import math

import pytest
from networks import conv, mobilenet_v1, resnet50

from accelsim.hardware import load_spec
from accelsim.pricing import price
from accelsim.shapes import ElementwiseNest, LoopNest

#: NVDLA primer, vendor's estimate at 16 nm: MACs, mm2, ResNet-50 int8 frames per second
NVDLA = {
    "nvdla-full": (3.3, 269),
    "nvdla-1024": (1.8, 153),
    "nvdla-512": (1.4, 93),
    "nvdla-256": (1.0, 46),
    "nvdla-128": (0.84, 20),
    "nvdla-small": (0.55, 7.3),
    "nvdla-32": (0.51, 3.6),
}


def chain(layers):
    names = [name for name, _, _ in layers]
    return list(itertools.pairwise(names))


def linear_network(batch, weights, count):
    width = round(math.sqrt(weights / count))
    return [(f"fc{i}", "linear", LoopNest(batch, width, width)) for i in range(count)]


@pytest.mark.parametrize(
    ("name", "layers", "tops"),
    [
        ("MLP0", linear_network(200, 20e6, 5), 12.3),
        ("MLP1", linear_network(168, 5e6, 4), 9.7),
        ("LSTM0", linear_network(64, 52e6, 24), 3.7),
        # 361 MACs per weight and image, batch 8: 19×19 outputs, as the paper's 2888 operations per weight byte say
        (
            "CNN0",
            [
                (
                    f"conv{i}",
                    "conv2d",
                    LoopNest(8, 256, 256, 19, 19, 3, 3, padding=((1, 1), (1, 1)), iy=19, ix=19),
                )
                for i in range(14)
            ],
            86.0,
        ),
    ],
)
def test_tpu_v1_throughput(name, layers, tops):
    """Jouppi et al., ISCA 2017: measured TOPS; nothing is fitted. Activations stay in the unified buffer."""
    report = price(layers, "tpu-v1", edges=chain(layers), objective="latency")
    assert report.tops == pytest.approx(tops, rel=0.20)


def test_nvdla_frame_rates_and_area_ratios():
    """Fitted to the seven: the DRAM link's efficiency (frame rates), control and uncore area (areas)."""
    reports = {name: price(resnet50(), name, objective="latency") for name in NVDLA}
    full = reports["nvdla-full"].total_area_mm2
    for name, (area, frames) in NVDLA.items():
        assert 1 / reports[name].latency_s == pytest.approx(frames, rel=0.25), name
        assert reports[name].total_area_mm2 / full == pytest.approx(area / 3.3, rel=0.25), name


@pytest.mark.parametrize(("macs", "million_cycles"), [(32, 25.89), (64, 13.83), (128, 8.33), (256, 6.35)])
def test_ethos_u55_mobilenet_v1(macs, million_cycles):
    """Vela 5.2 estimates; only the number of MACs varies between the presets, and nothing is fitted."""
    layers = mobilenet_v1()
    report = price(layers, f"ethos-u55-{macs}", edges=chain(layers), objective="latency")
    assert report.latency_cycles / 1e6 == pytest.approx(million_cycles, rel=0.25)
    specs = [load_spec(f"ethos-u55-{m}").model_dump(exclude={"name", "description"}) for m in (macs, 128)]
    for spec in specs:
        spec["array"].pop("rows")
    assert specs[0] == specs[1]


def test_resident_tensors_spare_dram():
    layers = [
        ("a", "conv2d", conv(16, 16, 32, 3)),
        ("b", "conv2d", conv(16, 32, 32, 3)),
        ("view", "reshape", None),
        ("c", "conv2d", conv(16, 32, 8, 3)),
    ]
    apart = price(layers, "edge-16x16")
    fused = price(layers, "edge-16x16", edges=chain(layers))
    saved = 2 * 2 * 16 * 16 * 32
    assert apart.dram_bytes - fused.dram_bytes == saved
    assert fused.total_energy_pj < apart.total_energy_pj
    # without room nothing stays
    small = load_spec("edge-16x16").replace(**{"memories.buffer.size_bytes": 12288})
    assert price(layers, small, edges=chain(layers)).dram_bytes == price(layers, small).dram_bytes


def test_resident_tensors_take_room_and_feed_the_vector_unit():
    tensor = 16 * 16 * 32
    add = ElementwiseNest("add", ((tensor, 8), (tensor, 8)), tensor, 8, 4)
    layers = [("a", "conv2d", conv(16, 16, 32, 3)), ("b", "conv2d", conv(16, 32, 32, 3)), ("add", "add", add)]
    edges = [("a", "b"), ("a", "add"), ("b", "add")]
    report = price(layers, "edge-16x16", edges=edges)
    of = {layer.name: layer for layer in report.layers}
    # while b runs, its input and its output stay: both tensors are in the buffer, and neither crosses the link
    assert of["b"].occupancy_bytes["buffer"] >= 2 * tensor
    assert set(of["b"].bytes_read["dram"]) == {"weight", "bias"} and not of["b"].bytes_written["dram"]
    assert sum(of["add"].bytes_read["dram"].values()) == 0
    assert sum(of["add"].bytes_read["buffer"].values()) == 3 * tensor
    half = price(layers, "edge-16x16", edges=edges[:2]).layers[2]
    assert sum(half.bytes_read["dram"].values()) == tensor
