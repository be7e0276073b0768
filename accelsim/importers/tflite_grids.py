"""Grids of a .tflite file's tensors, and the ranges of codes that fused activations leave."""

from __future__ import annotations

import numpy as np

from accelsim.importers.registry import SCALES, UnsupportedError
from accelsim.importers.tflite_file import FileTensor
from accelsim.quant import QuantParams

#: types that hold codes: bits, signed
CODES = {"INT4": (4, True), "INT8": (8, True), "UINT8": (8, False), "INT16": (16, True), "UINT16": (16, False)}
#: fused activations by number: name, real range. Source: LiteRT schema.fbs, ActivationFunctionType
_CLAMPS = {0: ("NONE", None, None), 1: ("RELU", 0.0, None), 2: ("RELU_N1_TO_1", -1.0, 1.0), 3: ("RELU6", 0.0, 6.0)}


def grid(tensor: FileTensor) -> QuantParams:
    """The grid of a tensor with one scale; UnsupportedError where it has none or more."""
    if tensor.type not in CODES:
        raise UnsupportedError(f"tensor {tensor.name!r} is {tensor.type}, not codes")
    if len(tensor.scale) != 1:
        raise UnsupportedError(f"tensor {tensor.name!r} has {len(tensor.scale)} scales, one is needed")
    if not SCALES[0] <= tensor.scale[0] <= SCALES[1]:
        raise UnsupportedError(f"tensor {tensor.name!r} has scale {tensor.scale[0]}, not finite and sane")
    bits, signed = CODES[tensor.type]
    return QuantParams(float(tensor.scale[0]), int(tensor.zero_point[0]), bits, signed)


def weight_grid(tensor: FileTensor, axis: int, channels: int) -> QuantParams:
    """The grid of weights whose output channels run along `axis` of the file, along axis 0 in the graph."""
    if tensor.type not in CODES or len(tensor.scale) not in (1, channels):
        raise UnsupportedError(f"weights {tensor.name!r} of type {tensor.type} with {len(tensor.scale)} scales")
    if not (tensor.scale <= SCALES[1]).all():
        raise UnsupportedError(f"weights {tensor.name!r} have scales up to {tensor.scale.max()}")
    bits, signed = CODES[tensor.type]
    if len(tensor.scale) == 1:
        return QuantParams(float(tensor.scale[0]), int(tensor.zero_point[0]), bits, signed)
    if tensor.axis != axis:
        raise UnsupportedError(f"weights {tensor.name!r} have their scales along axis {tensor.axis}, not {axis}")
    return QuantParams(tensor.scale.astype(np.float64), tensor.zero_point, bits, signed, axis=0)


def clamp_codes(activation: int, y: QuantParams) -> dict[str, int]:
    """qmin, qmax of a fused activation: zero_point + round(limit / scale) in float32, ties away.

    Source: TensorFlow Lite kernel_util.cc, CalculateActivationRangeQuantized.
    """
    if activation not in _CLAMPS:
        raise UnsupportedError(f"fused activation {activation} is not a clamp")
    _, lower, upper = _CLAMPS[activation]
    return real_clamp(lower, upper, y)


def real_clamp(lower: float | None, upper: float | None, y: QuantParams) -> dict[str, int]:
    """qmin, qmax of a range of real numbers on a grid; see clamp_codes()."""
    qmin, qmax = y.qmin, y.qmax
    if lower is not None:
        qmin = max(qmin, y.zero_point + _round_away(np.float32(lower) / np.float32(y.scale)))
    if upper is not None:
        qmax = min(qmax, y.zero_point + _round_away(np.float32(upper) / np.float32(y.scale)))
    return {"qmin": min(qmin, y.qmax), "qmax": max(qmax, y.qmin)}


def _round_away(value: np.floating) -> int:
    magnitude = int(np.floor(min(abs(float(value)), 2.0**40) + 0.5))
    return -magnitude if value < 0 else magnitude
