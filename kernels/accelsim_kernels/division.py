"""Integer division with a named rounding."""

from __future__ import annotations

import numpy as np


def round_division(numerator, denominator, rounding: str) -> np.ndarray:
    """numerator / denominator rounded as `rounding` names (names.ROUNDINGS but "stochastic"), int64 (E16).

    denominator > 0; |numerator| and denominator below 2**62.
    """
    low = np.floor_divide(numerator, denominator)
    rest = numerator - low * denominator
    if rounding == "floor":
        return low
    if rounding == "odd":
        return np.where(rest != 0, low | 1, low)
    if rounding == "toward_zero":
        return low + ((numerator < 0) & (rest != 0))
    tie_goes_up = {
        "half_up": True,
        "half_down": False,
        "half_away": numerator > 0,
        "half_to_zero": numerator < 0,
        "half_even": (low & 1) == 1,
    }
    if rounding not in tie_goes_up:
        known = ", ".join((*tie_goes_up, "floor", "odd", "toward_zero"))
        raise ValueError(f"a division cannot round {rounding!r}; known: {known}")
    twice = 2 * rest
    return low + ((twice > denominator) | ((twice == denominator) & tie_goes_up[rounding]))
