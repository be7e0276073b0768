"""Requantizers that tiles apply while the sums are in registers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from accelsim_kernels.requantization import prepare
from accelsim_kernels.simd import Engine

#: schemes that are one float32 product, rounded to even
FLOAT_SCHEMES = ("onnx-float", "gemmini")
#: a larger scale could carry a product beyond 32 bits
_LARGEST_SCALE = 0.99


class Scaled(NamedTuple):
    """A float32 scale for each channel, and one zero point, lowest and highest 8-bit code for all."""

    scales: np.ndarray
    zero_point: int
    qmin: int
    qmax: int
    dtype: np.dtype

    @property
    def signed(self) -> bool:
        return self.dtype == np.int8


def scaled_of(requantize: Mapping[str, Any] | None, channels: int, engine: Engine) -> Scaled | None:
    """The requantizer as tiles of that engine apply it; None where they do not."""
    if requantize is None or engine.name != "vpdpbusd512" or requantize["scheme"] not in FLOAT_SCHEMES:
        return None
    ready = prepare(channels=channels, **requantize)
    scales, ends = ready.params[0], [np.unique(values) for values in ready.params[3:]]
    if ready.dtype.itemsize > 1 or max(map(len, ends)) > 1 or not scales.size or scales.max() > _LARGEST_SCALE:
        return None
    zero_point, qmin, qmax = (int(values[0]) for values in ends)
    if scales.min() < 0 or abs(zero_point) > 1 << 14:
        return None
    return Scaled(scales.astype(np.float32), zero_point, qmin, qmax, ready.dtype)
