"""Pooling of bytes as prepared steps."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import simd
from accelsim_kernels._jit import kernel
from accelsim_kernels.mac_exact import epilogue_of
from accelsim_kernels.requantization import prepare
from accelsim_kernels.step import Step

#: pixels whose sum of bytes fits 32 bits
_MOST_PIXELS = 1 << 22
#: scratch memory of channel_sums: sums of 64 channels
_SUMS_BYTES = 256


def max_pool_step(
    shape: tuple[int, int, int, int],
    dtype: np.dtype,
    out_size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation: tuple[int, int],
) -> Step | None:
    """The largest code of each window (E10), out_size of them; None where codes have more than a byte."""
    batch, in_y, in_x, channels = shape
    if dtype.itemsize > 1 or channels == 0:
        return None
    width = _width(channels)
    tile = kernel("window_job", "fold", "max", dtype.kind == "i", width).address
    geometry = (in_y, in_x, *out_size, *window, *stride, *dilation, padding[0][0], padding[1][0])
    arguments = np.array([0, batch * out_size[0], 0, 0, tile, channels, width, *geometry], np.int64)
    return Step(kernel("window_job", "max_pool"), arguments, (2,), 3, (batch, *out_size, channels), dtype)


def mean_step(shape: tuple[int, int, int, int], dtype: np.dtype, x_zero_point: int, requantize: dict) -> Step | None:
    """The requantized sum of code - x_zero_point over all pixels (E15), (N, 1, 1, C); None where it has no vector code.

    It has for bytes, and schemes that are defined for every sum.
    """
    batch, channels, pixels = shape[0], shape[3], shape[1] * shape[2]
    if dtype.itemsize > 1 or not 0 < pixels < _MOST_PIXELS or channels == 0 or abs(x_zero_point) > 255:
        return None
    if not prepare(channels=channels, **requantize).total:
        return None
    lanes, width = simd.lanes(), _width(channels)
    out_dtype, epilogue = epilogue_of(requantize, 1, channels + lanes, lanes, channels)
    tile = kernel("window_job", "fold", "sum", dtype.kind == "i", width).address
    sizes = (channels, width, max(1, width // lanes), pixels, pixels * x_zero_point)
    arguments = np.array([0, batch, 0, 0, tile, *sizes, *epilogue.words, out_dtype.itemsize, 0], np.int64)
    code, out_shape = kernel("window_job", "channel_sums"), (batch, 1, 1, channels)
    return Step(code, arguments, (2,), 3, out_shape, out_dtype, len(arguments) - 1, _SUMS_BYTES, epilogue)


def _width(channels: int) -> int:
    """Channels of a tile: a power of two up to 64; the last tile overlaps the one before."""
    return 1 << min(6, channels.bit_length() - 1)
