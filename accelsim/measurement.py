"""What data do on an accelerator: zeros, run lengths and bit toggles of each layer, from simulated tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim.dataflow.machine import RLC_RUN_BITS
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, ArraySpec
from accelsim.ops.mac import Conv2d, MacOp
from accelsim.ops.transpose_conv import TransposeConv2d, walked_weight
from accelsim.pricing import Activity

#: outputs whose partial sums are followed, per layer
PSUM_SAMPLES = 64


def measure_activity(
    graph: IntegerGraph, tensors: Mapping[str, np.ndarray], spec: AcceleratorSpec, *, seed: int = 0
) -> dict[str, Activity]:
    """By layer name, over all samples in the tensors.

    tensors: codes of every tensor of the graph, batch first (`simulate(…, keep="all").tensors`). Zeros are
    codes equal to the zero point. Toggles are counted in the order of the spec's dataflow, on ports as wide as
    the elements (operands of "fused" and "serial" elements: their own width); a row-stationary element takes
    products as an output-stationary one. Partial sums: from `PSUM_SAMPLES` random outputs per layer, drawn from
    the seed.
    """
    found = {}
    for op in graph.ops:
        read = op.inputs or (op.output,)  # a constant reads what it holds
        sides = [[(tensors[name], _zero_point(graph, name)) for name in names] for names in (read, (op.output,))]
        (zeros_in, coded_in), (zeros_out, coded_out) = (_shares(side) for side in sides)
        streams: dict[str, Any] = {}
        if isinstance(op, MacOp):
            streams = _streams(op, sides[0][0][0], graph.tensors[op.inputs[0]].bits, spec.array, seed)
        found[op.name] = Activity(zeros_in, zeros_out, input_coded=coded_in, output_coded=coded_out, **streams)
    return found


def _zero_point(graph: IntegerGraph, name: str) -> int:
    return int(np.asarray(graph.tensors[name].params.zero_point).flat[0])


def _shares(tensors: list[tuple[np.ndarray, int]]) -> tuple[float, float]:
    """(share of zeros, share that a run-length code writes out) over some tensors together."""
    elements = sum(x.size for x, _ in tensors)
    zeros = sum(int(np.count_nonzero(x == zero_point)) for x, zero_point in tensors)
    coded = sum(run_length_words(x != zero_point) for x, zero_point in tensors)
    return zeros / elements, coded / elements


def run_length_words(nonzero: np.ndarray, run_bits: int = RLC_RUN_BITS) -> int:
    """Pairs (run of zeros, value) that code each sample of a tensor, in its own order (channels last).

    nonzero: bool, batch first. Every non-zero element ends a pair; in a run of zeros every 2^run_bits-th zero is
    written as a value; zeros at the end take pairs likewise, rounded up.
    """
    words, most = 0, 2**run_bits
    for sample in nonzero.reshape(len(nonzero), -1):
        places = np.flatnonzero(sample)
        bounds = np.concatenate([[-1], places, [sample.size]])
        runs = np.diff(bounds) - 1
        words += len(places) + int((runs[:-1] // most).sum()) + -(-int(runs[-1]) // most)
    return words


def _streams(op: MacOp, x: np.ndarray, bits: int, array: ArraySpec, seed: int) -> dict[str, Any]:
    """Fields of Activity that the array's ports see."""
    from accelsim_kernels import activity

    weight, geometry = op.weight, dict[str, Any]()
    if isinstance(op, Conv2d):
        names = ("stride", "padding", "dilation", "groups")
        geometry = {name: getattr(op, name) for name in names}
    elif isinstance(op, TransposeConv2d):
        weight, (x, geometry["padding"]) = np.ascontiguousarray(walked_weight(op)), op.spread(x)
    else:
        x, weight = x.reshape(1, -1, 1, x.shape[-1]), weight[:, None, None, :]
    dataflow = "output_stationary" if array.dataflow == "row_stationary" else array.dataflow
    own = array.pe in ("fused", "serial")
    x_bits = bits if own else array.activation_bits
    w_bits = op.weight_params.bits if own else array.weight_bits
    zero_points = np.asarray(op.weight_params.zero_point)
    ports = activity(
        on_port(x, x_bits),
        on_port(weight, w_bits),
        x_zero_point=int(on_port(np.array([op.x_zero_point]), x_bits)[0]),
        dataflow=dataflow,
        samples=0,
        **geometry,
    )
    sums = activity(
        x,
        weight,
        x_zero_point=op.x_zero_point,
        w_zero_point=zero_points if zero_points.ndim else int(zero_points),
        dataflow=dataflow,
        accumulator_bits=array.accumulators.bits,
        samples=PSUM_SAMPLES,
        seed=seed,
        **geometry,
    )["psum"]
    known = bool(sums["transitions"])
    return {
        "mac_zeros": ports["input"]["zeros"] / ports["input"]["values"],
        "input_toggles": _fraction(ports["input"], x_bits),
        "weight_toggles": _fraction(ports["weight"], w_bits),
        "psum_toggles": float(sums["toggles"]) / sums["bits"] if known else None,
        "psum_toggles_error": _finite(sums["standard_error"] / sums["bits"]) if known else None,
    }


def on_port(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes as the bits of a port: two's complement of that width (at most 16), sign-extended where it is wider."""
    bits = min(bits, 16)
    return (codes.astype(np.int32) & ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def _fraction(stream: Mapping[str, float], bits: int) -> float | None:
    return stream["toggles"] / (stream["transitions"] * min(bits, 16)) if stream["transitions"] else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
