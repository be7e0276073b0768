"""Reports made up by hand: every number is easy to check, every part of a page has something to show."""

from __future__ import annotations

import math

from accelsim.events import LayerEvents, RescaleDifferences
from accelsim.hardware import Constant, load_spec
from accelsim.pricing.costs import CostReport, LayerCost
from accelsim.report import Report

CONSTANTS = {
    "multiplier_energy": Constant(value=0.0458, unit="pJ", source="a fit <to> data & tables", uncertainty=0.5),
    "dram_lpddr4": Constant(value=8, unit="pJ/bit", source="a published plug-in", uncertainty=0.3),
}


def layer(index: int, macs: int = 100_000) -> LayerCost:
    kind = "conv2d" if macs else "add"
    energy = {"mac": 0.07 * macs, "accumulator": 0.03 * macs, "dram": 9000.0 + 300 * index, "buffer": 2000.0,
              "accumulators": 500.0, "vector": 10.0 + index, "leakage": 3.0}  # fmt: skip
    total = math.fsum(energy.values())
    cycles = 1000 + 100 * index
    return LayerCost(
        name=f"blocks.{index}.conv1" if macs else f"blocks.{index}.add",
        op_kind=kind,
        macs=macs,
        energy_pj=energy,
        compute_cycles=cycles,
        stall_cycles=200 if index % 3 == 0 else 0,
        vector_cycles=50,
        bytes_read={"dram": {"weight": 2304, "input": 4096}, "buffer": {"weight": 9216, "input": 40960}},
        bytes_written={"dram": {"output": 4096}, "buffer": {"output": 4096}, "accumulators": {"psum": 16384}},
        utilization=macs / (256 * (cycles + 200)) if macs else 0.0,
        band_pj=(0.7 * total, 1.4 * total),
        peak_macs_per_cycle=256.0,
    )


def cost_report(layers: int = 6) -> CostReport:
    spec = load_spec("edge-16x16")
    return CostReport(
        spec=spec,
        layers=tuple(layer(i, 0 if i % 4 == 3 else 100_000 + 20_000 * i) for i in range(layers)),
        area_mm2={"array": 0.31, "buffer": 1.2, "accumulators": 0.4, "vector": 0.02},
        constants=CONSTANTS,
        notes=("narrow operands are sign-extended on a fixed array",),
    )


def report(layers: int = 6, **changes) -> Report:
    cost = changes.pop("cost", None) or cost_report(layers)
    values = {
        "network": "resnet",
        "profile": "tflm",
        "cost": cost,
        "layer_bits": {c.name: (4 if c.macs else None, 8) for c in cost.layers},
        "accuracy": 0.9833,
        "float_accuracy": 0.9986,
        "sqnr_db": 27.25,
        "samples": 719,
        "events": tuple(
            LayerEvents(c.name, "wrap", 16, 12 * (i == 1), 4096) for i, c in enumerate(cost.layers) if c.macs
        ),
        "rescale_differences": tuple(
            RescaleDifferences(c.name, "tflite-double", 3, 4096) for c in cost.layers if c.macs
        ),
        "notes": ("profile tflm applied at 4 bits keeps its rounding",),
        "versions": {"accelsim": "0.1.0", "numpy": "2.0"},
        "command": "accelsim run model.pt2 --data digits.npz",
    }
    return Report(**{**values, **changes})
