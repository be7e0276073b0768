"""Which accumulators the saturating tiles can follow, and how."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import mac_saturate, simd
from accelsim_kernels.arguments import Accumulator, ConvGeometry
from accelsim_kernels.mac_exact_plan import Walk
from accelsim_kernels.mac_saturate import Saturation

_SHORT = 1 << 15
_HALF = 1 << 30
#: root mean square of activations after a ReLU, as measured in networks
_TYPICAL = 50.0
#: (accumulator bits up to which, steps of four products certified at once): short chunks seldom come near the end
_CHUNKS = ((18, 16), (20, 32), (32, 64))


def choose(
    shape: ConvGeometry,
    x_dtype: np.dtype,
    w: np.ndarray,
    zx: int,
    zw: np.ndarray,
    bias: np.ndarray,
    how: Accumulator,
    sums_fit: bool,
    return_events: bool,
) -> Walk | Saturation | None:
    """The tile for a single-level accumulator, or None where it needs the general walk.

    sums_fit: every exact prefix fits 32 bits. Operands must fit int16 without their zero points, one sum of `group`
    products half of int32, and groups must lie side by side in memory.
    """
    level, group = how.levels[0], how.group
    if how.zero_point_at == "folded" and (zx or zw.any()):
        return None
    info = np.iinfo(x_dtype)
    x_low, x_high = info.min - zx, info.max - zx
    w_low = int((w.min(axis=(1, 2, 3), initial=0) - zw).min(initial=0)) if w.size else 0
    w_high = int((w.max(axis=(1, 2, 3), initial=0) - zw).max(initial=0)) if w.size else 0
    largest = max(-x_low, x_high) * max(-w_low, w_high)
    if min(x_low, w_low) < -_SHORT or max(x_high, w_high) >= _SHORT or largest * group > _HALF:
        return None
    if level.bits > 32:
        return None
    run = (
        shape.fx * shape.group_channels if shape.group_channels % 2 and shape.dilation[1] == 1 else shape.group_channels
    )
    if group > 1 and (group % 2 or group > 16 or (run % 2 and run != shape.depth)):
        return None
    watched = return_events or level.overflow == "raise"
    chunk = next(steps for bits, steps in _CHUNKS if level.bits <= bits)
    bias_low, bias_high = int(bias.min(initial=0)), int(bias.max(initial=0))
    start = 0 if how.bias_at == "after" else max(-bias_low, bias_high)
    certifies = (
        level.overflow == "saturate"
        and 16 < level.bits < 32
        and group == 1
        and x_low == 0
        and x_dtype.itemsize == 1
        and max(-w_low, w_high + 1) <= 128
        and simd.current() == "avx512vnni"
        and _may_certify(w, shape.depth, level.maximum - start, chunk)
    )
    if not certifies:
        saturation = mac_saturate.choose(shape, (x_low, x_high, w_low, w_high), bias, how, watched)
        if saturation is not None:
            return saturation
    if bias_low <= -_HALF or bias_high >= _HALF:
        return None
    if level.overflow != "saturate":
        if not sums_fit or level.bits == 32:
            return None
        kind = "watch32"
    elif level.bits == 32:
        kind = "sat32"
    elif (
        level.bits <= 16
        and group == 1
        and max(x_high * w_high, x_low * w_low) < _SHORT
        and min(x_low * w_high, x_high * w_low) >= -_SHORT
    ):
        kind = "sat16" if level.bits == 16 else "clip16"
    elif certifies:
        kind = "certify"
    else:
        kind = "clip32"
    return Walk(kind, group, watched, level.minimum, level.maximum, how.bias_at == "after", chunk)


def _may_certify(w: np.ndarray, depth: int, most: int, chunk: int) -> bool:
    """Whether sums are likely to stay within `most` of where they start, and chunks to be certified.

    For activations whose root mean square is a fifth of their range: three standard deviations of a sum of products of
    random signs, and a chunk's positive products at a quarter of the range.
    """
    if not w.size:
        return False
    taken = w.astype(np.float32)
    deviation = _TYPICAL * float(np.sqrt(np.square(taken).mean() * depth))
    return 3 * deviation <= most and float(np.abs(taken).mean()) / 2 * 4 * chunk * 255 / 4 <= most
