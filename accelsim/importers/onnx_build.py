"""The walk over an .onnx file: every node is folded, moved through, merged into its quantizer, lowered or refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers.onnx_compose import compose
from accelsim.importers.onnx_file import FileNode, FileValue
from accelsim.importers.onnx_fold import FOLDS, fold
from accelsim.importers.onnx_look_up import look_up, to_whole
from accelsim.importers.onnx_lowering import (
    FILE,
    INTEGER_NODES,
    MOVES,
    UNITS,
    Codes,
    Index,
    Lowering,
    Pending,
    Real,
    RealKnown,
    Unit,
    UnsupportedError,
    input_shape,
    limits,
)
from accelsim.quant import QuantParams

_MERGED = ("Relu", "Clip")
_PASSED = ("Identity", "Dropout")
#: folded constants and constant operands together, in elements
_MAX_KNOWN = 1 << 27
NOTE = "Arithmetic of {}: {}."


class _Unknown:
    """What follows an operator that could not be lowered."""


def build(to: Lowering) -> IntegerGraph:
    """The whole graph. AccelsimError lists everything in the file that cannot be lowered."""
    problems: list[str] = []
    for value in to.file.inputs:
        _input(value, to)
    folded = 0
    for node in to.file.nodes:
        before = len(to.ops)
        try:
            problem = None
            if any(isinstance(to.value(name), _Unknown) for name in node.inputs):
                raise _Skip
            _node(node, to)
            folded += sum(to.known[name].size for name in node.outputs if name in to.known)
            if folded > _MAX_KNOWN:
                raise AccelsimError(f"{to.file.path} folds to more than {_MAX_KNOWN} numbers")
        except _Skip:
            problem = ""
        except (UnsupportedError, ValueError, ArithmeticError, LookupError, TypeError) as error:
            problem = str(error) or type(error).__name__  # numbers that no attribute may have, among others
        if problem is not None:
            for op in to.ops[before:]:
                to.tensors.pop(op.output, None)
            del to.ops[before:]
            to.values.update((name, _Unknown()) for name in node.outputs if name)
            if problem:
                problems.append(f"{node.where}: {problem}")
    outputs = [_output(value, to, problems) for value in to.file.outputs]
    if problems:
        unique = list(dict.fromkeys(problems))
        shown = "; ".join(text[:300] for text in unique[:20])
        more = f"; and {len(unique) - 20} more" if len(unique) > 20 else ""
        kinds = sorted({node.kind[:60] for node in to.file.nodes if f"{node.where}: is not supported" in unique})
        missing = f" Operators that are missing: {', '.join(kinds[:40])}." if kinds else ""
        raise AccelsimError(f"{to.file.path} under profile {to.profile.name!r} needs what is not there: "
                            f"{shown}{more}.{missing}")  # fmt: skip
    return _graph(to, [name for name in outputs if name])


class _Skip(Exception):
    """The node reads what is unknown."""


def _graph(to: Lowering, outputs: list[str]) -> IntegerGraph:
    """Without what no output needs."""
    needed, ops = set(outputs), []
    for op in reversed(to.ops):
        if op.output in needed:
            needed |= set(op.inputs)
            ops.append(op)
    try:
        return IntegerGraph(
            ops=tuple(reversed(ops)),
            inputs=tuple(to.inputs),
            outputs=tuple(dict.fromkeys(outputs)),
            tensors={name: info for name, info in to.tensors.items() if name in needed or name in to.inputs},
            profile=to.profile.name,
            name=Path(to.file.path).stem,
            notes=(NOTE.format(to.profile.name, to.profile.runtime), *dict.fromkeys(to.notes)),
        )
    except AccelsimError as error:
        raise AccelsimError(f"{to.file.path}: {error}") from error


def _input(value: FileValue, to: Lowering) -> None:
    to.values[value.name] = value


def _output(value: FileValue, to: Lowering, problems: list[str]) -> str | None:
    found = to.value(value.name)
    if isinstance(found, _Unknown):
        return None
    try:
        if isinstance(found, Pending):
            UNITS[found.unit.kind](replace(found.unit, output=value.name), to)
            found = to.values[value.name]
        if isinstance(found, Real):
            found = found.codes
        if isinstance(found, Codes):
            return to.place(found, FILE)
        problems.append(f"output {value.name!r} is never computed as codes")
    except (UnsupportedError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        problems.append(f"output {value.name!r}: {error}")
    return None


def _node(node: FileNode, to: Lowering) -> None:
    inputs = [to.value(name) for name in node.inputs]
    if not node.outputs or not node.outputs[0]:
        raise UnsupportedError("has no output")
    known = all(v is None or isinstance(v, np.ndarray) for v in inputs)
    if node.kind == "Cast" and inputs and isinstance(inputs[0], Codes | FileValue) and to_whole(node):
        to.values[node.outputs[0]] = Index(codes_of(node.inputs[0], node, to))
        return
    if node.kind == "Gather" and len(inputs) == 2 and isinstance(inputs[1], Index):
        look_up(node, to, inputs[1].codes, grid_of_reader(node.outputs[0], to))
        return
    if node.kind in FOLDS and known and (inputs or node.kind == "Constant"):
        for name, values in zip(node.outputs, fold(node, inputs), strict=False):
            to.known[name] = values
    elif node.kind in ("Shape", "Size"):
        _shape_of(node, inputs[0] if inputs else None, to)
    elif node.kind == "QuantizeLinear":
        _quantize(node, to)
    elif node.kind == "DequantizeLinear":
        _dequantize(node, to)
    elif node.kind in INTEGER_NODES:
        unit = INTEGER_NODES[node.kind](node, to)
        UNITS[unit.kind](unit, to)
    elif node.kind in _PASSED and inputs:
        to.values[node.outputs[0]] = inputs[0]
    elif node.kind in MOVES and inputs and isinstance(inputs[0], Codes | Real | FileValue):
        _move(node, to)
    elif node.kind in UNITS or node.kind == "Div":
        _pend(node, inputs, to)
    elif node.kind in ("DynamicQuantizeLinear", "DynamicQuantizeMatMul"):
        raise UnsupportedError("finds the grid of an activation while the network runs; quantize with fixed grids: "
                               "onnxruntime.quantization.quantize_static")  # fmt: skip
    else:
        raise UnsupportedError("is not supported")


def _move(node: FileNode, to: Lowering) -> None:
    """Codes that are moved stand for the same real numbers."""
    source = codes_of(node.inputs[0], node, to)
    moved = MOVES[node.kind](node, to, source)
    found = to.value(node.inputs[0])
    for name in node.outputs:
        if name and isinstance(to.values.get(name), Codes) and isinstance(found, Real):
            to.values[name] = Real(to.values[name], found.params)
    if isinstance(found, Real):
        to.values[node.outputs[0]] = Real(moved, found.params)


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


def _shape_of(node: FileNode, value: object, to: Lowering) -> None:
    if isinstance(value, FileValue):
        shape: tuple[int, ...] = (to.batch, *input_shape(value, to.batch))
    elif isinstance(value, Codes):
        shape = (to.batch, *value.shape)
    elif isinstance(value, Real):
        shape = (to.batch, *value.codes.shape)
    elif isinstance(value, np.ndarray):
        shape = value.shape
    else:
        raise UnsupportedError("the shape of a tensor that is not quantized")
    if node.kind == "Size":
        to.known[node.outputs[0]] = np.array(math.prod(shape), np.int64)
        return
    chosen = slice(node.attributes.get("start", 0), node.attributes.get("end"))
    to.known[node.outputs[0]] = np.array(shape[chosen], np.int64)


def _quantize(node: FileNode, to: Lowering) -> None:
    output = node.outputs[0]
    kind = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}.get(node.attributes.get("output_dtype", 2), np.uint8)
    source = to.value(node.inputs[0])
    if node.attributes.get("block_size", 0):
        raise UnsupportedError("quantizes in blocks")
    if isinstance(source, np.ndarray):
        scale, zero, bits, signed = to.quantizer(node, 1, 2, np.dtype(kind))
        made = RealKnown(output, source, scale, zero, node.attributes.get("axis", 1), bits, signed)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        codes = np.rint(source / made.along(scale)).astype(np.int64) + made.along(zero)
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
        unit = replace(source.unit, output=output, y=y)
        UNITS[unit.kind](unit, to)
    elif isinstance(source, Real):
        if source.params == y:
            to.values[output] = source.codes
        else:
            UNITS["Identity"](Unit(node, "Identity", (source,), output, y), to)
    else:
        raise UnsupportedError(f"quantizes {node.inputs[0]!r:.200}, which nothing before it computes")


def _dequantize(node: FileNode, to: Lowering) -> None:
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


def _pend(node: FileNode, inputs: list, to: Lowering) -> None:
    """A float node: what it computes is known when its quantizer is met."""
    output = node.outputs[0]
    merged = inputs[0] if inputs else None
    if node.kind in _MERGED and isinstance(merged, Pending):
        lower, upper = limits(node, to)
        unit = merged.unit
        low, high = max(unit.lower, lower), min(unit.upper, upper)
        to.values[output] = Pending(replace(unit, lower=min(low, high), upper=high, output=output))
        return
    composed = compose(node, inputs)
    if composed is not None:
        to.values[output] = composed
        return
    for name, value in zip(node.inputs, inputs, strict=True):
        if not (value is None or isinstance(value, Real | RealKnown | np.ndarray)):
            raise UnsupportedError(f"reads {name!r:.200}, which is not quantized")
    if node.kind not in UNITS:
        raise UnsupportedError("is not supported")
    to.values[output] = Pending(Unit(node, node.kind, tuple(inputs), output, None))
