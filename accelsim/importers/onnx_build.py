"""The walk over an .onnx file: every node is folded, moved through, merged into its quantizer, lowered or refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers.onnx_compose import averaged, compose
from accelsim.importers.onnx_file import FileNode, FileValue
from accelsim.importers.onnx_fold import FOLDS, fold
from accelsim.importers.onnx_look_up import look_up, to_whole
from accelsim.importers.onnx_lowering import Lowering, input_shape, limits
from accelsim.importers.onnx_quantizers import codes_of, dequantize, grid_of_reader, quantize, settle
from accelsim.importers.onnx_values import (
    FILE,
    INTEGER_NODES,
    MOVES,
    UNITS,
    Codes,
    Index,
    Pending,
    Real,
    RealKnown,
    Unit,
    UnsupportedError,
)

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
        if not any("Quantize" in node.kind or node.kind.startswith("Q") for node in to.file.nodes):
            missing += " Nothing in it is quantized: onnxruntime.quantization.quantize_static makes codes of it."
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
            settle(found, value.name, None, to)
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
        quantize(node, to)
    elif node.kind == "DequantizeLinear":
        dequantize(node, to)
    elif node.kind in INTEGER_NODES:
        unit = INTEGER_NODES[node.kind](node, to)
        UNITS[unit.kind](unit, to)
    elif node.kind in _PASSED and inputs:
        to.values[node.outputs[0]] = inputs[0]
    elif node.kind in MOVES and inputs and isinstance(inputs[0], Codes | Real | FileValue):
        _move(node, to)
    elif node.kind in MOVES and inputs and isinstance(inputs[0], Pending) and len(node.outputs) == 1:
        to.values[node.outputs[0]] = Pending(inputs[0].unit, (*inputs[0].moves, node))
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


def _pend(node: FileNode, inputs: list, to: Lowering) -> None:
    """A float node: what it computes is known when its quantizer is met."""
    output = node.outputs[0]
    merged = inputs[0] if inputs else None
    if node.kind in _MERGED and isinstance(merged, Pending) and not any(move.kind == "Pad" for move in merged.moves):
        lower, upper = limits(node, to)
        unit = merged.unit
        low, high = max(unit.lower, lower), min(unit.upper, upper)
        to.values[output] = Pending(replace(unit, lower=min(low, high), upper=high, output=output), merged.moves)
        return
    composed = compose(node, inputs) or averaged(node, inputs, to)
    if composed is not None:
        to.values[output] = composed
        return
    for name, value in zip(node.inputs, inputs, strict=True):
        if not (value is None or isinstance(value, Real | RealKnown | np.ndarray)):
            raise UnsupportedError(f"reads {name!r:.200}, which is not quantized")
    if node.kind not in UNITS:
        raise UnsupportedError("is not supported")
    to.values[output] = Pending(Unit(node, node.kind, tuple(inputs), output, None))
