"""What data do to a layer's cost: zeros that gate and compress, toggles that scale dynamic energy."""

from __future__ import annotations

from dataclasses import dataclass

from accelsim.errors import AccelsimError


@dataclass(frozen=True)
class Activity:
    """Of one layer, from its data in the order of the schedule.

    input_zeros, output_zeros: fractions of zero elements. input_toggles, weight_toggles, psum_toggles: mean
    fraction of bits that change between consecutive values of the stream (0.5: random bits); None: unknown,
    so the constants' own average activity stands.
    """

    input_zeros: float = 0.0
    output_zeros: float = 0.0
    input_toggles: float | None = None
    weight_toggles: float | None = None
    psum_toggles: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value <= 1:
                raise AccelsimError(f"Activity.{name} must be a fraction from 0 to 1, not {value!r}")

    def toggles(self, average: tuple[float, float, float]) -> tuple[float, float, float]:
        """(input, weight, partial sum) toggles, the average where unknown."""
        known = (self.input_toggles, self.weight_toggles, self.psum_toggles)
        inputs, weights, sums = (a if value is None else value for value, a in zip(known, average, strict=True))
        return inputs, weights, sums
