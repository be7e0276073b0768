"""Runs a product by register tiles: int32 sums, or requantized codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim_kernels import _threads, mac_depthwise, mac_exact_plan, mac_saturate_plan, simd
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_codes import FLOAT_SCHEMES, scaled_of
from accelsim_kernels.mac_exact_plan import Arg, Epilogue, Walk
from accelsim_kernels.mac_pack import Packed
from accelsim_kernels.mac_saturate import Saturation
from accelsim_kernels.step import Step

#: schemes that are a 31-bit multiplier and a shift, and how they round where the shift goes right
_MULTIPLIER_SCHEMES = {
    "tflite-double": "away",
    "cmsis-nn": "away",
    "tflite-ruy": "up",
    "tflite-single": "single",
    "tosa-single": "single",
}


class Product:
    """A product by tiles for one shape, layout of x and set of parameters, run on any number of inputs.

    Exact sums, or with `walk` those of an accumulator that is clipped or watched at every addition.
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
        wrap_bits: int,
        requantize: Mapping[str, Any] | None,
        walk: Walk | Saturation | None = None,
        workers: int | None = None,
    ) -> None:
        isa, workers = simd.current(), workers or _threads.count()
        depthwise = walk is None and mac_depthwise.suits(shape, x_dtype, packed.w, zw)
        if walk is None:
            engine = simd.engine(isa, x_dtype.itemsize == 1 and packed.w.dtype.itemsize == 1)
        else:
            engine = walk.engine(isa)
        self.out_shape, self.out_dtype = out_shape, np.dtype(np.int32)
        self.watched = walk is not None and walk.watched
        epilogue = scaled = None
        tiled = walk is None and wrap_bits == 32
        if tiled and (depthwise or not np.any(zw - packed.layout(engine, shape.dilation[1]).offset)):
            scaled = scaled_of(requantize, shape.out_channels, engine)
        if scaled is not None:
            self.out_dtype = scaled.dtype
        elif requantize is not None:
            if depthwise:
                groups, width = 1, mac_depthwise.padded_channels(shape.out_channels, engine)
            elif isinstance(walk, Saturation):
                groups, width = walk.epilogue_shape(shape, engine)
            else:
                groups = shape.groups
                width = -(-shape.out_channels // groups // engine.lanes) * engine.lanes
            self.out_dtype, epilogue = epilogue_of(requantize, groups, width, engine.lanes, shape.out_channels)
        self.empty = 0 in out_shape
        if self.empty:
            return
        common = (shape, x_dtype, x_strides, packed, engine, zx, zw, bias, wrap_bits, self.out_dtype, epilogue, workers)
        if isinstance(walk, Saturation):
            module, self.plan = "mac_saturate_job", mac_saturate_plan.make_plan(*common, walk)
        elif depthwise:
            module, self.plan = "mac_depthwise_job", mac_depthwise.make_plan(*common, scaled)
        else:
            module, self.plan = "mac_exact_job", mac_exact_plan.make_plan(*common, walk, scaled)
        self.workers = min(workers, self.plan.jobs)
        self.step = Step(
            kernel(module, "run_jobs"),
            self.plan.arguments,
            # where watched, the array of events is one more operand
            (int(Arg.x), int(Arg.events)) if self.watched else (int(Arg.x),),
            int(Arg.out),
            out_shape,
            self.out_dtype,
            int(Arg.scratch),
            self.plan.scratch_bytes,
            self.plan,
        )

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The sums or codes, and where watched which outputs had an event."""
        if self.empty:
            return np.empty(self.out_shape, self.out_dtype), np.empty(self.out_shape, bool) if self.watched else None
        if not self.watched:
            return self.step(x), None
        events = np.empty(self.out_shape, bool)
        return self.step(x, events), events


def epilogue_of(
    requantize: Mapping[str, Any],
    groups: int,
    width: int,
    lanes: int,
    channels: int,
) -> tuple[np.dtype, Epilogue]:
    """Output dtype and the kernel that makes it, for groups of channels that fill `width` columns each."""
    from accelsim_kernels.requantization import prepare

    ready = prepare(channels=channels, **requantize)
    first, second, (zero_point, low, high) = ready.params[0], ready.params[1], ready.params[3:]
    extra: list[int] = []
    bits = ready.dtype.itemsize * 8
    limit = max(np.abs(low - zero_point).max(), np.abs(high - zero_point).max())
    if ready.scheme in FLOAT_SCHEMES and limit <= 1 << 22:
        arrays = [first, (low - zero_point).astype(np.float32), (high - zero_point).astype(np.float32)]
        arrays.append(zero_point.astype(np.int32))
        compiled = kernel("mac_epilogue", "scale_tile", bits, lanes)
    elif ready.scheme in _MULTIPLIER_SCHEMES and second.max() <= 0 and bits <= 32 and limit < 1 << 30:
        arrays = [
            values.astype(np.int32) for values in (first, -second, zero_point, low - zero_point, high - zero_point)
        ]
        compiled = kernel("mac_epilogue", "multiplier_tile", _MULTIPLIER_SCHEMES[ready.scheme], bits, lanes)
    else:
        arrays = list(ready.params)
        extra = [groups * width, first.shape[-1]]
        types = (ready.options, ready.dtype.name, ready.first_dtype)
        compiled = kernel("mac_epilogue", "requantize_tile", ready.scheme, *types, lanes)
    arrays = [mac_exact_plan.repeat_last(array, groups, width) for array in arrays]
    return ready.dtype, Epilogue(compiled.address, np.array([*map(address, arrays), *extra], np.int64), arrays)
