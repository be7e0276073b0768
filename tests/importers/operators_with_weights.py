"""Random files: convolutions, fully connected layers, matrix products."""

from __future__ import annotations

import numpy as np
from one_operator import Case, One, Rng, extent, single


def _conv(rng: Rng, kind: str = "INT8", bits: int = 8, depthwise: bool = False, bias_kind: str | None = None) -> Case:
    one = One(rng, kind)
    h, w = rng.integers(6, 13, 2)
    c = int(rng.integers(1, 13 if rng.random() < 0.8 else 40))
    fy, fx = rng.integers(1, 5, 2)
    sy, sx = rng.integers(1, 4, 2)
    dy, dx = (1, 1)
    if rng.random() < 0.3:
        (sy, sx), (dy, dx) = (1, 1), rng.integers(1, 3, 2)
    if depthwise and kind == "INT8":
        sx = sy  # the runtime asks for it
    mode = int(rng.integers(0, 2))
    if mode == 1:
        dy, dx = min(dy, (h - 1) // max(fy - 1, 1)), min(dx, (w - 1) // max(fx - 1, 1))
    multiplier = int(rng.integers(1, 4)) if depthwise else 1
    groups = 2 if not depthwise and rng.random() < 0.15 else 1
    c = c * groups
    k = c * multiplier if depthwise else groups * int(rng.integers(1, 13 if rng.random() < 0.8 else 40))
    x = one.input([one.batch, h, w, c])
    shape = [1, fy, fx, k] if depthwise else [k, fy, fx, c // groups]
    weight, scale = one.weight(shape, 3 if depthwise else 0, per_channel=bool(rng.random() < 0.7), bits=bits)
    bias = one.bias(k, x, scale, bias_kind, optional=False)
    y = one.output([one.batch, extent(h, fy, sy, dy, mode), extent(w, fx, sx, dx, mode), k], one.grid(0.02, 0.2))
    fields = {"Padding": mode, "StrideW": sx, "StrideH": sy, "FusedActivationFunction": int(rng.integers(0, 4)),
              "DilationWFactor": dx, "DilationHFactor": dy}  # fmt: skip
    if depthwise:
        fields["DepthMultiplier"] = multiplier
    elif bias_kind == "INT32":
        fields["QuantizedBiasType"] = 2  # INT32
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    options = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    one.model.operator(name, [x, weight, bias], [y], options, **fields)
    return one.done(y)


@single
def conv2d(rng):
    return _conv(rng)


@single
def conv2d_int4(rng):
    return _conv(rng, bits=4)


@single
def conv2d_int16(rng):
    return _conv(rng, "INT16")


@single
def conv2d_int16_bias32(rng):
    return _conv(rng, "INT16", bias_kind="INT32")


@single
def depthwise(rng):
    return _conv(rng, depthwise=True)


@single
def depthwise_int4(rng):
    return _conv(rng, bits=4, depthwise=True)


@single
def depthwise_int16(rng):
    return _conv(rng, "INT16", depthwise=True)


def _dense(rng: Rng, kind="INT8", bits=8, bias_kind=None) -> Case:
    one = One(rng, kind)
    n, k = int(rng.integers(1, 70 if rng.random() < 0.8 else 300)), int(rng.integers(1, 20))
    keep = rng.random() < 0.4
    shape = [one.batch, int(rng.integers(1, 6)), n] if keep or rng.random() < 0.3 else [one.batch, n]
    x = one.input(shape)
    weight, scale = one.weight([k, n], 0, per_channel=bool(rng.random() < 0.5), bits=bits)
    bias = one.bias(k, x, scale, bias_kind)
    y = one.output([*shape[:-1], k] if keep else [int(np.prod(shape[:-1])), k], one.grid(0.02, 0.2))
    kind = {"QuantizedBiasType": 2} if bias_kind == "INT32" else {}
    one.model.operator("FULLY_CONNECTED", [x, weight, bias], [y], "FullyConnectedOptions", **kind,
                       FusedActivationFunction=int(rng.integers(0, 4)), KeepNumDims=bool(keep))  # fmt: skip
    return one.done(y)


@single
def dense(rng):
    return _dense(rng)


@single
def dense_int4(rng):
    return _dense(rng, bits=4)


@single
def dense_int16(rng):
    return _dense(rng, "INT16")


@single
def dense_int16_bias32(rng):
    return _dense(rng, "INT16", bias_kind="INT32")


def _transpose_conv(rng: Rng, kind="INT8") -> Case:
    one = One(rng, kind)
    h, w = rng.integers(3, 9, 2)
    c, k = rng.integers(1, 9), rng.integers(1, 21)
    fy, fx = rng.integers(1, 5, 2)
    sy, sx = rng.integers(1, 4, 2)
    mode = int(rng.integers(0, 2))
    sizes = [n * s if mode == 0 else (n - 1) * s + max(f, s) for n, s, f in ((h, sy, fy), (w, sx, fx))]
    size = one.constant(np.array([one.batch, *sizes, k], np.int32))
    weight, scale = one.weight([k, fy, fx, c], 0, per_channel=bool(rng.random() < 0.7))
    x = one.input([one.batch, h, w, c])
    bias = one.bias(k, x, scale)
    y = one.output([one.batch, *sizes, k], one.grid(0.02, 0.2))
    inputs = [size, weight, x] + ([bias] if bias >= 0 else [])
    one.model.operator("TRANSPOSE_CONV", inputs, [y], "TransposeConvOptions", Padding=mode, StrideW=sx, StrideH=sy,
                       FusedActivationFunction=int(rng.integers(0, 4)))  # fmt: skip
    return one.done(y)


@single
def transpose_conv(rng):
    return _transpose_conv(rng)


@single
def transpose_conv_int16(rng):
    return _transpose_conv(rng, "INT16")


def _matmul(rng: Rng, kind="INT8") -> Case:
    one = One(rng, kind)
    m, k, n = rng.integers(1, 20, 3)
    lead = [[1, int(rng.integers(1, 4))], [1], []][rng.integers(0, 3)]
    adj_x, adj_y = bool(rng.random() < 0.3), bool(rng.random() < 0.3)
    a = one.input([*lead, k, m] if adj_x else [*lead, m, k])
    b = one.input([*lead, n, k] if adj_y else [*lead, k, n])
    y = one.output([*lead, m, n], one.grid(0.1, 0.4))
    one.model.operator("BATCH_MATMUL", [a, b], [y], "BatchMatMulOptions", AdjX=adj_x, AdjY=adj_y)
    return one.done(y)


@single
def batch_matmul(rng):
    return _matmul(rng)


@single
def batch_matmul_int16(rng):
    return _matmul(rng, "INT16")
