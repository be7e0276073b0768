"""What the MAC-array functions accept: checked and put into one form, without any arithmetic on data.

Shared by the fast kernels and the reference, so that both accept the same calls and raise the same errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim_kernels.names import BIAS_AT, OVERFLOWS, ZERO_POINT_AT

OPERAND_DTYPES = ("int8", "uint8", "int16", "uint16")
MAX_ACCUMULATOR_BITS = 64


@dataclass(frozen=True)
class Level:
    """One accumulator of the chain: two's complement of `bits`, emptied into the next after `span` products."""

    bits: int
    overflow: str
    span: int | None

    @property
    def minimum(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def maximum(self) -> int:
        return (1 << (self.bits - 1)) - 1


@dataclass(frozen=True)
class Accumulator:
    """How one output is accumulated: innermost level first, `group` products summed exactly per step."""

    levels: tuple[Level, ...]
    group: int
    bias_at: str
    zero_point_at: str

    @property
    def result_dtype(self) -> np.dtype:
        return np.dtype(np.int32 if self.levels[-1].bits <= 32 else np.int64)


@dataclass(frozen=True)
class ConvGeometry:
    """Shapes of a convolution, all in elements. Padding is (before, after) per axis."""

    batch: int
    in_y: int
    in_x: int
    in_channels: int
    out_y: int
    out_x: int
    out_channels: int
    fy: int
    fx: int
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int

    @property
    def group_channels(self) -> int:
        return self.in_channels // self.groups

    @property
    def depth(self) -> int:
        """Products per output."""
        return self.fy * self.fx * self.group_channels


def _integer(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low}, {high}], not {value}")
    return int(value)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value


def operand(name: str, array: Any, ndim: int) -> np.ndarray:
    """An operand as a NumPy array (a view where it is one already); TypeError or ValueError otherwise."""
    array = np.asarray(array)
    if array.dtype.name not in OPERAND_DTYPES or not array.dtype.isnative:
        raise TypeError(
            f"{name} must be one of {', '.join(OPERAND_DTYPES)} in native byte order, "
            f"not {array.dtype}: convert it, or quantize first"
        )
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, not shape {array.shape}")
    return array


def accumulator(
    accumulator_bits: int,
    overflow: str,
    order: str,
    bias_at: str,
    zero_point_at: str,
    levels: Sequence[tuple[int, str, int | None]] | None,
) -> Accumulator:
    """The accumulator keywords of matmul and conv2d, checked. `levels` replaces the first two."""
    if levels is None:
        levels = [(accumulator_bits, overflow, None)]
    if len(levels) == 0:
        raise ValueError("levels must name at least one accumulator: [(bits, overflow, None)]")
    chain: list[Level] = []
    for position, level in enumerate(levels):
        if len(level) != 3:
            raise ValueError(f"levels[{position}] must be (bits, overflow, span), not {level!r}")
        bits, mode, span = level
        bits = _integer(
            "accumulator_bits" if len(levels) == 1 else f"levels[{position}] bits", bits, 1, MAX_ACCUMULATOR_BITS
        )
        mode = _one_of("overflow", mode, OVERFLOWS)
        if position == len(levels) - 1:
            if span is not None:
                raise ValueError(f"levels[{position}] is the last level: its span must be None (all products)")
        else:
            span = _integer(f"levels[{position}] span", span, 1, 1 << 40)
            if chain and span % chain[-1].span:  # type: ignore[operator]
                raise ValueError(
                    f"levels[{position}] span {span} must be a multiple of the span "
                    f"{chain[-1].span} of the level inside it"
                )
        chain.append(Level(bits, mode, span))
    return Accumulator(
        tuple(chain),
        _group(order),
        _one_of("bias_at", bias_at, BIAS_AT),
        _one_of("zero_point_at", zero_point_at, ZERO_POINT_AT),
    )


def _group(order: str) -> int:
    if order == "serial":
        return 1
    kind, _, count = str(order).partition(":")
    if kind != "tree" or not count.isdecimal() or int(count) < 1:
        raise ValueError(f'order must be "serial" or "tree:n" with n >= 1, not {order!r}')
    return int(count)


def zero_point(name: str, value: Any, dtype: np.dtype, channels: int | None) -> np.ndarray:
    """A zero point as int64: shape () or, where `channels` is given, (channels,) as well."""
    array = _int64(name, value)
    if array.ndim and (channels is None or array.shape != (channels,)):
        allowed = "a scalar" if channels is None else f"a scalar or one per output channel, ({channels},)"
        raise ValueError(f"{name} must be {allowed}, not shape {array.shape}")
    info = np.iinfo(dtype)
    if array.size and (array.min() < info.min or array.max() > info.max):
        raise ValueError(f"{name} must be a value of {dtype} in [{info.min}, {info.max}], not {value!r}")
    return array


