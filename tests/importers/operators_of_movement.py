"""Random files: codes that change places."""

from __future__ import annotations

import numpy as np
from one_operator import SINGLE, One, single

KINDS = ("INT8", "INT16")


@single
def concatenation(rng):
    one = One(rng, KINDS[rng.integers(0, 2)])
    shape, axis, grid = [1, *rng.integers(1, 7, 3)], int(rng.integers(1, 4)), one.grid()
    inputs = []
    for _ in range(rng.integers(1, 4)):
        part = list(shape)
        part[axis] = int(rng.integers(1, 5))
        inputs.append(one.input(part, grid))
    whole = list(shape)
    whole[axis] = sum(int(one.model.tensors[i]["shape"][axis]) for i in inputs)
    y = one.output(whole, grid)
    one.model.operator("CONCATENATION", inputs, [y], "ConcatenationOptions", Axis=axis - 4 * int(rng.integers(0, 2)))
    return one.done(y)


@single
def pad(rng):
    one = One(rng, KINDS[rng.integers(0, 2)])
    shape, grid = [1, *rng.integers(1, 7, 3)], one.grid()
    pairs = np.array([[0, 0], *rng.integers(0, 3, (3, 2))], np.int32)
    x = one.input(shape, grid)
    at = one.constant(pairs)
    y = one.output([n + sum(p) for n, p in zip(shape, pairs.tolist(), strict=True)], grid)
    if rng.random() < 0.5:
        one.model.operator("PAD", [x, at], [y], "PadOptions")
    else:
        value = one.constant(np.array([int(rng.integers(-128, 128))]), one.kind, **grid)
        one.model.operator("PADV2", [x, at, value], [y], "PadV2Options")
    return one.done(y)


@single
def mirror_pad(rng):
    one = One(rng, KINDS[rng.integers(0, 2)])
    mode, grid = int(rng.integers(0, 2)), one.grid()
    shape = [1, *rng.integers(3, 7, 3)]
    pairs = np.array([[0, 0], *rng.integers(0, 3, (3, 2))], np.int32)
    x = one.input(shape, grid)
    at = one.constant(pairs)
    y = one.output([n + sum(p) for n, p in zip(shape, pairs.tolist(), strict=True)], grid)
    one.model.operator("MIRROR_PAD", [x, at], [y], "MirrorPadOptions", Mode=mode)
    return one.done(y)


@single
def transpose(rng):
    one = One(rng)
    shape, grid = [1, *rng.integers(1, 7, 3)], one.grid()
    order = [0, *(1 + rng.permutation(3))] if rng.random() < 0.7 else list(rng.permutation(4))
    x = one.input(shape, grid)
    at = one.constant(np.array(order, np.int32))
    y = one.output([shape[a] for a in order], grid)
    one.model.operator("TRANSPOSE", [x, at], [y], "TransposeOptions")
    return one.done(y)


@single
def reshape(rng):
    one = One(rng)
    a, b, c = map(int, rng.integers(1, 7, 3))
    grid = one.grid()
    shape = [[1, a * b, c], [1, a * b * c], [a * b, c], [a, b, c], [1, 1, a, b, c]][rng.integers(0, 5)]
    x = one.input([1, a, b, c], grid)
    at = one.constant(np.array(shape, np.int32))
    y = one.output(shape, grid)
    one.model.operator("RESHAPE", [x, at], [y], "ReshapeOptions", NewShape=shape)
    return one.done(y)


@single
def strided_slice(rng):
    one = One(rng)
    shape, grid = [1, *map(int, rng.integers(2, 9, 3))], one.grid()
    begin, end, step, sizes = [0], [1], [1], [1]
    for n in shape[1:]:
        s = int(rng.integers(1, 3))
        b, e = sorted(map(int, rng.choice(n + 1, 2, replace=False)))
        if rng.random() < 0.25:
            s, (b, e) = -s, (e - 1, b - 1 if b > 0 else -n - 1)
        begin.append(b)
        end.append(e)
        step.append(s)
        sizes.append(len(range(n)[slice(b, e, s)]))
    x = one.input(shape, grid)
    parts = [one.constant(np.array(v, np.int32)) for v in (begin, end, step)]
    y = one.output(sizes, grid)
    one.model.operator("STRIDED_SLICE", [x, *parts], [y], "StridedSliceOptions", BeginMask=1, EndMask=1)
    return one.done(y)


@single
def slice_(rng):
    one = One(rng)
    shape, grid = [1, *map(int, rng.integers(2, 9, 3))], one.grid()
    begin = [0, *(int(rng.integers(0, n)) for n in shape[1:])]
    sizes = [1, *(int(rng.integers(1, n - b + 1)) for n, b in zip(shape[1:], begin[1:], strict=True))]
    x = one.input(shape, grid)
    parts = [one.constant(np.array(v, np.int32)) for v in (begin, sizes)]
    y = one.output(sizes, grid)
    one.model.operator("SLICE", [x, *parts], [y], "SliceOptions")
    return one.done(y)


@single
def split(rng):
    one = One(rng)
    grid, count = one.grid(), int(rng.integers(1, 4))
    shape = [1, 4, 3, 2 * count]
    axis = one.constant(np.array(3, np.int32))
    x = one.input(shape, grid)
    outputs = [one.output([1, 4, 3, 2], grid, f"output{i}") for i in range(count)]
    one.model.operator("SPLIT", [axis, x], outputs, "SplitOptions", NumSplits=count)
    return one.done(*outputs)


@single
def pack(rng):
    one = One(rng)
    grid, axis = one.grid(), int(rng.integers(1, 4))
    inputs = [one.input([1, 3, 4], grid) for _ in range(3)]
    shape = [1, 3, 4]
    shape.insert(axis, 3)
    y = one.output(shape, grid)
    one.model.operator("PACK", inputs, [y], "PackOptions", ValuesCount=3, Axis=axis)
    return one.done(y)


@single
def unpack(rng):
    one = One(rng)
    grid = one.grid()
    x = one.input([1, 3, 4], grid)
    outputs = [one.output([1, 4], grid, f"output{i}") for i in range(3)]
    one.model.operator("UNPACK", [x], outputs, "UnpackOptions", Num=3, Axis=1)
    return one.done(*outputs)


@single
def gather(rng):
    one = One(rng)
    grid, axis = one.grid(), int(rng.integers(1, 4))
    shape = [1, *map(int, rng.integers(2, 9, 3))]
    places = rng.integers(0, shape[axis], rng.integers(1, 6)).astype(np.int32)
    x = one.input(shape, grid)
    at = one.constant(places)
    y = one.output([*shape[:axis], len(places), *shape[axis + 1 :]], grid)
    one.model.operator("GATHER", [x, at], [y], "GatherOptions", Axis=axis)
    return one.done(y)


def _blocks(rng, name, options):
    one = One(rng)
    grid, block = one.grid(), int(rng.integers(1, 4))
    h, w, c = map(int, rng.integers(1, 5, 3))
    big, deep = [1, h * block, w * block, c], [1, h, w, c * block**2]
    from_, to = (big, deep) if name == "SPACE_TO_DEPTH" else (deep, big)
    x = one.input(from_, grid)
    y = one.output(to, grid)
    one.model.operator(name, [x], [y], options, BlockSize=block)
    return one.done(y)


SINGLE["space_to_depth"] = lambda rng: _blocks(rng, "SPACE_TO_DEPTH", "SpaceToDepthOptions")
SINGLE["depth_to_space"] = lambda rng: _blocks(rng, "DEPTH_TO_SPACE", "DepthToSpaceOptions")
