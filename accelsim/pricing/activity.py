"""What data do to a layer's cost: zeros that gate and compress, toggles that scale dynamic energy."""

from __future__ import annotations

from dataclasses import dataclass

from accelsim.errors import AccelsimError


@dataclass(frozen=True)
class Activity:
    """Of one layer, from its data. Every field is a fraction of 0 to 1; None: unknown.

    input_zeros, output_zeros: of the tensors' elements. mac_zeros: of the MACs, padding included (None:
    input_zeros). input_coded, output_coded: elements that a run-length code writes out, per element of the
    tensor: the non-zero ones, and an escape in each run of zeros too long for its counter (None: the non-zero
    ones). input_toggles, weight_toggles, psum_toggles: mean fraction of bits that change from one value to the
    next on the array's ports, in the array's order (0.5: random bits); None: the constants' own average
    activity stands. psum_toggles_error: standard error of psum_toggles, which come from a sample.
    """

    input_zeros: float = 0.0
    output_zeros: float = 0.0
    input_toggles: float | None = None
    weight_toggles: float | None = None
    psum_toggles: float | None = None
    mac_zeros: float | None = None
    input_coded: float | None = None
    output_coded: float | None = None
    psum_toggles_error: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value <= 1:
                raise AccelsimError(f"Activity.{name} must be a fraction from 0 to 1, not {value!r}")

    @property
    def gated_share(self) -> float:
        """Share of the MACs that a zero input stops, where the elements gate it."""
        return self.input_zeros if self.mac_zeros is None else self.mac_zeros

    def coded(self, compression: str) -> tuple[float, float]:
        """Shares of inputs and outputs that cross a compressed link as values."""
        shares = []
        for zeros, coded in ((self.input_zeros, self.input_coded), (self.output_zeros, self.output_coded)):
            shares.append(coded if compression == "rlc" and coded is not None else 1 - zeros)
        return shares[0], shares[1]

    @property
    def toggles(self) -> tuple[float | None, float | None, float | None]:
        """Of inputs, weights and partial sums."""
        return self.input_toggles, self.weight_toggles, self.psum_toggles
