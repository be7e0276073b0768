"""Requantization of a tile of sums while it is in the nearest cache. Imported only to compile."""

from __future__ import annotations

import numpy as np

from accelsim_kernels._memory import view, view2
from accelsim_kernels.requantize_loops import scalar


def requantize_tile(scheme: str, options: str, out_dtype: str, first_dtype: str):
    """Kernel on one tile: int32 sums (rows, stride) of output channels from `channel` on, to narrow codes.

    parameters: addresses of requantization.Prepared.params, then the number of channels and of thresholds.
    """
    code = scalar(scheme, options)
    thresholds = scheme == "finn-thresholds"
    out_type, first_type = np.dtype(out_dtype), np.dtype(first_dtype)
    item_bytes = out_type.itemsize

    def kernel(sums, sums_stride, rows, columns, channel, parameters, out, out_stride):
        given = view(parameters, 8, np.int64)
        channels, width = given[6], given[7]
        if thresholds:
            a = view2(given[0], channels, width, first_type)
        else:
            a = view(given[0], channels, first_type)
        b, c = view(given[1], channels, np.int64), view(given[2], channels, np.int64)
        zero_point = view(given[3], channels, np.int64)
        qmin, qmax = view(given[4], channels, np.int64), view(given[5], channels, np.int64)
        for i in range(rows):
            acc = view(sums + i * sums_stride * 4, columns, np.int32)
            to = view(out + i * out_stride * item_bytes, columns, out_type)
            for j in range(columns):
                k = channel + j
                to[j] = code(acc[j], a[k], b[k], c[k], zero_point[k], qmin[k], qmax[k])

    return kernel