def bias(value: Any, channels: int) -> np.ndarray:
    """The bias as int64 of shape (channels,); None is all zero."""
    if value is None:
        return np.zeros(channels, np.int64)
    array = _int64("bias", value)
    if array.shape != (channels,):
        raise ValueError(f"bias must have one integer per output channel, ({channels},), not shape {array.shape}")
    return array


def _int64(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integer, not {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must fit 64 signed bits")
    return array.astype(np.int64)


def matmul_shapes(a_shape: tuple[int, ...], b_shape: tuple[int, int]) -> None:
    if a_shape[1] != b_shape[0]:
        raise ValueError(f"a {a_shape} and b {b_shape} do not match: a's columns must equal b's rows")


def conv_geometry(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int
) -> ConvGeometry:
    """Shapes of x (N, H, W, C) * w (K, fy, fx, C/groups), checked."""
    batch, in_y, in_x, channels = x_shape
    out_channels, fy, fx, group_channels = w_shape
    groups = _integer("groups", groups, 1, 1 << 31)
    if channels != group_channels * groups or out_channels % groups:
        raise ValueError(
            f"x {x_shape} and w {w_shape} do not match in {groups} group(s): w must be "
            "(K, fy, fx, C/groups) with K a multiple of groups, x (N, H, W, C)"
        )
    if fy < 1 or fx < 1:
        raise ValueError(f"w {w_shape} has an empty filter")
    stride = _pair("stride", stride, 1)
    dilation = _pair("dilation", dilation, 1)
    if len(padding) != 2:
        raise ValueError(f"padding must be ((top, bottom), (left, right)), not {padding!r}")
    pads = (_pair("padding[0]", padding[0], 0), _pair("padding[1]", padding[1], 0))
    sizes = []
    for axis, size, taps, pad, step, spread in (
        ("height", in_y, fy, pads[0], stride[0], dilation[0]),
        ("width", in_x, fx, pads[1], stride[1], dilation[1]),
    ):
        room = size + sum(pad) - spread * (taps - 1) - 1
        if room < 0:
            raise ValueError(
                f"the filter covers {spread * (taps - 1) + 1} but the padded {axis} of x is "
                f"{size + sum(pad)}: pad more, or use a smaller filter"
            )
        sizes.append(room // step + 1)
    return ConvGeometry(
        batch, in_y, in_x, channels, sizes[0], sizes[1], out_channels, fy, fx, stride, pads, dilation, groups
    )


def _pair(name: str, value: Any, low: int) -> tuple[int, int]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name} must be a pair of integers, not {value!r}")
    return _integer(name, value[0], low, 1 << 31), _integer(name, value[1], low, 1 << 31)


def requantization(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The keywords of requantize() for a fused call, copied; None for accumulators."""
    if value is None:
        return None
    missing = {"scheme", "qmin", "qmax"} - set(value)
    if missing:
        raise ValueError(f"requantize needs {', '.join(sorted(missing))}: give the keywords of requantize()")
    return dict(value)


def overflow_message(index: tuple[int, ...], levels: Sequence[Level]) -> str:
    widths = " then ".join(str(level.bits) for level in levels)
    return (
        f"the {widths}-bit accumulator overflows at output index {index}: widen it, or choose "
        'overflow="wrap" or "saturate"'
    )


DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")


def activity_choices(dataflow: str, accumulator_bits: int, samples: int) -> None:
    """The choices of activity(), checked."""
    _one_of("dataflow", dataflow, DATAFLOWS)
    _integer("accumulator_bits", accumulator_bits, 1, MAX_ACCUMULATOR_BITS)
    _integer("samples", samples, 0, 1 << 31)


def sampled_outputs(
    shape: ConvGeometry,
    dataflow: str,
    samples: int,
    seed: int,
) -> Iterator[tuple[tuple[int, int, int, int], tuple[int, int, int, int] | None]]:
    """Random (image, oy, ox, channel) with the output whose partial sums come before; None: its own do."""
    space = (shape.batch, shape.out_y, shape.out_x, shape.out_channels)
    step = {"weight_stationary": shape.out_channels, "input_stationary": 1, "output_stationary": 0}[dataflow]
    per_group = shape.out_channels // shape.groups
    total = int(np.prod(space))
    if total == 0:
        return
    for place in np.random.default_rng(seed).integers(0, total, samples).tolist():
        first = place < step if dataflow == "weight_stationary" else place % per_group == 0
        if step and first:
            continue
        now = tuple(int(i) for i in np.unravel_index(place, space))
        before = tuple(int(i) for i in np.unravel_index(place - step, space)) if step else None
        yield now, before  # type: ignore[misc]
