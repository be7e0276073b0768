"""Interpolated tables in Python integers: what accelsim_kernels.interpolation must equal (E40)."""

from __future__ import annotations

import numpy as np

from .. import domain


def interpolated_lut(
    x, table, *, lowest: int, fraction_bits: int, qmin: int = -(2**15), qmax: int = 2**15 - 1
) -> np.ndarray:
    """As accelsim_kernels.interpolated_lut (E40)."""
    x = domain.codes("x", x)
    points = [int(p) for p in np.asarray(table)]
    segment = 2**fraction_bits
    out = np.empty(x.shape, domain.narrowest_dtype(qmin, qmax))
    for place in np.ndindex(x.shape):
        index, rest = divmod(int(x[place]) - lowest, segment)
        if not 0 <= index < len(points) - 1:
            raise ValueError(f"interpolated_lut: code {x[place]} leaves a table of {len(points) - 1} segments")
        rise = (points[index + 1] - points[index]) * rest
        value = points[index] + (2 * rise + segment) // (2 * segment) if segment > 1 else points[index]
        out[place] = min(max(value, qmin), qmax)
    return out
