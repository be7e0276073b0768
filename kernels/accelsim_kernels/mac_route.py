"""Which path computes a product: the exact one wherever it is provably the answer, else the walk."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from accelsim_kernels import _threads, arguments, mac_bounds, mac_general, mac_walks, simd
from accelsim_kernels.arguments import Accumulator, ConvGeometry
from accelsim_kernels.mac_exact import Product
from accelsim_kernels.mac_exact_plan import Walk
from accelsim_kernels.mac_pack import Packed
from accelsim_kernels.step import Step


def setting() -> tuple[str, int]:
    """Instruction set and threads in use: a prepared route holds for these."""
    return simd.current(), _threads.count()


def frozen(value: Any) -> Any:
    """A hashable copy of an argument, equal only for equal contents."""
    if value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, dict):
        return tuple([(name, frozen(item)) for name, item in value.items()])
    if isinstance(value, (list, tuple)):
        return tuple([frozen(item) for item in value])
    return value


def hashable(key: tuple) -> tuple:
    """A key as it is, or where an argument is a list, with tuples in their place."""
    try:
        hash(key)
    except TypeError:
        return frozen(key)
    return key


def described(x: Any) -> tuple:
    """What a prepared route depends on in its input; another type is never equal to one that was kept."""
    return (x.shape, x.strides, x.dtype) if type(x) is np.ndarray else (object(),)


class Route:
    """How one shape and set of parameters is computed, with what was prepared for it; called with x.

    workers: threads that it is cut for, those in use unless given. step: the whole of it, where one step computes it.
    """

    def __init__(
        self,
        shape: ConvGeometry,
        out_shape: tuple[int, ...],
        x_dtype: np.dtype,
        x_strides: tuple[int, ...],
        packed: Packed,
        zx: int,
        zw: np.ndarray,
        bias: np.ndarray,
        how: Accumulator,
        return_events: bool,
        requantize: dict[str, Any] | None,
        workers: int | None = None,
    ) -> None:
        self.packed, self.shape, self.out_shape, self.how = packed, shape, out_shape, how
        self.x_dtype, self.x_strides = x_dtype, x_strides
        self.zx, self.zw, self.bias = zx, np.ascontiguousarray(np.broadcast_to(zw, shape.out_channels)), bias
        self.return_events, self.requantize = return_events, requantize
        self.product: Product | None = None
        bits, walk = self._choose(x_dtype)
        if bits:
            fused = requantize is not None and how.result_dtype == np.int32 and _total(requantize, shape)
            if fused and walk is not None and how.levels[0].overflow == "raise":
                fused = False
            requantized = requantize if fused else None
            self.product = Product(
                shape, out_shape, x_dtype, x_strides, packed, zx, self.zw, bias, bits, requantized, walk, workers
            )
            if fused:
                self.requantize = None

        self.step = self._whole()

    def _whole(self) -> Step | None:
        """The computation as one step; None where it takes more. Then no accumulator can have an event."""
        product = self.product
        if product is None or product.empty or product.watched or self.requantize is not None:
            return None
        if product.out_dtype == np.int32 and self.how.result_dtype != np.int32:
            return None
        return product.step

    def _choose(self, dtype: np.dtype) -> tuple[int, Walk | None]:
        """Bits to which tiles' 32-bit sums are wrapped, and the accumulator they must follow; 0 bits: no tile does."""
        how = self.how
        only = how.levels[0] if len(how.levels) == 1 else None
        if only and only.overflow == "wrap" and only.bits <= 32 and not self.return_events:
            return only.bits, None
        w = self.packed.w.reshape(self.shape.out_channels, self.shape.depth)
        ends = mac_bounds.reach(w, dtype, self.zx, self.zw, self.bias, how)
        fits = all(low >= -(1 << 31) and high < 1 << 31 for low, high in ends)
        if fits and mac_bounds.nothing_overflows(how, ends):
            return 32, None
        if only is None:
            return 0, None
        walk = mac_walks.choose(
            self.shape, dtype, self.packed.w, self.zx, self.zw, self.bias, how, fits, self.return_events
        )
        return (0, None) if walk is None else (only.bits if only.overflow != "saturate" else 32, walk)

    def __call__(self, x: np.ndarray) -> Any:
        if self.step is not None:
            result = self.step(x)
            return (result, no_events(self.out_shape)) if self.return_events else result
        if self.product is not None:
            result, events = self.product(x)
            if result.dtype == np.int32:
                result = result.astype(self.how.result_dtype, copy=False)
            if events is not None and self.how.levels[0].overflow == "raise" and events.any():
                self._raise(events)
        else:
            result, events = self._walk(x)
        if self.requantize is not None:
            from accelsim_kernels.requantization import requantize

            result = requantize(result, **self.requantize)
        if not self.return_events:
            return result
        return result, no_events(self.out_shape) if events is None else events

    def _raise(self, fatal: np.ndarray) -> None:
        index = tuple(int(i) for i in np.unravel_index(int(fatal.argmax()), self.out_shape))
        raise OverflowError(arguments.overflow_message(index, self.how.levels))

    @functools.cached_property
    def _general(self) -> Step:
        """The general walk, prepared when it is first needed."""
        zw, workers = self.zw.astype(np.int64), _threads.count()
        layer = self.shape, self.out_shape, self.x_dtype, self.x_strides, self.packed
        return mac_general.plan(*layer, self.zx, zw, self.bias, self.how, self._watched, workers)

    def _walk(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if 0 in self.out_shape:
            return np.empty(self.out_shape, self.how.result_dtype), None
        if not self._watched:
            return self._general(x), None
        flags = np.empty(self.out_shape, np.uint8)
        result = self._general(x, flags)
        if not self._raises:
            return result, flags.view(bool)
        fatal = flags & mac_general.FATAL
        if fatal.any():
            self._raise(fatal)
        return result, flags != 0

    @property
    def _raises(self) -> bool:
        return any(level.overflow == "raise" for level in self.how.levels)

    @property
    def _watched(self) -> bool:
        """Whether anyone looks at events."""
        return self.return_events or self._raises


_nowhere = np.zeros(0, bool)


def no_events(shape: tuple[int, ...]) -> np.ndarray:
    """An all-false mask, read-only: every call shares one block of zeros."""
    global _nowhere
    size = math.prod(shape)
    zeros = _nowhere
    if zeros.size < size:
        zeros = np.zeros(size, bool)
        zeros.flags.writeable = False
        _nowhere = zeros
    return zeros[:size].reshape(shape)


def _total(requantize: dict[str, Any], shape: ConvGeometry) -> bool:
    """Whether the scheme is defined for every int32 accumulator, so that none needs a check."""
    from accelsim_kernels.requantization import prepare

    return prepare(channels=shape.out_channels, **requantize).total
