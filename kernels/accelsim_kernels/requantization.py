"""Requantization: accumulators to narrow output codes by a named scheme, per tensor or per channel.

output = clamp(scheme(acc) + zero_point, qmin, qmax); the schemes are equations R1 to R20 of
kernels/README.md.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from . import domain
from . import fixedpoint as fx
from ._jit import njit
from .names import AP_QUANTIZATION
from .schemes import SCALARS, SHIFTERS

#: schemes whose scalar takes mantissa and exponent of the float32 scale
_MANTISSA_SCHEMES = ("qnnpack-q31", "qnnpack-precise", "xnnpack-rndnu")


class Prepared(NamedTuple):
    """What a fused kernel needs to requantize while the accumulator is at hand.

    code: compiled function (acc, params, channel) -> output code (int64) for the arrays of `params`.
    params: tuple of 1-D arrays, one value per channel (thresholds: one row); the last three are zero_point,
    qmin, qmax. total: True where every int32 accumulator is legal, so that no check is needed.
    """

    code: object
    params: tuple
    dtype: np.dtype
    total: bool


def requantize(acc, scheme: str, *args, zero_point=0, qmin=-128, qmax=127, **params) -> np.ndarray:
    """Accumulators to output codes: clamp(scheme(acc) + zero_point, qmin, qmax).

    acc: integer array of any shape; channels are the last axis. scheme: a name of names.SCHEMES.
    args, params: the scheme's parameters in the order of names.SCHEMES[scheme].params or by keyword, then its
    options by keyword; each parameter, zero_point, qmin and qmax is a scalar or has one value per channel.
    Shifts are TFLite's: positive is left. Returns an array of acc's shape in the narrowest of int8, uint8,
    int16, uint16, int32, int64 that holds [qmin, qmax]. Raises ValueError for an illegal parameter and for an
    accumulator outside the scheme's domain (it is undefined there).
    """
    acc = np.asarray(acc)
    bound = domain.bind(scheme, args, zero_point=zero_point, qmin=qmin, qmax=qmax, **params)
    bound.check(acc)
    out = np.empty(acc.shape, bound.output_dtype)
    if acc.dtype != np.int32:
        acc = acc.astype(np.int64, copy=False)
    options = tuple(bound.options.values())
    if bound.channels is None:
        one = tuple(v[0] for v in _arrays(bound))
        _flat_loop(scheme, options)(np.ascontiguousarray(acc).reshape(-1), out.reshape(-1), one)
    else:
        rows = np.ascontiguousarray(acc).reshape(-1, bound.channels)
        params = tuple(_per_channel(v, bound.channels) for v in _arrays(bound))
        _row_loop(scheme, options, len(params))(rows, out.reshape(rows.shape), params)
    return out


def prepare(scheme: str, *, channels: int, zero_point=0, qmin=-128, qmax=127, **params) -> Prepared:
    """Bind a scheme for a fused kernel with that many output channels. Raises as requantize()."""
    bound = domain.bind(scheme, zero_point=zero_point, qmin=qmin, qmax=qmax, **params)
    if bound.channels not in (None, channels):
        raise ValueError(f"{scheme}: {bound.channels} channels of parameters for {channels} output channels")
    low, high = bound.accumulator_range()
    arrays = tuple(_per_channel(v, channels) for v in _arrays(bound))
    return Prepared(
        channel_code(scheme, tuple(bound.options.values()), len(arrays)),
        arrays,
        bound.output_dtype,
        bool(low.max() <= -(2**31) and high.min() >= 2**31 - 1),
    )


def scalar(scheme: str, **options):
    """The compiled scalar (acc, *parameters, zero_point, qmin, qmax) -> output code of a scheme.

    options: the scheme's named choices. Parameters are those of kernel_values(), not checked.
    """
    bound_options = domain.options_of(scheme, options)
    return _scalar(scheme, tuple(bound_options.values()))


def kernel_values(bound: domain.Bound) -> tuple[np.ndarray, ...]:
    """A scheme's parameters as its scalar takes them.

    QNNPACK's and XNNPACK's float32 scale is split into mantissa and exponent here (R12 to R14).
    """
    if bound.name not in _MANTISSA_SCHEMES:
        return bound.values
    mantissa, exponent = np.frexp(bound.values[0].astype(np.float64))
    mantissa = (mantissa * 2**24).astype(np.int64)
    exponent = exponent.astype(np.int64)
    if bound.name == "qnnpack-q31":
        return mantissa << 7, exponent
    return mantissa, 24 - exponent


@cache
def _scalar(scheme: str, options: tuple[str, ...]):
    if scheme == "ap-fixed":
        return _finished(SHIFTERS[AP_QUANTIZATION[options[0]]], _AP_FINISH[options[1]])
    if scheme == "shift":
        return _finished(SHIFTERS[options[0]], _clamped, seeded=options[0] == "stochastic")
    if scheme == "onnx-reference":
        return _finished_before(SCALARS[scheme])
    arity = 2 if scheme in _MANTISSA_SCHEMES else len(domain.look_up(scheme).params)
    return _finished(SCALARS[scheme], _clamped, arity=arity)


def _finished(scale, finish, arity=1, seeded=False):
    """(acc, *parameters, zero_point, qmin, qmax) -> finish(scale(acc, *parameters), …)."""
    if seeded or arity == 2:

        @njit
        def code(acc, a, b, zero_point, qmin, qmax):
            return finish(scale(acc, a, b), zero_point, qmin, qmax)

    elif arity == 3:

        @njit
        def code(acc, a, b, c, zero_point, qmin, qmax):
            return finish(scale(acc, a, b, c), zero_point, qmin, qmax)

    else:

        @njit
        def code(acc, a, zero_point, qmin, qmax):
            return finish(scale(acc, a), zero_point, qmin, qmax)

    return code


def _finished_before(scale):
    @njit
    def code(acc, a, zero_point, qmin, qmax):
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
    dropped = ((value - qmin) & (qmax - qmin + 1)) != 0
    return ~kept if dropped else kept


_AP_FINISH = {
    "AP_WRAP": _ap_wrap,
    "AP_SAT": _ap_sat,
    "AP_SAT_SYM": _ap_sat_sym,
    "AP_SAT_ZERO": _ap_sat_zero,
    "AP_WRAP_SM": _ap_wrap_sm,
}


@cache
def channel_code(scheme: str, options: tuple[str, ...], arrays: int):
    """Compiled (acc, params, channel) -> output code; params: that many arrays (see Prepared)."""
    code = _scalar(scheme, options)
    if arrays == 4:

        @njit
        def at(acc, p, c):
            return code(acc, p[0][c], p[1][c], p[2][c], p[3][c])

    elif arrays == 5:

        @njit
        def at(acc, p, c):
            return code(acc, p[0][c], p[1][c], p[2][c], p[3][c], p[4][c])

    else:

        @njit
        def at(acc, p, c):
            return code(acc, p[0][c], p[1][c], p[2][c], p[3][c], p[4][c], p[5][c])

    return at


@cache
def _flat_loop(scheme: str, options: tuple[str, ...]):
    code = _scalar(scheme, options)

    @njit
    def loop(acc, out, one):
        for i in range(acc.size):
            out[i] = code(acc[i], *one)

    return loop


@cache
def _row_loop(scheme: str, options: tuple[str, ...], arrays: int):
    code = channel_code(scheme, options, arrays)

    @njit
    def loop(acc, out, params):
        for i in range(acc.shape[0]):
            for c in range(acc.shape[1]):
                out[i, c] = code(acc[i, c], params, c)

    return loop


def _arrays(bound: domain.Bound) -> tuple[np.ndarray, ...]:
    return (*kernel_values(bound), bound.zero_point, bound.qmin, bound.qmax)


def _per_channel(values: np.ndarray, channels: int) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(values, (channels, *values.shape[1:])))

