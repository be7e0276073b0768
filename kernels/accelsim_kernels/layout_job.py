"""Codes in another order. Imported only to compile."""

from __future__ import annotations

import numpy as np

from accelsim_kernels._memory import next_job, view


def interleave(planes: int, dtype: str):
    """(planes, pixels) -> (pixels, planes), an image a job.

    Arguments, int64: address of the counters, jobs, addresses of x and the output, pixels.
    """
    kind = np.dtype(dtype)
    item = kind.itemsize

    def kernel(arguments, worker, workers):
        given = view(arguments, 5, np.int64)
        pixels = given[4]
        whole = planes * pixels
        while True:
            job = next_job(given[0], given[1], worker, workers)
            if job < 0:
                break
            x = view(given[2] + job * whole * item, whole, kind)
            out = view(given[3] + job * whole * item, whole, kind)
            for pixel in range(pixels):
                for plane in range(planes):
                    out[pixel * planes + plane] = x[plane * pixels + pixel]

    return kernel
