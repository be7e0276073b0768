"""Quantizers of .onnx files: where codes come from, and by which grid they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accelsim.importers.onnx_file import FileNode, FileValue
from accelsim.importers.onnx_lowering import Lowering, check_scales, input_shape
from accelsim.importers.onnx_values import MOVES, UNITS, Codes, Pending, Real, RealKnown, Unit, UnsupportedError
from accelsim.quant import QuantParams


def codes_of(name: str, node: FileNode, to: Lowering) -> Codes:
    """The codes of an activation; a file's input of codes takes its grid from its first reader with one."""
    found = to.value(name)
    if isinstance(found, Real):
        return found.codes
    if isinstance(found, FileValue):
        found = _integer_input(found, to)
    if not isinstance(found, Codes):
        raise UnsupportedError(f"reads {name!r:.200}, which is not quantized")
    return found


def _integer_input(value: FileValue, to: Lowering) -> Codes:
    types = {"INT8": (8, True), "UINT8": (8, False), "INT16": (16, True), "UINT16": (16, False)}
    if value.type not in types:
        raise UnsupportedError(f"input {value.name!r} is {value.type or 'of no type'}, and not quantized first")
    bits, signed = types[value.type]
    params = grid_of_reader(value.name, to) or QuantParams(1.0, 0, bits, signed)
    if (params.bits, params.signed) != (bits, signed):
        raise UnsupportedError(f"input {value.name!r} is {value.type}, its reader takes other codes")
    codes = to.define_input(value.name, value.name, input_shape(value, to.batch), params)
    to.values[value.name] = codes
    return codes


def grid_of_reader(name: str, to: Lowering) -> QuantParams | None:
    """The grid by which codes are read first, where need be behind nodes that only move them."""
    names = {name}
    for node in to.file.nodes:
        for place, other in enumerate(node.inputs):
            carries = node.kind.startswith(("DequantizeLinear", "QLinear", "QGemm")) and place + 2 < len(node.inputs)
            if other in names and carries and set(node.inputs[place + 1 : place + 3]) <= set(to.known):
                return to.grid(node, place + 1, place + 2)
        if node.kind in MOVES and node.inputs and node.inputs[0] in names:
            names.update(node.outputs)
    return None


def settle(pending: Pending, output: str, y: QuantParams | None, to: Lowering) -> None:
    """Lower what was pending, its quantizer met; y: None where it leaves the file as real numbers."""
    first = f"{output}.0" if pending.moves else output
    UNITS[pending.unit.kind](replace(pending.unit, output=first, y=y), to)
    if pending.moves:
        moved(to.values[first], pending.moves, output, to)


def moved(codes: Codes, moves: Sequence[FileNode], output: str, to: Lowering) -> Codes:
    """Codes behind nodes of MOVES that the file has on real numbers."""
    if np.ndim(codes.params.scale):
        raise UnsupportedError("moves real numbers with a scale for each channel")
    for place, node in enumerate(moves):
        before, after = f"{output}.{place}", output if place == len(moves) - 1 else f"{output}.{place + 1}"
        to.values[before] = Real(codes, codes.params)
        codes = MOVES[node.kind](replace(node, inputs=(before, *node.inputs[1:]), outputs=(after,)), to, codes)
    return codes


def quantize(node: FileNode, to: Lowering) -> None:
    output = node.outputs[0]
    kind = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}.get(node.attributes.get("output_dtype", 2), np.uint8)
    source = to.value(node.inputs[0])
    if node.attributes.get("block_size", 0):
        raise UnsupportedError("quantizes in blocks")
    if isinstance(source, np.ndarray):
        scale, zero, bits, signed = to.quantizer(node, 1, 2, np.dtype(kind))
        made = RealKnown(output, source, scale, zero, node.attributes.get("axis", 1), bits, signed)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        with np.errstate(all="ignore"):
            codes = np.nan_to_num(np.rint(source / made.along(scale)) + made.along(zero), nan=low)
        to.known[output] = np.clip(codes, low, high).astype(zero.dtype)
        return
    y = to.grid(node, 1, 2, np.dtype(kind))
    if isinstance(source, FileValue):
        if source.type not in ("FLOAT", ""):
            raise UnsupportedError(f"quantizes {source.type}")
        if source.name in to.inputs:
            raise UnsupportedError(f"input {source.name!r} is quantized twice, on different grids")
        to.values[output] = to.define_input(source.name, output, input_shape(source, to.batch), y)
        for other in to.file.nodes:  # the same quantizer written several times
            same = other.kind == "QuantizeLinear" and other.inputs == node.inputs
            if same and other.attributes == node.attributes and other.outputs:
                to.values[other.outputs[0]] = to.values[output]
    elif isinstance(to.values.get(output), Codes):
        return
    elif isinstance(source, Pending):
        settle(source, output, y, to)
    elif isinstance(source, Real):
        if source.params == y:
            to.values[output] = source.codes
        else:
            UNITS["Identity"](Unit(node, "Identity", (source,), output, y), to)
    else:
        raise UnsupportedError(f"quantizes {node.inputs[0]!r:.200}, which nothing before it computes")


def dequantize(node: FileNode, to: Lowering) -> None:
    source = to.value(node.inputs[0])
    output = node.outputs[0]
    if node.attributes.get("block_size", 0):
        raise UnsupportedError("dequantizes in blocks")
    if not isinstance(source, np.ndarray):
        codes = codes_of(node.inputs[0], node, to)
        to.values[output] = Real(codes, to.grid(node, 1, 2, codes.params.dtype))
        return
    if source.dtype == np.int32:  # a bias; its zero point is 0
        scale, zero = to.constant(node, 1, "scale").astype(np.float32), np.zeros((), np.int64)
        given = to.optional_constant(node, 2, "zero point")
        if given is not None and np.any(given):
            raise UnsupportedError("int32 codes with a zero point")
        check_scales(scale)
        bits, signed = 32, True
    else:
        scale, zero, bits, signed = to.quantizer(node, 1, 2, source.dtype)
        if zero.dtype != source.dtype:
            raise UnsupportedError(f"codes of {source.dtype} with a zero point of {zero.dtype}")
        bits = 4 if node.inputs[0] in to.file.four_bits else bits
    axis = node.attributes.get("axis", 1)
    if scale.size > 1 and not (-source.ndim <= axis < source.ndim and source.shape[axis] == scale.size):
        raise UnsupportedError(f"{scale.size} scales along axis {axis} of a constant of shape {source.shape}")
    to.values[output] = RealKnown(node.inputs[0], source, scale, zero, axis, bits, signed)
