"""Corner values of integer ranges, to be crossed before anything random."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np


def integers(low: int, high: int) -> list[int]:
    """0, ±1, ±2**k, ±2**k ± 1, both ends and their neighbours: those that lie in [low, high], sorted."""
    values = {low, low + 1, high - 1, high, 0, 1, -1}
    for k in range(1, 64):
        for sign in (1, -1):
            values.update((sign << k, (sign << k) - 1, (sign << k) + 1))
    return sorted(value for value in values if low <= value <= high)


def of_dtype(dtype: object) -> np.ndarray:
    """The corners of an integer dtype, as an array of that dtype."""
    info = np.iinfo(dtype)
    return np.array(integers(int(info.min), int(info.max)), dtype)


def around(values: Iterable[int], low: int, high: int) -> list[int]:
    """Each value with both neighbours, inside [low, high]: ties and limits of a computed boundary."""
    return sorted({near for value in values for near in (value - 1, value, value + 1) if low <= near <= high})


def crossed(*axes: Iterable[object]) -> Iterator[tuple[object, ...]]:
    """Every combination of the axes."""
    return itertools.product(*axes)
