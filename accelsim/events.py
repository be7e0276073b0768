"""What a simulation counts: overflow of accumulators, and where a scheme rounds unlike the real numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerEvents:
    """What one layer's accumulators did: `outputs_with_events` of `outputs` left their range.

    overflow: "wrap" (the exact running sum left the range), "saturate" (a prefix was clipped) or "raise".
    """

    name: str
    overflow: str
    accumulator_bits: int
    outputs_with_events: int
    outputs: int

    @property
    def fraction(self) -> float:
        return self.outputs_with_events / self.outputs if self.outputs else 0.0


@dataclass(frozen=True)
class RescaleDifferences:
    """How often a layer's scheme gave another integer than one exact rounding of the same accumulator."""

    name: str
    scheme: str
    differing: int
    outputs: int

    @property
    def fraction(self) -> float:
        return self.differing / self.outputs if self.outputs else 0.0
