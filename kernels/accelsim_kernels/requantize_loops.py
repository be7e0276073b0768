"""Compiled requantization: a scheme's scalar with zero point and clamp, and the loops over arrays.

Imported only to compile. `scalar` is what a fused kernel inlines; every scheme has the same seven arguments,
those it does not use are ignored.
"""

from __future__ import annotations

import numpy as np

from accelsim_kernels import fixedpoint as fx
from accelsim_kernels._jit import njit
from accelsim_kernels._memory import view, view2
from accelsim_kernels.names import AP_QUANTIZATION
from accelsim_kernels.schemes import SCALARS, SHIFTERS


def rows(scheme: str, options: str, acc_dtype: str, out_dtype: str, first_dtype: str):
    """Kernel over (rows, channels) accumulators with one value of each parameter per channel.

    options: comma-separated values of the scheme's options. first_dtype: of the first parameter (int64, or
    the float type of a scale). Arguments, int64: addresses of acc, out and six parameter arrays, rows,
    channels, thresholds per channel.
    """
    code = scalar(scheme, options)
    first = view2 if scheme == "finn-thresholds" else _column
    acc_type, out_type, first_type = np.dtype(acc_dtype), np.dtype(out_dtype), np.dtype(first_dtype)
    acc_size, out_size = acc_type.itemsize, out_type.itemsize

    def run(address, worker, workers):
        given = view(address, 11, np.int64)
        channels = given[9]
        first_row = given[8] * worker // workers
        # arrays of this worker's own rows: an index that starts at 0 needs no check for a negative one
        count = given[8] * (worker + 1) // workers - first_row
        acc = view2(given[0] + first_row * channels * acc_size, count, channels, acc_type)
        out = view2(given[1] + first_row * channels * out_size, count, channels, out_type)
        a = first(given[2], channels, given[10], first_type)
        b, c = view(given[3], channels, np.int64), view(given[4], channels, np.int64)
        zero_point = view(given[5], channels, np.int64)
        qmin, qmax = view(given[6], channels, np.int64), view(given[7], channels, np.int64)
        for i in range(count):
            for k in range(channels):
                out[i, k] = code(acc[i, k], a[k], b[k], c[k], zero_point[k], qmin[k], qmax[k])

    return run


def flat(scheme: str, options: str, acc_dtype: str, out_dtype: str, first_dtype: str):
    """As rows(), for one channel: its parameters are loaded once."""
    code = scalar(scheme, options)
    first = view2 if scheme == "finn-thresholds" else _column
    acc_type, out_type, first_type = np.dtype(acc_dtype), np.dtype(out_dtype), np.dtype(first_dtype)
    acc_size, out_size = acc_type.itemsize, out_type.itemsize

    def run(address, worker, workers):
        given = view(address, 11, np.int64)
        start = given[8] * worker // workers
        count = given[8] * (worker + 1) // workers - start
        acc = view(given[0] + start * acc_size, count, acc_type)
        out = view(given[1] + start * out_size, count, out_type)
        a = first(given[2], 1, given[10], first_type)[0]
        b, c = view(given[3], 1, np.int64)[0], view(given[4], 1, np.int64)[0]
        zero_point = view(given[5], 1, np.int64)[0]
        qmin, qmax = view(given[6], 1, np.int64)[0], view(given[7], 1, np.int64)[0]
        for i in range(count):
            out[i] = code(acc[i], a, b, c, zero_point, qmin, qmax)

    return run


@njit
def _column(address, channels, width, dtype):
    return view(address, channels, dtype)


def scalar(scheme: str, options: str = ""):
    """Inlinable (acc, a, b, c, zero_point, qmin, qmax) -> output code; a, b, c: kernel_values(), else 0."""
    chosen = options.split(",")
    if scheme == "ap-fixed":
        return _finished(SHIFTERS[AP_QUANTIZATION[chosen[0]]], _AP_FINISH[chosen[1]], 1)
    if scheme == "shift":
        return _finished(SHIFTERS[chosen[0]], _clamped, 2 if chosen[0] == "stochastic" else 1)
    if scheme == "onnx-reference":
        return _rounded_last(SCALARS[scheme])
    return _finished(SCALARS[scheme], _clamped, SCALARS[scheme].function.__code__.co_argcount - 1)


def _finished(scale, finish, arity: int):
    if arity == 1:

        @njit
        def code(acc, a, b, c, zero_point, qmin, qmax):
            return finish(scale(acc, a), zero_point, qmin, qmax)

    elif arity == 2:

        @njit
        def code(acc, a, b, c, zero_point, qmin, qmax):
            return finish(scale(acc, a, b), zero_point, qmin, qmax)

    else:

        @njit
        def code(acc, a, b, c, zero_point, qmin, qmax):
            return finish(scale(acc, a, b, c), zero_point, qmin, qmax)

    return code


def _rounded_last(scale):
    @njit
    def code(acc, a, b, c, zero_point, qmin, qmax):
        return fx.clamp(scale(acc, a, zero_point), qmin, qmax)

    return code


@njit
def _clamped(value, zero_point, qmin, qmax):
    return fx.clamp(value + zero_point, qmin, qmax)


@njit
def _ap_wrap(value, zero_point, qmin, qmax):
    return ((value - qmin) & (qmax - qmin)) + qmin


@njit
def _ap_sat(value, zero_point, qmin, qmax):
    return fx.clamp(value, qmin, qmax)


@njit
def _ap_sat_sym(value, zero_point, qmin, qmax):
    return fx.clamp(value, max(qmin, -qmax), qmax)


@njit
def _ap_sat_zero(value, zero_point, qmin, qmax):
    return value if qmin <= value <= qmax else np.int64(0)


@njit
def _ap_wrap_sm(value, zero_point, qmin, qmax):
    kept = ((value - qmin) & (qmax - qmin)) + qmin
    # the lowest dropped bit becomes the sign: where it differs from the kept one, every kept bit is inverted
    differs = ((value - qmin) & (qmax - qmin + 1)) != 0
    return ~kept if differs else kept


_AP_FINISH = {
    "AP_WRAP": _ap_wrap,
    "AP_SAT": _ap_sat,
    "AP_SAT_SYM": _ap_sat_sym,
    "AP_SAT_ZERO": _ap_sat_zero,
    "AP_WRAP_SM": _ap_wrap_sm,
}
