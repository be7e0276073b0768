"""Compiled comparison of two requantizers over a range of accumulators. Imported only to compile."""

from __future__ import annotations

import numpy as np

from accelsim_kernels._jit import njit
from accelsim_kernels._memory import view, view2
from accelsim_kernels.requantize_loops import scalar


def compare(scheme_a: str, options_a: str, dtype_a: str, scheme_b: str, options_b: str, dtype_b: str):
    """Kernel that counts, chunk by chunk, the accumulators where the codes of two requantizers differ.

    Arguments, int64: first accumulator, last accumulator, chunk size, address of the counts (chunks,); for
    each side seven words: addresses of the first parameter, number of thresholds, b, c, zero_point, qmin,
    qmax.
    """
    code_a, code_b = scalar(scheme_a, options_a), scalar(scheme_b, options_b)
    first_a, first_b = _first(scheme_a, np.dtype(dtype_a)), _first(scheme_b, np.dtype(dtype_b))

    def run(address, worker, workers):
        given = view(address, 18, np.int64)
        low, high, size = given[0], given[1], given[2]
        chunks = (high - low) // size + 1
        counts = view(given[3], chunks, np.int64)
        a1, b1 = first_a(given[4], given[5]), first_b(given[11], given[12])
        a2, a3, az, al, ah = given[6], given[7], given[8], given[9], given[10]
        b2, b3, bz, bl, bh = given[13], given[14], given[15], given[16], given[17]
        for chunk in range(chunks * worker // workers, chunks * (worker + 1) // workers):
            start = low + chunk * size
            differing = np.int64(0)
            for acc in range(start, min(start + size, high + 1)):
                differing += code_a(acc, a1, a2, a3, az, al, ah) != code_b(acc, b1, b2, b3, bz, bl, bh)
            counts[chunk] = differing

    return run


def _first(scheme: str, dtype):
    """Inlinable (address, width) -> the first parameter: a number, or the row of thresholds."""
    if scheme == "finn-thresholds":

        @njit
        def row(address, width):
            return view2(address, 1, width, np.int64)[0]

        return row

    @njit
    def number(address, width):
        return view(address, 1, dtype)[0]

    return number
