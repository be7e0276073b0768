"""Functions of one wide code as tables of a few points, interpolated between them (equation E40)."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain

_POINTS_BITS = 31  # points are int32


def interpolated_lut(
    x, table, *, lowest: int, fraction_bits: int, qmin: int = -(2**15), qmax: int = 2**15 - 1
) -> np.ndarray:
    """clamp(t_i + ((t_{i+1} - t_i) r + half >> f), qmin, qmax), (i, r) = divmod(x - lowest, 2**f) (E40).

    table: 1-D integers, the points at the codes lowest, lowest + 2**f, …; one more than there are segments.
    fraction_bits: f, 0 .. 15; with 0 every code has its own point. The quotient's ties go up. Points may lie outside
    [qmin, qmax]. Returns the narrowest type that holds [qmin, qmax]. ValueError where a code has no segment.
    Source: the form of TensorFlow Lite's int16 look-up (lut_lookup), for any width.
    """
    x, points = domain.codes("x", x).astype(np.int64), _checked(table, fraction_bits)
    index = (x - lowest) >> fraction_bits
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(points) - 1:
        raise ValueError(f"interpolated_lut: codes {x.min()} .. {x.max()} leave a table of {len(points) - 1} segments "
                         f"from {lowest} on")  # fmt: skip
    rest = (x - lowest) & ((1 << fraction_bits) - 1)
    base = points[index]
    half = (1 << fraction_bits) >> 1
    value = base + (((points[index + 1] - base) * rest + half) >> fraction_bits)
    return np.clip(value, qmin, qmax).astype(domain.narrowest_dtype(qmin, qmax))


def _checked(table, fraction_bits: int) -> np.ndarray:
    points = np.asarray(table)
    if points.ndim != 1 or points.dtype.kind not in "iu" or len(points) < 2:
        raise ValueError(f"interpolated_lut: the table must be two or more integers, not {points.dtype} {points.shape}")
    if not 0 <= fraction_bits <= 15:
        raise ValueError(f"interpolated_lut: fraction_bits must be 0 to 15, got {fraction_bits}")
    points = points.astype(np.int64)
    if int(np.abs(points).max()) >= 1 << _POINTS_BITS:
        raise ValueError("interpolated_lut: points must fit 32 bits")
    return points
