"""Where two requantizers differ, accumulator by accumulator over a whole range."""

from __future__ import annotations

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels._jit import kernel
from accelsim_kernels._threads import run
from accelsim_kernels.requantization import kernel_values

#: what stands for "not clamped"
_WIDE = (-(2**47), 2**47 - 1)


def unclamped(bound: domain.Bound) -> domain.Bound:
    """The same requantizer before zero point and clamp; a zero point added before rounding stays."""
    options = {**bound.options, "overflow": "AP_SAT"} if bound.name == "ap-fixed" else bound.options
    zero_point = bound.zero_point if bound.scheme.zero_point == "before" else np.zeros(1, np.int64)
    low, high = (np.array([limit]) for limit in _WIDE)
    return domain.Bound(bound.name, bound.scheme, bound.values, options, zero_point, low, high, None)


def count_differences(a: domain.Bound, b: domain.Bound, low: int, high: int, chunk: int = 2**20) -> np.ndarray:
    """How many accumulators in low .. high get different codes from a and b: one count per `chunk` of them.

    a, b: per-tensor requantizers. low, high: within the domains of both. int64 array.
    """
    if a.channels or b.channels:
        raise ValueError("two requantizers are compared one channel at a time: give scalar parameters")
    counts = np.zeros((high - low) // chunk + 1, np.int64)
    held, words, types = [counts], [], []
    for side in (a, b):
        first, *rest = kernel_values(side)
        held.append(np.ascontiguousarray(first))
        others = [int(v[0]) for v in (*rest, *(np.zeros(1),) * (2 - len(rest)))]
        limits = (int(v[0]) for v in (side.zero_point, side.qmin, side.qmax))
        words += [held[-1].ctypes.data, first.shape[-1], *others, *limits]
        types += [side.name, ",".join(side.options.values()), first.dtype.name]
    given = np.array([low, high, chunk, counts.ctypes.data, *words], np.int64)
    run(kernel("compare_loops", "compare", *types), lambda workers: (given, held), high - low + 1)
    return counts
