"""Which path computes a product: the exact one wherever it is provably the answer, else the walk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim_kernels import _threads, arguments, mac_bounds, mac_general, simd
from accelsim_kernels.arguments import Accumulator, ConvGeometry
from accelsim_kernels.mac_exact import Exact
from accelsim_kernels.mac_pack import Packed

_MOST_PLANS = 64


def run(x: np.ndarray, packed: Packed, shape: ConvGeometry, out_shape: tuple[int, ...], zx: int, zw: np.ndarray,
        bias: np.ndarray, how: Accumulator, return_events: bool, requantize: Mapping[str, Any] | None) -> Any:
    """The product of x (N, H, W, C) and the packed weights, in `out_shape`."""
    requantize = arguments.requantization(requantize)
    key = (shape, x.dtype, x.strides, zx, zw.tobytes(), bias.tobytes(), how, return_events, _frozen(requantize),
           simd.current(), _threads.count())
    route = packed.plans.get(key)
    if route is None:
        if len(packed.plans) >= _MOST_PLANS:
            packed.plans.clear()
        route = packed.plans[key] = _Route(x, packed, shape, zx, zw, bias, how, return_events, requantize)
    return route(x, out_shape)


def _frozen(value: Any) -> Any:
    """A hashable copy of the keywords of requantize()."""
    if isinstance(value, dict):
        return tuple((name, _frozen(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return value


class _Route:
    """The decision for one shape and set of parameters, with what it prepared."""

    def __init__(self, x: np.ndarray, packed: Packed, shape: ConvGeometry, zx: int, zw: np.ndarray, bias: np.ndarray,
                 how: Accumulator, return_events: bool, requantize: dict[str, Any] | None) -> None:
        self.packed, self.shape, self.how = packed, shape, how
        self.zx, self.zw, self.bias = zx, np.ascontiguousarray(np.broadcast_to(zw, shape.out_channels)), bias
        self.return_events, self.requantize = return_events, requantize
        self.exact: Exact | None = None
        bits = self._exact_bits(x.dtype)
        if bits:
            self.fused = requantize is not None and how.result_dtype == np.int32 and _total(requantize, shape)
            self.exact = Exact(shape, x, packed, zx, self.zw, bias, bits, simd.current(),
                               requantize if self.fused else None, _threads.count())

    def _exact_bits(self, dtype: np.dtype) -> int:
        """Bits to which an exact 32-bit sum is wrapped to give the answer; 0 where it would not be the answer."""
        how = self.how
        only = how.levels[0] if len(how.levels) == 1 else None
        if only and only.overflow == "wrap" and only.bits <= 32 and not self.return_events:
            return only.bits
        ends = mac_bounds.reach(self.packed.w.reshape(self.shape.out_channels, self.shape.depth), dtype, self.zx,
                                self.zw, self.bias, how)
        fits = all(-(1 << 31) <= low and high < 1 << 31 for low, high in ends)
        return 32 if fits and mac_bounds.nothing_overflows(how, ends) else 0

    def __call__(self, x: np.ndarray, out_shape: tuple[int, ...]) -> Any:
        if self.exact is not None:
            result = self.exact(x).reshape(out_shape)
            if self.fused:
                return (result, np.zeros(out_shape, bool)) if self.return_events else result
            result, events = result.astype(self.how.result_dtype, copy=False), None
        else:
            result, events = self._walk(x, out_shape)
        if self.requantize is not None:
            from accelsim_kernels.requantization import requantize

            result = requantize(result, **self.requantize)
        if not self.return_events:
            return result
        return result, np.zeros(out_shape, bool) if events is None else events

    def _walk(self, x: np.ndarray, out_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        shape = self.shape
        image = (shape.batch, shape.out_y, shape.out_x, shape.out_channels)
        result, flags = np.empty(image, self.how.result_dtype), np.empty(image, np.uint8)
        walked = mac_general.walk(x, self.packed.w, shape, self.zx, self.zw, self.bias, self.how)
        for (n, first, end), own, values, marks in walked:
            part = (n, slice(first, end), slice(None), own)
            result[part] = values.reshape(end - first, shape.out_x, -1)
            flags[part] = marks.reshape(end - first, shape.out_x, -1)
        result, flags = result.reshape(out_shape), flags.reshape(out_shape)
        fatal = flags & mac_general.FATAL
        if fatal.any():
            index = tuple(int(i) for i in np.unravel_index(int(fatal.argmax()), out_shape))
            raise OverflowError(arguments.overflow_message(index, self.how.levels))
        return result, flags.astype(bool)


def _total(requantize: dict[str, Any], shape: ConvGeometry) -> bool:
    """Whether the scheme is defined for every int32 accumulator, so that none needs a check."""
    from accelsim_kernels.requantization import prepare

    return prepare(channels=shape.out_channels, **requantize).total
