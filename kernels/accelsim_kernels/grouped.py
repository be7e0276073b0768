"""Matrix products whose weights have a scale for each group of inputs: partial sums rescaled inside K (A9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels.mac_array import matmul
from accelsim_kernels.requantization import requantize as apply_scheme

#: how a partial sum comes to the common scale: exact product, one rounding, ties up
SCHEME = "tflite-single"
_LOW, _HIGH = -(2**31), 2**31 - 1


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
    """bias + sum over groups g of R(sum over k in g of (a - za)(b_g - zb_g), multiplier_g, shift_g) (A9).

    a: codes (M, K). b: one operand for each group of `group_size` consecutive k (the last may be shorter), as
    matmul() takes it. multiplier, shift, b_zero_point: (groups, N). A partial sum is a sum of matmul() under
    `accumulator` (its keywords), held to 32 bits, rescaled by R = tflite-single to 32 bits, and added to the running
    sum in the order of the groups; the running sum has the width and overflow of the outermost level and starts at
    the bias, or takes it last (bias_at="after"). requantize: keywords for the result. return_events: also a bool
    array, true where a partial or the running sum had an event.
    """
    a, multiplier, shift, zero = checked(a, len(b), group_size, multiplier, shift, b_zero_point)
    bits, overflow = outermost(accumulator)
    columns = multiplier.shape[1]
    start = np.zeros(columns, np.int64) if bias is None else np.asarray(bias, np.int64)
    running = _Running(np.zeros((len(a), columns), np.int64), bits, overflow)
    if bias_at == "preload":
        running.add(start)
    for g, operand in enumerate(b):
        part = np.ascontiguousarray(a[:, g * group_size : (g + 1) * group_size])
        sums, seen = matmul(part, operand, a_zero_point=a_zero_point, b_zero_point=zero[g], return_events=True,
                            **accumulator)  # fmt: skip
        held = np.clip(sums, _LOW, _HIGH).astype(np.int32)
        running.events |= seen
        running.add(apply_scheme(held, SCHEME, multiplier[g], shift[g], qmin=_LOW, qmax=_HIGH).astype(np.int64))
    if bias_at == "after":
        running.add(start)
    values = running.value.astype(np.int32 if bits <= 32 else np.int64)
    if requantize is not None:
        values = apply_scheme(values, **requantize)
    return (values, running.events) if return_events else values


class _Running:
    """A sum that wraps, saturates or raises at its width."""

    def __init__(self, value: np.ndarray, bits: int, overflow: str) -> None:
        self.value, self.exact = value, value.copy()
        self.overflow = overflow
        self.low, self.high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        self.span = bits
        self.events = np.zeros(value.shape, bool)

    def add(self, term: np.ndarray) -> None:
        self.exact = self.exact + term if self.overflow != "saturate" else self.value + term
        out = (self.exact < self.low) | (self.exact > self.high)
        if self.overflow == "raise" and out.any():
            index = tuple(int(i) for i in np.argwhere(out)[0])
            raise OverflowError(f"output {index}: {self.exact[index]} does not fit {self.span} bits")
        self.events |= out
        if self.overflow == "saturate":
            self.value = np.clip(self.exact, self.low, self.high)
        elif self.span < 64:
            self.value = ((self.exact - self.low) & ((1 << self.span) - 1)) + self.low
        else:
            self.value = self.exact


def checked(a, groups: int, group_size: int, multiplier, shift, b_zero_point) -> tuple[np.ndarray, ...]:
    """The operands as arrays of matching shapes; ValueError saying which does not fit."""
    a = domain.codes("a", a)
    multiplier, shift = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if a.ndim != 2 or group_size < 1 or groups != -(-a.shape[1] // group_size):
        raise ValueError(f"grouped_matmul: a of shape {a.shape} in groups of {group_size} is not {groups} groups")
    if multiplier.ndim != 2 or multiplier.shape != shift.shape or len(multiplier) != groups:
        raise ValueError(f"grouped_matmul: multiplier {multiplier.shape} and shift {shift.shape} must be (groups, N)")
    return a, multiplier, shift, np.broadcast_to(np.asarray(b_zero_point, np.int64), multiplier.shape)


def outermost(accumulator: Mapping[str, Any]) -> tuple[int, str]:
    """(bits, overflow) of the accumulator that the rescaled partial sums are added in."""
    levels = accumulator.get("levels")
    if levels:
        return levels[-1][0], levels[-1][1]
    return accumulator.get("accumulator_bits", 32), accumulator.get("overflow", "wrap")
