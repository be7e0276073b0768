"""Weights in the order in which the tiles read them, made once and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accelsim_kernels import arguments
from accelsim_kernels.simd import Engine

_MOST_PLANS = 64


@dataclass(frozen=True)
class Layout:
    """Weights of one engine: (group, panel, step, lane, unit), minus `offset`; zeros fill steps and lanes.

    A step is four bytes of consecutive activations. Each tap is a run of steps; where the channels do not fill steps
    and taps lie side by side, a whole filter row is one run (runs_x = 1). sums: stored weights of each output channel.
    """

    data: np.ndarray
    offset: int
    sums: np.ndarray
    steps: int
    run_steps: int
    runs_x: int
    group_outputs: int
    vectors: int
    group_bytes: int
    panels: list[tuple[int, int]]
    ones: np.ndarray
    zeros: np.ndarray


@dataclass(frozen=True)
class Packed:
    """Weights made ready once: (K, fy, fx, C/groups), a matrix being a 1x1 filter of its own transpose.

    The array must not change afterwards.
    """

    w: np.ndarray
    groups: int
    plans: dict = field(default_factory=dict, repr=False, compare=False)
    _layouts: dict = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __reduce__(self) -> tuple:
        return Packed, (self.w, self.groups)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(K, N) of the matrix that was packed."""
        return self.w.shape[3], self.w.shape[0]

    def keep_plan(self, key: tuple | None, plan: object) -> None:
        """Remember what was prepared for a call with that key."""
        if len(self.plans) >= _MOST_PLANS:
            self.plans.clear()
        if key is not None:
            self.plans[key] = plan

    def layout(self, engine: Engine, dilation_x: int) -> Layout:
        """The weights as that engine reads them."""
        adjacent = taps_adjacent(self.w, engine, dilation_x)
        return self.remember((engine.name, adjacent), lambda: lay_out(self.w, self.groups, engine, adjacent))

    def remember(self, key: tuple, make: Callable[[], Any]) -> Any:
        """Something made from the weights, once."""
        with self._lock:
            if key not in self._layouts:
                self._layouts[key] = make()
            return self._layouts[key]


def pack(b: np.ndarray) -> Packed:
    """Weights (K, N) of a matrix product, int8, uint8, int16 or uint16, made ready for any number of calls."""
    return Packed(_frozen(arguments.operand("b", b, 2).T[:, None, None, :]), 1)


def pack_conv2d(w: np.ndarray, *, groups: int = 1) -> Packed:
    """Weights (K, fy, fx, C/groups) of a convolution made ready for any number of calls."""
    return Packed(_frozen(arguments.operand("w", w, 4)), groups)


def _frozen(w: np.ndarray) -> np.ndarray:
    """A copy of our own: what is laid out later is what was packed."""
    w = w.copy()
    w.flags.writeable = False
    return w


def panels(vectors: int, widest: int) -> list[tuple[int, int]]:
    """(first vector, vectors) of each panel of columns: as few and as even as can be."""
    count = -(-vectors // widest)
    sizes = [vectors // count + (i < vectors % count) for i in range(count)] if count else []
    return [(sum(sizes[:i]), size) for i, size in enumerate(sizes)]


def taps_adjacent(w: np.ndarray, engine: Engine, dilation_x: int) -> bool:
    """Whether whole filter rows are packed as one run, because single taps would not fill steps."""
    return w.shape[3] % engine.unit != 0 and (dilation_x == 1 or w.shape[2] == 1)


def lay_out(
    w: np.ndarray,
    groups: int,
    engine: Engine,
    adjacent: bool,
    zero_point: np.ndarray | None = None,
    steps_multiple: int = 1,
) -> Layout:
    """Weights minus `zero_point` per output channel or, without one, minus what makes unsigned weights signed."""
    outputs, fy, fx, channels = w.shape
    offset = {"uint8": 128 if engine.item_bytes == 1 else 0, "uint16": 32768}.get(w.dtype.name, 0)
    taken = w.astype(np.int32)
    if zero_point is None:
        taken -= offset
    else:
        taken -= zero_point.astype(np.int32)[:, None, None, None]
    kind = np.int8 if engine.item_bytes == 1 else np.int16
    runs_x, run = (1, fx * channels) if adjacent else (fx, channels)
    run_steps = -(-run // engine.unit)
    full_steps, per_group = fy * runs_x * run_steps, outputs // groups
    steps = -(-full_steps // steps_multiple) * steps_multiple
    vectors = -(-per_group // engine.lanes)
    parts = panels(vectors, engine.widest)

    def arranged(values: np.ndarray) -> np.ndarray:
        """(n, fy, fx, channels) -> (n, steps, unit)."""
        padded = np.zeros((len(values), fy * runs_x, run_steps * engine.unit), kind)
        padded[:, :, :run] = values.reshape(len(values), fy * runs_x, run)
        whole = np.zeros((len(values), steps, engine.unit), kind)
        whole[:, :full_steps] = padded.reshape(len(values), full_steps, engine.unit)
        return whole

    spread = np.zeros((groups, vectors * engine.lanes, steps, engine.unit), kind)
    spread[:, :per_group] = arranged(taken).reshape(groups, per_group, steps, engine.unit)
    by_vector = spread.reshape(groups, vectors, engine.lanes, steps, engine.unit)
    order = (0, 3, 1, 4, 2) if engine.planar else (0, 3, 1, 2, 4)
    pieces = [by_vector[:, first : first + count].transpose(order).reshape(groups, -1) for first, count in parts]
    data = np.concatenate(pieces, axis=1) if pieces else np.zeros((groups, 0), kind)
    ones = np.repeat(arranged(np.ones((1, fy, fx, channels), kind))[0][:, None], engine.lanes, axis=1)
    sums = taken.reshape(outputs, fy * fx * channels).sum(axis=1, dtype=np.int64)
    return Layout(
        np.ascontiguousarray(data),
        offset,
        sums,
        steps,
        run_steps,
        runs_x,
        per_group,
        vectors,
        data.strides[0] if groups else 0,
        parts,
        np.ascontiguousarray(ones),
        np.zeros(engine.lanes, np.int32),
    )
