"""The LSTM step in Python integers: what accelsim_kernels.lstm must equal (E30)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import domain
from ..lstm_step import check_lstm
from .activations import logistic, tanh
from .requantization import requantize

_WIDE = {"qmin": -(2**31), "qmax": 2**31 - 1}


def lstm(
    x, hidden, cell, *, gates: Mapping[str, Mapping], x_zero_point: int, forget_to_cell: Mapping,
    input_to_cell: Mapping, output: Mapping, cell_shift: int, cell_clip: int = 2**15 - 1,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """As accelsim_kernels.lstm."""
    x, hidden, cell = domain.codes("x", x), domain.codes("hidden", hidden), domain.codes("cell", cell)
    check_lstm(x, hidden, cell, gates)
    zero = output.get("zero_point", 0)
    result, new = np.empty_like(hidden), np.empty_like(cell)
    for n, u in np.ndindex(*hidden.shape):
        at = {}
        for name, gate in gates.items():
            total = int(gate["bias"][u]) + _dot(x[n], gate["input_weights"][u], x_zero_point)
            total = _held(_scaled(total, gate["input"]), -(2**15), 2**15 - 1)
            recurrent = _dot(hidden[n], gate["hidden_weights"][u], zero)
            total = _held(total + _scaled(recurrent, gate["hidden"]), -(2**15), 2**15 - 1)
            at[name] = _table(tanh if name == "cell" else logistic, total, 0)
        kept = _held(_scaled(at["forget"] * int(cell[n, u]), forget_to_cell), -(2**15), 2**15 - 1)
        state = _held(kept + _scaled(at["input"] * at["cell"], input_to_cell), -cell_clip, cell_clip)
        new[n, u] = state
        result[n, u] = requantize(np.array(at["output"] * _table(tanh, state, cell_shift)), **output).item()
    return result, new


def _dot(codes: np.ndarray, weights, zero_point: int) -> int:
    return sum((int(v) - zero_point) * int(w) for v, w in zip(codes, weights, strict=True))


def _scaled(value: int, how: Mapping) -> int:
    return requantize(np.array(value), **how, **_WIDE).item()


def _table(function, value: int, shift: int) -> int:
    code = np.array(value, np.int16)
    return function(code, arithmetic="table", multiplier=3 << max(shift, 0), shift=max(-shift, 0)).item()


def _held(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
