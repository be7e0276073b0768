"""One step of an integer LSTM (equation E30)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.activations import logistic, tanh
from accelsim_kernels.mac_array import matmul
from accelsim_kernels.requantization import requantize

GATES = ("input", "forget", "cell", "output")
_WIDE = {"qmin": -(2**31), "qmax": 2**31 - 1}
_INT16 = (-(2**15), 2**15 - 1)


def lstm(
    x, hidden, cell, *, gates: Mapping[str, Mapping], x_zero_point: int, forget_to_cell: Mapping,
    input_to_cell: Mapping, output: Mapping, cell_shift: int, cell_clip: int = 2**15 - 1,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """One step of a long short-term memory: (new hidden state, which is the output, new cell state) (E30).

    x: (N, C) codes, int8 or int16. hidden: (N, H) codes of the same dtype; full of the output's zero point at the
    start. cell: (N, H) int16. gates: of each of GATES input_weights (H, C), hidden_weights (H, H), bias (H,), and
    input, hidden: keywords of requantize() from each product to the gate's int16 sum (Q3.12), zero point and clamp
    aside. forget_to_cell, input_to_cell: keywords of requantize() likewise, from gate products to the cell.
    output: all of them, with zero_point and clamp. cell_shift: cell state * 2**cell_shift is Q3.12. cell_clip: the
    cell state stays in +-cell_clip. Source: CMSIS-NN arm_nn_lstm_step_s8, arm_nn_lstm_step_s16.
    """
    x, hidden, cell = domain.codes("x", x), domain.codes("hidden", hidden), domain.codes("cell", cell)
    check_lstm(x, hidden, cell, gates)
    zero = output.get("zero_point", 0)
    at = {g: _gate(x, hidden, gates[g], x_zero_point, zero, tanh if g == "cell" else logistic) for g in GATES}
    kept = np.clip(requantize(at["forget"] * cell, **forget_to_cell, **_WIDE), *_INT16).astype(np.int64)
    added = requantize(at["input"] * at["cell"], **input_to_cell, **_WIDE)
    new = np.clip(kept + added, -cell_clip, cell_clip).astype(np.int16)
    # a right shift rounds half up inside the table's own scaling
    read = tanh(new, arithmetic="table", multiplier=3 << max(cell_shift, 0), shift=max(-cell_shift, 0))
    return requantize(at["output"] * read.astype(np.int64), **output), new


def _gate(x, hidden, gate: Mapping, x_zero_point: int, hidden_zero_point: int, function) -> np.ndarray:
    """function of the gate's sum, int16 with scale 1/32768; each addition is held in int16."""
    total = np.zeros(hidden.shape, np.int64)
    for codes, zero, weights, bias, how in (
        (x, x_zero_point, gate["input_weights"], gate["bias"], gate["input"]),
        (hidden, hidden_zero_point, gate["hidden_weights"], None, gate["hidden"]),
    ):
        product = matmul(
            codes, np.ascontiguousarray(np.asarray(weights).T), bias=bias, a_zero_point=zero,
            accumulator_bits=32 if codes.dtype == np.int8 else 48,
        )  # fmt: skip
        total = np.clip(total + requantize(product, **how, **_WIDE), *_INT16)
    return function(total.astype(np.int16), arithmetic="table", multiplier=3, shift=0).astype(np.int64)


def check_lstm(x, hidden, cell, gates: Mapping[str, Mapping]) -> None:
    """ValueError unless the operands of lstm() fit each other."""
    if set(gates) != set(GATES):
        raise ValueError(f"lstm: gates must be {', '.join(GATES)}; got {', '.join(map(str, gates))}")
    if hidden.dtype != x.dtype or x.dtype not in (np.int8, np.int16) or cell.dtype != np.int16:
        found = f"{x.dtype}, {hidden.dtype}, {cell.dtype}"
        raise ValueError(f"lstm: x and hidden must both be int8 or int16, cell int16; got {found}")
    units = hidden.shape[-1]
    wanted = {"input_weights": (units, x.shape[-1]), "hidden_weights": (units, units), "bias": (units,)}
    if hidden.shape != (len(x), units) or cell.shape != hidden.shape:
        raise ValueError(f"lstm: states of shape {hidden.shape} and {cell.shape} for x of shape {x.shape}")
    for name, gate in gates.items():
        for key, shape in wanted.items():
            if np.shape(gate[key]) != shape:
                raise ValueError(f"lstm: {key} of gate {name} has shape {np.shape(gate[key])}, not {shape}")
