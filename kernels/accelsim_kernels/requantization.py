"""Requantization: accumulators to narrow output codes by a named scheme, per tensor or per channel.

output = clamp(scheme(acc) + zero_point, qmin, qmax); the schemes are equations R1 to R20 of
kernels/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelsim_kernels import domain
from accelsim_kernels._jit import kernel
from accelsim_kernels._threads import run

#: schemes whose scalar takes mantissa and exponent of the float32 scale
_MANTISSA_SCHEMES = ("qnnpack-q31", "qnnpack-precise", "xnnpack-rndnu")


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
    return requantize_bound(acc, bound)


def requantize_bound(acc: np.ndarray, bound: domain.Bound) -> np.ndarray:
    """requantize() with checked parameters, for accumulators known to lie in the scheme's domain."""
    out = np.empty(acc.shape, bound.output_dtype)
    if acc.size:
        _apply(acc, bound, out)
    return out


@dataclass(frozen=True)
class Prepared:
    """What a fused kernel needs to requantize while the accumulator is at hand.

    scheme, options, first_dtype: what requantize_loops.scalar and its parameters are compiled for.
    params: six arrays of shape (channels,): the scheme's (zeros where unused; thresholds: (channels, n)),
    zero_point, qmin, qmax. dtype: of the output. total: every int32 accumulator is legal, no check is needed.
    """

    scheme: str
    options: str
    first_dtype: str
    params: tuple[np.ndarray, ...]
    dtype: np.dtype
    total: bool


def prepare(scheme: str, *, channels: int, zero_point=0, qmin=-128, qmax=127, **params) -> Prepared:
    """Bind a scheme for a fused kernel with that many output channels. Raises as requantize()."""
    bound = domain.bind(scheme, zero_point=zero_point, qmin=qmin, qmax=qmax, **params)
    if bound.channels not in (None, channels):
        raise ValueError(f"{scheme}: parameters for {bound.channels} channels, {channels} output channels")
    return _prepared(bound, channels)


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


def _prepared(bound: domain.Bound, channels: int) -> Prepared:
    unused = (np.zeros(1, np.int64),) * 2
    arrays = (*(*kernel_values(bound), *unused)[:3], bound.zero_point, bound.qmin, bound.qmax)
    low, high = bound.accumulator_range()
    return Prepared(
        bound.name,
        ",".join(bound.options.values()),
        arrays[0].dtype.name,
        tuple(np.ascontiguousarray(np.broadcast_to(v, (channels, *v.shape[1:]))) for v in arrays),
        bound.output_dtype,
        bool(low.max() <= -(2**31) and high.min() >= 2**31 - 1),
    )


def _apply(acc: np.ndarray, bound: domain.Bound, out: np.ndarray) -> None:
    channels = bound.channels or 1
    ready = _prepared(bound, channels)
    acc = np.ascontiguousarray(acc, np.int32 if acc.dtype == np.int32 else np.int64)
    width = ready.params[0].shape[-1]
    addresses = [a.ctypes.data for a in (acc, out, *ready.params)]
    given = np.array([*addresses, acc.size // channels, channels, width], np.int64)
    loop = "rows" if bound.channels else "flat"
    types = (ready.options, acc.dtype.name, out.dtype.name, ready.first_dtype)
    compiled = kernel("requantize_loops", loop, bound.name, *types)
    run(compiled, lambda workers: (given, [acc, out, ready]), acc.size)
