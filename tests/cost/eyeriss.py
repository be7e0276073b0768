"""Eyeriss v1 on AlexNet: the layers, and the measurements of JSSC 2017, Table V (batch 4)."""

from __future__ import annotations

import csv

from accelsim.hardware import load_spec
from accelsim.pricing import CostReport, price
from accelsim.pricing.activity import Activity
from accelsim.shapes import LoopNest


def layer(k, c, out, filt, stride, groups, pad, size, batch=4):
    return LoopNest(
        batch,
        k,
        c,
        out,
        out,
        filt,
        filt,
        groups,
        (stride, stride),
        (1, 1),
        ((pad, pad), (pad, pad)),
        16,
        16,
        16,
        0,
        size,
        size,
        requantized=False,
    )


ALEXNET = {
    "CONV1": layer(96, 3, 55, 11, 4, 1, 0, 227),
    "CONV2": layer(256, 96, 27, 5, 1, 2, 2, 27),
    "CONV3": layer(384, 256, 13, 3, 1, 1, 1, 13),
    "CONV4": layer(384, 384, 13, 3, 1, 2, 1, 13),
    "CONV5": layer(256, 384, 13, 3, 1, 2, 1, 13),
}


def measured(folder):
    with open(folder / "cost" / "eyeriss_alexnet.csv") as file:
        return {row["layer"]: row for row in csv.DictReader(file) if row["layer"] in ALEXNET}


def priced(rows, changes=None) -> CostReport:
    """AlexNet on the preset, with the published zeros of each input; a layer's output is the next one's
    input.
    """
    zeros = [float(row["zeros_in_ifmaps_pct"]) / 100 for row in rows.values()]
    activity = {name: Activity(a, b) for name, a, b in zip(rows, zeros, [*zeros[1:], zeros[-1]], strict=True)}
    spec = load_spec("eyeriss-v1").replace(**(changes or {}))
    return price([(name, "conv2d", nest) for name, nest in ALEXNET.items()], spec, activity=activity)


def time_ms(cost, spec):
    return cost.latency_cycles / spec.clock_hz * 1e3


def chip_power_mw(cost, spec):
    """Without DRAM, as the chip was measured."""
    chip = cost.total_energy_pj - cost.energy_pj["dram"]
    return chip * 1e-9 / time_ms(cost, spec) * 1e3


def array_traffic_mb(cost):
    """Between buffers and array, as published: what the buffers exchange with DRAM is not counted."""
    exchanged = (
        cost.bytes_written["global_buffer"]["input"]
        + cost.bytes_written["filter_buffer"]["weight"]
        + cost.bytes_read["global_buffer"]["output"]
    )
    buffers = sum(cost.bytes_at(name) for name in ("global_buffer", "filter_buffer"))
    return (buffers - exchanged) / 1e6
