"""Looks up pairs of bytes. Imported only to compile."""

from __future__ import annotations

import numpy as np

from accelsim_kernels._memory import view


def look_up(dtype: str):
    """Arguments, int64: addresses of a, b, a table of 65536 items of `dtype`, and the output; number of elements."""
    kind = np.dtype(dtype)
    size = kind.itemsize

    def kernel(arguments, worker, workers):
        given = view(arguments, 5, np.int64)
        start = given[4] * worker // workers
        count = given[4] * (worker + 1) // workers - start
        a = view(given[0] + start, count, np.uint8)
        b = view(given[1] + start, count, np.uint8)
        table = view(given[2], 1 << 16, kind)
        out = view(given[3] + start * size, count, kind)
        for i in range(count):
            out[i] = table[(np.uint32(a[i]) << np.uint32(8)) | np.uint32(b[i])]

    return kernel
