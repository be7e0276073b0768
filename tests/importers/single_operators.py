"""Random .tflite files of one operator: every attribute that the reader knows, at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tflite_writer import Model

Rng = np.random.Generator
Case = tuple[bytes, list[np.ndarray]]
SINGLE: dict[str, Callable[[Rng], Case]] = {}


def single(function: Callable[[Rng], Case]) -> Callable[[Rng], Case]:
    SINGLE[function.__name__] = function
    return function


class One:
    """A model under construction: activations on random grids."""

    def __init__(self, rng: Rng, kind: str = "INT8") -> None:
        self.rng, self.model, self.inputs, self.kind = rng, Model(), [], kind

    def grid(self, low: float = 0.01, high: float = 0.06) -> dict:
        zero = 0 if self.kind == "INT16" else int(self.rng.integers(-30, 31)) + (128 if self.kind == "UINT8" else 0)
        scale = np.exp(self.rng.uniform(np.log(low), np.log(high))) / (200 if self.kind == "INT16" else 1)
        return {"scale": np.float32(scale), "zero_point": zero}

    def input(self, shape, grid=None) -> int:
        self.inputs.append(self.model.tensor(f"input{len(self.inputs)}", shape, self.kind, **(grid or self.grid())))
        return self.inputs[-1]

    def constant(self, values, kind: str = "INT32", **grid) -> int:
        values = np.asarray(values)
        return self.model.tensor(f"constant{len(self.model.tensors)}", values.shape, kind, data=values, **grid)

    def weight(self, shape, axis: int, per_channel: bool, bits: int = 8) -> tuple[int, np.ndarray]:
        top = 2 ** (bits - 1) - 1
        values = self.rng.integers(-top, top + 1, shape)
        scale = self.rng.uniform(0.5, 2, shape[axis] if per_channel else 1).astype(np.float32) * np.float32(0.5 / top)
        kind = "INT4" if bits == 4 else "INT8"
        return self.model.tensor("weight", shape, kind, scale=scale, data=values, axis=axis), scale

    def bias(self, channels: int, x: int, scale: np.ndarray, kind: str | None = None, optional: bool = True) -> int:
        if optional and self.rng.random() < 0.15:
            return -1
        kind = kind or ("INT64" if self.kind == "INT16" else "INT32")
        real = np.float32(self.model.tensors[x]["scale"]) * scale
        spread = 2.0 / float(np.mean(real))
        values = np.rint(self.rng.normal(size=channels) * spread)
        return self.model.tensor("bias", [channels], kind, scale=real, data=values)

    def output(self, shape, grid=None, name: str = "output") -> int:
        return self.model.tensor(name, shape, self.kind, **(grid or self.grid()))

    def done(self, *outputs: int) -> Case:
        data = []
        for index in self.inputs:
            shape = self.model.tensors[index]["shape"]
            info = np.iinfo({"INT8": np.int8, "INT16": np.int16, "UINT8": np.uint8}[self.kind])
            data.append(self.rng.integers(info.min, info.max + 1, shape).astype(info.dtype))
        return self.model.build(self.inputs, outputs or [len(self.model.tensors) - 1]), data


def _out(size: int, window: int, stride: int, dilation: int, mode: int) -> int:
    reach = (window - 1) * dilation + 1
    return -(-size // stride) if mode == 0 else (size - reach) // stride + 1


def _conv(rng: Rng, kind: str = "INT8", bits: int = 8, depthwise: bool = False, bias_kind: str | None = None) -> Case:
    one = One(rng, kind)
    h, w = rng.integers(6, 13, 2)
    c = int(rng.integers(1, 13))
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
    k = c * multiplier if depthwise else groups * int(rng.integers(1, 13))
    x = one.input([1, h, w, c])
    shape = [1, fy, fx, k] if depthwise else [k, fy, fx, c // groups]
    weight, scale = one.weight(shape, 3 if depthwise else 0, per_channel=bool(rng.random() < 0.7), bits=bits)
    bias = one.bias(k, x, scale, bias_kind, optional=False)
    y = one.output([1, _out(h, fy, sy, dy, mode), _out(w, fx, sx, dx, mode), k], one.grid(0.02, 0.2))
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
    n, k = int(rng.integers(1, 70)), int(rng.integers(1, 20))
    keep = rng.random() < 0.4
    shape = [1, int(rng.integers(1, 6)), n] if keep or rng.random() < 0.3 else [1, n]
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
    size = one.constant(np.array([1, *sizes, k], np.int32))
    weight, scale = one.weight([k, fy, fx, c], 0, per_channel=bool(rng.random() < 0.7))
    x = one.input([1, h, w, c])
    bias = one.bias(k, x, scale)
    y = one.output([1, *sizes, k], one.grid(0.02, 0.2))
    inputs = [size, weight, x] + ([bias] if bias >= 0 else [])
    one.model.operator("TRANSPOSE_CONV", inputs, [y], "TransposeConvOptions", Padding=mode, StrideW=sx, StrideH=sy,
                       FusedActivationFunction=0)  # fmt: skip
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
    lead = [1, int(rng.integers(1, 4))]
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


def _pair(rng: Rng, name: str, options: str | None, kind="INT8", same=False) -> Case:
    one = One(rng, kind)
    shape = [1, *rng.integers(1, 9, 3)]
    other = [shape, shape, [1, 1, 1, shape[3]], [1, 1, 1, 1], [1, shape[1], 1, shape[3]]][rng.integers(0, 5)]
    grid = one.grid()
    a = one.input(shape, grid)
    if rng.random() < 0.3:
        code = rng.integers(-128, 128, other if rng.random() < 0.5 else other[1:])
        b = one.constant(code, kind, **(grid if same else one.grid()))
    else:
        b = one.input(other, grid if same else None)
    inputs = [a, b] if rng.random() < 0.7 else [b, a]
    y = one.output(shape, grid if same else (one.grid(0.001, 0.01) if name == "MUL" else one.grid(0.02, 0.1)))
    fields = {} if same else {"FusedActivationFunction": int(rng.integers(0, 4))}
    if options in ("AddOptions", "SubOptions"):
        fields["PotScaleInt16"] = False
    one.model.operator(name, inputs, [y], options, **fields)
    return one.done(y)


for _name, _options in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")):
    SINGLE[_name.lower()] = lambda rng, n=_name, o=_options: _pair(rng, n, o)
    SINGLE[_name.lower() + "_int16"] = lambda rng, n=_name, o=_options: _pair(rng, n, o, "INT16")
for _name in ("MAXIMUM", "MINIMUM"):
    SINGLE[_name.lower()] = lambda rng, n=_name: _pair(rng, n, "MaximumMinimumOptions", same=True)


def _pool(rng: Rng, name: str, kind="INT8") -> Case:
    one = One(rng, kind)
    h, w, c = rng.integers(5, 12, 3)
    fy, fx = rng.integers(1, 5, 2)
    sy, sx = rng.integers(1, 4, 2)
    mode = int(rng.integers(0, 2))
    grid = one.grid()
    x = one.input([1, h, w, c], grid)
    y = one.output([1, _out(h, fy, sy, 1, mode), _out(w, fx, sx, 1, mode), c], grid)
    one.model.operator(name, [x], [y], "Pool2DOptions", Padding=mode, StrideW=sx, StrideH=sy, FilterWidth=fx,
                       FilterHeight=fy, FusedActivationFunction=int(rng.integers(0, 4)))  # fmt: skip
    return one.done(y)


for _name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
    SINGLE[_name.lower()] = lambda rng, n=_name: _pool(rng, n)
    SINGLE[_name.lower() + "_int16"] = lambda rng, n=_name: _pool(rng, n, "INT16")


def _reduce(rng: Rng, name: str, kind="INT8", axes=None) -> Case:
    one = One(rng, kind)
    shape = [1, *rng.integers(1, 9, 2), int(rng.integers(1, 40))]
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


def _unary(rng: Rng, name: str, kind="INT8", options=None, grid=None, wide=(0.02, 0.1), **fields) -> Case:
    one = One(rng, kind)
    shape = [1, *rng.integers(1, 17, 3)]
    x = one.input(shape, one.grid(*wide))
    same = one.model.tensors[x]
    if rng.random() < 0.2 and grid is None:
        grid = {"scale": same["scale"], "zero_point": same["zero_point"]}
    y = one.output(shape, grid)
    one.model.operator(name, [x], [y], options, **fields)
    return one.done(y)


_LOGISTIC, _TANH = {"scale": 1 / 256, "zero_point": -128}, {"scale": 1 / 128, "zero_point": 0}
SINGLE["logistic"] = lambda rng: _unary(rng, "LOGISTIC", grid=_LOGISTIC)
SINGLE["tanh"] = lambda rng: _unary(rng, "TANH", grid=_TANH)
_WIDE16 = {"scale": 1 / 32768, "zero_point": 0}
SINGLE["logistic_int16"] = lambda rng: _unary(rng, "LOGISTIC", "INT16", grid=_WIDE16)
SINGLE["tanh_int16"] = lambda rng: _unary(rng, "TANH", "INT16", grid=_WIDE16)
SINGLE["elu"] = lambda rng: _unary(rng, "ELU")
SINGLE["gelu"] = lambda rng: _unary(rng, "GELU", options="GeluOptions", Approximate=bool(rng.random() < 0.5))
SINGLE["hard_swish"] = lambda rng: _unary(rng, "HARD_SWISH", options="HardSwishOptions")
for _name in ("RELU", "RELU6", "RELU_N1_TO_1"):
    SINGLE[_name.lower()] = lambda rng, n=_name: _unary(rng, n)
SINGLE["relu_int16"] = lambda rng: _unary(rng, "RELU", "INT16")
SINGLE["leaky_relu"] = lambda rng: _unary(rng, "LEAKY_RELU", options="LeakyReluOptions", Alpha=rng.uniform(0.01, 0.5))
SINGLE["leaky_relu_int16"] = lambda rng: _unary(
    rng, "LEAKY_RELU", "INT16", options="LeakyReluOptions", Alpha=rng.uniform(0.01, 0.5)
)
SINGLE["requantize"] = lambda rng: _unary(rng, "QUANTIZE", options="QuantizeOptions")
SINGLE["requantize_int16"] = lambda rng: _unary(rng, "QUANTIZE", "INT16", options="QuantizeOptions")


def _unsigned(rng: Rng, to_unsigned: bool) -> Case:
    """Unsigned codes at the ends of a file: the same scale, zero points 128 apart, or any other grid."""
    one = One(rng, "INT8" if to_unsigned else "UINT8")
    grid = one.grid()
    x = one.input([1, int(rng.integers(1, 60))], grid)
    shift = 128 if to_unsigned else -128
    other = {"scale": grid["scale"], "zero_point": grid["zero_point"] + shift}
    if rng.random() < 0.5:
        other = {"scale": one.grid()["scale"], "zero_point": other["zero_point"]}
    y = one.model.tensor("y", one.model.tensors[x]["shape"], "UINT8" if to_unsigned else "INT8", **other)
    one.model.operator("QUANTIZE", [x], [y], "QuantizeOptions")
    return one.done(y)


SINGLE["from_unsigned"] = lambda rng: _unsigned(rng, False)
SINGLE["to_unsigned"] = lambda rng: _unsigned(rng, True)


def _softmax(rng: Rng, kind="INT8") -> Case:
    one = One(rng, kind)
    shape = [1, int(rng.integers(1, 40)), int(rng.integers(1, 100))]
    x = one.input(shape, one.grid(0.01, 0.3))
    grid = {"scale": 1 / 256, "zero_point": -128} if kind == "INT8" else {"scale": 1 / 32768, "zero_point": 0}
    y = one.output(shape, grid)
    one.model.operator("SOFTMAX", [x], [y], "SoftmaxOptions", Beta=float(rng.choice([1.0, 1.0, 0.5, 2.0])))
    return one.done(y)


SINGLE["softmax"] = lambda rng: _softmax(rng)
SINGLE["softmax_int16"] = lambda rng: _softmax(rng, "INT16")


def _resize(rng: Rng, name: str, options: str, kind="INT8") -> Case:
    one = One(rng, kind)
    h, w, c = rng.integers(1, 10, 3)
    size = rng.integers(1, 24, 2)
    grid = one.grid()
    x = one.input([1, h, w, c], grid)
    to = one.constant(size.astype(np.int32))
    y = one.output([1, *size, c], grid)
    corners = bool(rng.random() < 0.3)
    one.model.operator(name, [x, to], [y], options, AlignCorners=corners,
                       HalfPixelCenters=bool(not corners and rng.random() < 0.6))  # fmt: skip
    return one.done(y)


SINGLE["resize_bilinear"] = lambda rng: _resize(rng, "RESIZE_BILINEAR", "ResizeBilinearOptions")
SINGLE["resize_bilinear_int16"] = lambda rng: _resize(rng, "RESIZE_BILINEAR", "ResizeBilinearOptions", "INT16")
SINGLE["resize_nearest"] = lambda rng: _resize(rng, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")


@single
def concatenation(rng):
    one = One(rng)
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
    one = One(rng)
    shape, grid = [1, *rng.integers(1, 7, 3)], one.grid()
    pairs = np.array([[0, 0], *rng.integers(0, 3, (3, 2))], np.int32)
    x = one.input(shape, grid)
    at = one.constant(pairs)
    y = one.output([n + sum(p) for n, p in zip(shape, pairs.tolist(), strict=True)], grid)
    if rng.random() < 0.5:
        one.model.operator("PAD", [x, at], [y], "PadOptions")
    else:
        value = one.constant(np.array([int(rng.integers(-128, 128))]), "INT8", **grid)
        one.model.operator("PADV2", [x, at, value], [y], "PadV2Options")
    return one.done(y)


@single
def mirror_pad(rng):
    one = One(rng)
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
