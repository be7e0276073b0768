"""Products with a scale for each group of inputs, in Python integers: what accelsim_kernels.grouped must equal (A9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .mac_array import matmul
from .requantization import requantize as apply_scheme


def grouped_matmul(
    a,
    b: Sequence[Any],
    *,
    group_size: int,
    multiplier,
    shift,
    bias=None,
    a_zero_point=0,
    b_zero_point=0,
    return_events: bool = False,
    requantize: Mapping[str, Any] | None = None,
    bias_at: str = "preload",
    **accumulator: Any,
) -> Any:
    """As accelsim_kernels.grouped_matmul (A9)."""
    levels = accumulator.get("levels")
    bits, overflow = levels[-1][:2] if levels else (
        accumulator.get("accumulator_bits", 32), accumulator.get("overflow", "wrap"),
    )  # fmt: skip
    a = np.asarray(a)
    multiplier, shift = np.asarray(multiplier), np.asarray(shift)
    zero = np.broadcast_to(np.asarray(b_zero_point), multiplier.shape)
    rows, columns = len(a), multiplier.shape[1]
    terms: list[list[list[int]]] = [[[] for _ in range(columns)] for _ in range(rows)]
    events = np.zeros((rows, columns), bool)
    for g, operand in enumerate(b):
        part = a[:, g * group_size : (g + 1) * group_size]
        sums, seen = matmul(part, operand, a_zero_point=a_zero_point, b_zero_point=zero[g], return_events=True,
                            **accumulator)  # fmt: skip
        events |= seen
        for m in range(rows):
            for n in range(columns):
                held = min(max(int(sums[m, n]), -(2**31)), 2**31 - 1)
                rescaled = (held * int(multiplier[g, n]) + 2 ** (30 - int(shift[g, n]))) // 2 ** (31 - int(shift[g, n]))
                terms[m][n].append(min(max(rescaled, -(2**31)), 2**31 - 1))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    values = np.empty((rows, columns), np.int32 if bits <= 32 else np.int64)
    for m in range(rows):
        for n in range(columns):
            first = [] if bias is None else [int(bias[n])]
            steps = first + terms[m][n] if bias_at == "preload" else terms[m][n] + first
            total = 0
            for step in steps:
                total += step
                if not low <= total <= high:
                    if overflow == "raise":
                        raise OverflowError(f"output {(m, n)}: {total} does not fit {bits} bits")
                    events[m, n] = True
                    if overflow == "saturate":
                        total = min(max(total, low), high)
            values[m, n] = (total - low) % 2**bits + low
    if requantize is not None:
        values = apply_scheme(values, **requantize)
    return (values, events) if return_events else values
