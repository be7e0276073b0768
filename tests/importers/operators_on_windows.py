"""Random files: pools, reductions, images of another size."""

from __future__ import annotations

import numpy as np
from one_operator import SINGLE, Case, One, Rng, extent, single


def _pool(rng: Rng, name: str, kind="INT8") -> Case:
    one = One(rng, kind)
    h, w, c = rng.integers(5, 12, 3)
    fy, fx = rng.integers(1, 5, 2)
    sy, sx = rng.integers(1, 4, 2)
    mode = int(rng.integers(0, 2))
    grid = one.grid()
    x = one.input([one.batch, h, w, c], grid)
    y = one.output([one.batch, extent(h, fy, sy, 1, mode), extent(w, fx, sx, 1, mode), c], grid)
    one.model.operator(name, [x], [y], "Pool2DOptions", Padding=mode, StrideW=sx, StrideH=sy, FilterWidth=fx,
                       FilterHeight=fy, FusedActivationFunction=int(rng.integers(0, 4)))  # fmt: skip
    return one.done(y)


for _name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
    SINGLE[_name.lower()] = lambda rng, n=_name: _pool(rng, n)
    SINGLE[_name.lower() + "_int16"] = lambda rng, n=_name: _pool(rng, n, "INT16")


def _reduce(rng: Rng, name: str, kind="INT8", axes=None) -> Case:
    one = One(rng, kind)
    shape = [one.batch, *rng.integers(1, 9, 2), int(rng.integers(1, 40))]
    choices = [[1, 2], [1, 2], [2, 1], [1], [2], [3], [-1], [1, 3], [1, 2, 3]]
    axes = axes or choices[rng.integers(0, len(choices))]
    keep = bool(rng.random() < 0.5)
    x = one.input(shape)
    at = one.constant(np.array(axes, np.int32))
    gone = {a % 4 for a in axes}
    kept = [1 if a in gone else s for a, s in enumerate(shape)]
    y = one.output([s for a, s in enumerate(kept) if keep or a not in gone], one.grid(0.005, 0.06))
    one.model.operator(name, [x, at], [y], "ReducerOptions", KeepDims=keep)
    return one.done(y)


for _name in ("MEAN", "SUM"):
    SINGLE[_name.lower()] = lambda rng, n=_name: _reduce(rng, n)
    SINGLE[_name.lower() + "_int16"] = lambda rng, n=_name: _reduce(rng, n, "INT16")


def _extremum(rng: Rng, name: str) -> Case:
    one = One(rng)
    shape, grid = [*one.shape(7, 3, 4)], one.grid()
    gone = {int(axis) for axis in rng.choice(np.arange(1, len(shape)), rng.integers(1, len(shape)), replace=False)}
    keep = bool(rng.random() < 0.5)
    x = one.input(shape, grid)
    at = one.constant(np.array([axis - len(shape) * int(rng.integers(0, 2)) for axis in gone], np.int32))
    kept = [1 if a in gone else n for a, n in enumerate(shape)]
    y = one.output([n for a, n in enumerate(kept) if keep or a not in gone], grid)
    one.model.operator(name, [x, at], [y], "ReducerOptions", KeepDims=keep)
    return one.done(y)


SINGLE["reduce_max"] = lambda rng: _extremum(rng, "REDUCE_MAX")
SINGLE["reduce_min"] = lambda rng: _extremum(rng, "REDUCE_MIN")


@single
def arg_max(rng):
    one = One(rng)
    shape = one.shape(7, 2, 4)
    axis = int(rng.integers(1, len(shape)))
    x = one.input(shape)
    at = one.constant(np.array(axis, np.int32))
    y = one.model.tensor("places", [n for a, n in enumerate(shape) if a != axis], "INT32")
    one.model.operator("ARG_MAX", [x, at], [y], "ArgMaxOptions", OutputType=2)
    return one.done(y)


def _resize(rng: Rng, name: str, options: str, kind="INT8") -> Case:
    one = One(rng, kind)
    h, w, c = rng.integers(1, 10, 3)
    size = rng.integers(1, 24, 2)
    grid = one.grid()
    x = one.input([one.batch, h, w, c], grid)
    to = one.constant(size.astype(np.int32))
    y = one.output([one.batch, *size, c], grid)
    corners = bool(rng.random() < 0.3)
    one.model.operator(name, [x, to], [y], options, AlignCorners=corners,
                       HalfPixelCenters=bool(not corners and rng.random() < 0.6))  # fmt: skip
    return one.done(y)


SINGLE["resize_bilinear"] = lambda rng: _resize(rng, "RESIZE_BILINEAR", "ResizeBilinearOptions")
SINGLE["resize_bilinear_int16"] = lambda rng: _resize(rng, "RESIZE_BILINEAR", "ResizeBilinearOptions", "INT16")
SINGLE["resize_nearest_int16"] = lambda rng: _resize(
    rng, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", "INT16"
)
SINGLE["resize_nearest"] = lambda rng: _resize(rng, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
