"""Float nodes between two quantizers that together compute a function of one code: x * Sigmoid(x) and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from accelsim.importers.onnx_file import FileNode
from accelsim.importers.onnx_functions import COMPOSED, is_function, real_codes, real_function
from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_quantizers import moved
from accelsim.importers.onnx_values import Codes, Pending, Real, RealKnown, Unit

#: moves that a function behind them cannot be put before: a maximum, and a constant around an image
_FIRST = ("MaxPool", "NhwcMaxPool", "Pad")
_PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Max": np.maximum, "Min": np.minimum,
}  # fmt: skip


def compose(node: FileNode, inputs: list[Any]) -> Pending | None:
    """The node as part of such a function; None where one of its operands is no function of the same one code."""
    unary = is_function(node.kind) and len(inputs) == 1
    if not unary and not (node.kind in _PAIRS and len(inputs) == 2):
        return None
    moves = {value.moves if isinstance(value, Pending) else () for value in inputs if _source(value) is not None}
    if len(moves) > 1 or any(move.kind in _FIRST for nodes in moves for move in nodes):
        return None  # its operands are no longer beside each other, or their order matters
    source: Real | None = None
    for value in inputs:
        found = _source(value)
        if found is not None and source is not None and not _same(found, source):
            return None
        source = found or source
    one_code = all(_source(value) is not None or _number(value) is not None for value in inputs)
    if source is None or not one_code or not any(isinstance(value, Pending) for value in inputs):
        numbers = [value for value in inputs if isinstance(value, np.ndarray)]
        if source is None or not one_code or not numbers:  # a float constant beside a code is a function of it, too
            return None
    operands = [_values(value) for value in inputs]
    with np.errstate(all="ignore"):
        values = real_function(node.kind, node.attributes, operands[0]) if unary else _PAIRS[node.kind](*operands)
    values = np.broadcast_to(values.astype(np.float32), real_codes(source.params).shape)
    return Pending(Unit(node, COMPOSED, (source,), node.outputs[0], None, values=values), *moves)


def averaged(node: FileNode, inputs: list[Any], to: Lowering) -> Pending | None:
    """An average of a function of one code, summed as the float node does; None where it is of anything else."""
    (value,) = inputs if len(inputs) == 1 else (None,)
    source = _source(value)
    if node.kind not in ("AveragePool", "GlobalAveragePool") or source is None or value is source:
        return None
    if any(move.kind in _FIRST for move in value.moves):
        return None
    values = _values(value)
    if value.moves:
        source = Real(moved(source.codes, value.moves, f"{node.outputs[0]}.moved", to), source.params)
    return Pending(Unit(node, node.kind, (source,), node.outputs[0], None, values=values))


def _source(value: Any) -> Real | None:
    """The quantized operand that everything in a value comes from."""
    if isinstance(value, Real):
        return value
    if isinstance(value, Pending) and (value.unit.kind == COMPOSED or is_function(value.unit.kind)):
        return value.unit.operands[0] if isinstance(value.unit.operands[0], Real) else None
    return None


def _same(a: Real, b: Real) -> bool:
    codes: tuple[Codes, Codes] = a.codes, b.codes
    return codes[0] is codes[1] and a.params == b.params


def _number(value: Any) -> np.ndarray | None:
    """A constant that is one number."""
    values = value.values if isinstance(value, RealKnown) else value
    return values.reshape(()) if isinstance(values, np.ndarray) and values.size == 1 else None


def _values(value: Any) -> np.ndarray:
    """float32, for every code of the source."""
    if isinstance(value, Real):
        return real_codes(value.params)
    if not isinstance(value, Pending):
        return np.asarray(_number(value), np.float32)
    unit = value.unit
    found = unit.values
    if found is None:
        found = real_function(unit.kind, unit.node.attributes, real_codes(unit.operands[0].params))
    return np.clip(found, np.float32(unit.lower), np.float32(unit.upper))
