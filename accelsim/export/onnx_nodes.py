"""Operators that compute, as nodes between quantizers: with weights, on two tensors, pools, functions, softmax."""

from __future__ import annotations

import dataclasses
from typing import Any

import accelsim_kernels
import numpy as np

from accelsim.export.onnx_build import CHW, Build, writes
from accelsim.importers.onnx_functions import table
from accelsim.ops.base import Op
from accelsim.quant import QuantParams
from accelsim.requant import FLOAT32_SCHEMES

#: name of a table's function → the operator that computes it
_FUNCTIONS = {"logistic": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish", "hard_sigmoid": "HardSigmoid",
              "gelu": "Gelu", "erf": "Erf", "relu": "Relu", "softplus": "Softplus", "exp": "Exp", "sqrt": "Sqrt",
              "abs": "Abs", "neg": "Neg"}  # fmt: skip


#: real numbers of the fixed-point forms of softmax: what a unit of multiplier * 2^shift is
_SOFTMAX_UNITS = {"gemmlowp": 2.0**-26, "table": 10.0 / 65535.0}
#: schemes whose multiplier is in Q0.31
_FIXED_POINT = ("tflite-double", "tflite-single", "tflite-ruy", "tosa-single", "tosa-double", "cmsis-nn")
#: scales nearer than this, relative to one another, are one
_SAME = 1e-5


def check_scale(op: Any, *scales: Any) -> None:
    """AccelsimError where the operator rescales by another factor than (input * weight / output) scales."""
    how = op.requantizer
    if how is None:
        return
    expected = np.asarray(scales[0], np.float64) * np.asarray(scales[1]) / scales[2]
    found = how.params.get("scale") if how.scheme in FLOAT32_SCHEMES else None
    if how.scheme in _FIXED_POINT:
        found = np.asarray(how.params["multiplier"]) * np.exp2(np.asarray(how.params["shift"], np.float64) - 31)
    if found is None:
        return
    wrong = (np.abs(np.asarray(found) / expected - 1) > _SAME) & (np.asarray(found) != 0)
    if np.any(wrong):
        raise op.refuse("rescales by a factor that is not in its grids, which no .onnx operator has")


def weights(build: Build, op: Any, values: np.ndarray) -> list[str]:
    """Weights, and a bias at the scale of the accumulator, as real numbers."""
    params = op.weight_params
    check_scale(op, build.grid(op.inputs[0]).scale, params.scale, build.graph.tensors[op.output].params.scale)
    per_channel = {"axis": 0} if params.axis is not None else {}
    label = f"{op.name}.weight"
    codes = build.constant(label, values.astype(params.dtype))
    scales = build.scales(label, params)
    names = [build.node("DequantizeLinear", [codes, *scales], f"{label}.real", **per_channel)]
    if op.bias is not None:
        if np.abs(op.bias.astype(np.int64)).max(initial=0) >= 2**31:
            raise op.refuse("its bias does not fit 32 bits")
        x = np.float32(build.grid(op.inputs[0]).scale)
        bias = build.constant(f"{op.name}.bias", op.bias.astype(np.int32))
        scale = build.constant(f"{bias}.scale", x * np.asarray(params.scale, np.float32))
        names.append(build.node("DequantizeLinear", [bias, scale], f"{bias}.real", **per_channel))
    return names


def _limits(op: Any) -> tuple[Any, Any]:
    return op.requantizer.qmin, op.requantizer.qmax


def finish(build: Build, op: Any, real: str, image: bool) -> None:
    if op.requantizer is not None:
        build.write(op, real, image, _limits(op))
    elif op.output not in build.graph.outputs or image:
        raise op.refuse("its accumulators do not leave the network as they are")
    else:
        build.node("Identity", [real], op.output)
        build.real[op.output] = op.output


@writes("conv2d", "conv2d_tailed", "float_conv2d")
def _conv2d(build: Build, op: Any) -> None:
    (top, bottom), (left, right) = op.padding
    inputs = [build.read(op, image=True), *weights(build, op, op.weight.transpose(0, 3, 1, 2))]
    real = build.node("Conv", inputs, f"{op.name}.real", kernel_shape=op.weight.shape[1:3], strides=op.stride,
                      group=op.groups, dilations=op.dilation, pads=[top, left, bottom, right])  # fmt: skip
    finish(build, op, real, True)


@writes("linear", "float_linear")
def _linear(build: Build, op: Any) -> None:
    shape = build.shape(op.inputs[0])
    if len(shape) == 1:
        inputs = [build.read(op), *weights(build, op, op.weight)]
        finish(build, op, build.node("Gemm", inputs, f"{op.name}.real", transB=1), False)
        return
    if op.requantizer is None:
        raise op.refuse("accumulators leave the network row by row: give its output a grid, output_bits=8 or 16")
    # a 1 × 1 convolution over all but the last axis: the only form whose bias stays an integer
    label, rank = op.name, len(shape)
    flat = _reshaped(build, build.codes(op), f"{label}.rows", [-1, shape[-1]], shape)
    columns = build.node("Transpose", [flat], f"{label}.columns", perm=[0, 2, 1])
    image = _reshaped(build, columns, f"{label}.image", [shape[-1], -1, 1], None)
    real = build.dequantize(image, f"{label}.0", build.grid(op.inputs[0]))
    inputs = [real, *weights(build, op, op.weight[:, :, None, None])]
    real = build.node("Conv", inputs, f"{label}.real", kernel_shape=[1, 1])
    build.quantize(build.clipped(op, real, _limits(op)), f"{label}.pixels", build.grid(op.output))
    columns = _reshaped(build, f"{label}.pixels", f"{label}.joined", [len(op.weight), -1], None)
    codes = build.node("Transpose", [columns], f"{op.output}.codes", perm=[0, 2, 1])
    if rank > 2:
        codes = _reshaped(build, codes, f"{op.output}.shaped", list(build.shape(op.output)), None)
    build.keep(op.output, codes)


def _reshaped(build: Build, codes: str, name: str, shape: list[int], known: tuple[int, ...] | None) -> str:
    """To (batch, *shape); as it is where that is known to be its shape."""
    if known is not None and len(known) == len(shape):
        return codes
    return build.node("Reshape", [codes, build.constant(f"{name}.shape", np.array([0, *shape], np.int64))], name)


@writes("batch_matmul", "float_batch_matmul")
def _batch_matmul(build: Build, op: Any) -> None:
    rank = len(build.shape(op.output))
    check_scale(op, *(build.grid(name).scale for name in (*op.inputs, op.output)))
    operands = []
    for index, turned in enumerate((op.transpose_a, op.transpose_b)):
        codes = build.codes(op, index, rank=rank)
        if turned:
            order = [*range(rank - 1), rank, rank - 1]
            codes = build.node("Transpose", [codes], f"{op.name}.{index}.turned", perm=order)
        operands.append(build.dequantize(codes, f"{op.name}.{index}", build.grid(op.inputs[index])))
    build.write(op, build.node("MatMul", operands, f"{op.name}.real"), False, _limits(op))


_PAIRS = {"add": "Add", "table_add": "Add", "sub": "Sub", "mul": "Mul", "maximum": "Max", "minimum": "Min"}


@writes(*_PAIRS, "float_pair")
def _pair(build: Build, op: Any) -> None:
    kind = _PAIRS[op.operation if op.kind == "float_pair" else op.kind]
    rank = len(build.shape(op.output))
    scales = [build.grid(name).scale for name in (*op.inputs, op.output)]
    if op.kind == "mul":
        check_scale(op, *scales)
    given = [getattr(op, "params", {}).get(name) for name in ("a_scale", "b_scale", "scale")]
    if any(v is not None and abs(v / scale - 1) > _SAME for v, scale in zip(given, scales, strict=True)):
        raise op.refuse("takes its operands by other scales than those of their grids")
    image = rank == 3 and build.is_image(*op.inputs)
    real = build.node(kind, [build.read(op, i, image, rank) for i in (0, 1)], f"{op.name}.real")
    limits = _limits(op) if hasattr(op, "requantizer") else (op.qmin, op.qmax) if hasattr(op, "qmin") else None
    build.write(op, real, image, limits)


@writes("average_pool2d", "float_average_pool", "max_pool2d")
def _pool(build: Build, op: Any) -> None:
    if getattr(op, "values", None) is not None:
        raise op.refuse("takes an average of a function of its codes")
    (top, bottom), (left, right) = op.padding
    more = {} if op.kind == "max_pool2d" else {"count_include_pad": int(op.divisor == "window")}
    real = build.node("AveragePool" if more else "MaxPool", [build.read(op, image=True)], f"{op.name}.real",
                      kernel_shape=op.window, strides=op.stride, pads=[top, left, bottom, right], **more)  # fmt: skip
    build.write(op, real, True, (op.qmin, op.qmax) if more else None)


@writes("mean", "mean_tailed")
def _mean(build: Build, op: Any) -> None:
    shape = build.shape(op.inputs[0])
    if op.axes != (0, 1) or len(shape) != 3:
        raise op.refuse("takes a mean over other axes than height and width")
    real = build.node("GlobalAveragePool", [build.read(op, image=True)], f"{op.name}.real")
    limits = _limits(op) if op.requantizer else (op.qmin, op.qmax)
    if op.keep_dims:
        build.write(op, real, True, limits)
        return
    build.quantize(build.clipped(op, real, limits), f"{op.output}.pixel", build.grid(op.output))
    codes = _reshaped(build, f"{op.output}.pixel", f"{op.output}.codes", [-1], None)
    build.keep(op.output, codes)


@writes("softmax")
def _softmax(build: Build, op: Any) -> None:
    """A factor before the exponential becomes part of the scale by which the codes are read."""
    image = build.is_image(op.inputs[0])
    grid = dataclasses.replace(build.grid(op.inputs[0]), scale=_softmax_scale(build, op))
    real = build.dequantize(build.codes(op, image=image), f"{op.name}.0", grid)
    build.write(op, build.node("Softmax", [real], f"{op.name}.real", axis=1 if image else -1), image)


def _softmax_scale(build: Build, op: Any) -> float:
    """Of the input as the operator reads it, its factor included."""
    params, plain = op.params, build.grid(op.inputs[0]).scale
    found = params.get("input_scale", plain)
    if op.arithmetic in _SOFTMAX_UNITS:
        found = params["multiplier"] * 2.0 ** (params["shift"] - 31) * _SOFTMAX_UNITS[op.arithmetic]
    return plain if abs(found / plain - 1) < _SAME else float(np.float32(found))


@writes("requantize", "requantize_tailed", "clamp")
def _requantize(build: Build, op: Any) -> None:
    """Another grid, a clamp, or both; where the codes are multiplied as well, a table."""
    limits = _limits(op) if op.kind != "clamp" else (op.qmin, op.qmax)
    x, y = (build.graph.tensors[name].grid for name in (op.inputs[0], op.output))
    if y.bits > 8 or x.bits > 8:
        numbers = np.arange(x.qmin, x.qmax + 1, max(1, (x.qmax - x.qmin) // 4096)).astype(x.dtype)
    else:
        numbers = np.arange(x.qmin, x.qmax + 1).astype(x.dtype)
    found = op.run([numbers[None]], accelsim_kernels, {}).values[0].astype(np.int64)
    plain = np.rint((numbers.astype(np.int64) - x.zero_point) * x.scale / y.scale) + y.zero_point
    if np.abs(found - np.clip(plain, *limits)).max() > 1:
        _function(build, op)
        return
    image = build.is_image(op.inputs[0])
    build.write(op, build.read(op, 0, image), image, limits)


@writes("lut", "interpolated_lut", "logistic", "tanh", "leaky_relu")
def _function(build: Build, op: Any) -> None:
    """A function of one code: the operator that has this very table in ONNX Runtime, else the table."""
    x, y = (build.graph.tensors[name].params for name in (op.inputs[0], op.output))
    assert isinstance(x, QuantParams) and isinstance(y, QuantParams)
    codes = np.arange(x.qmin, x.qmax + 1).astype(x.dtype)
    entries = op.run([codes[None]], accelsim_kernels, {}).values[0].astype(np.int64)
    image = build.is_image(op.inputs[0])
    kind = _FUNCTIONS.get(getattr(op, "function", op.kind))
    limits = {"qmin": int(entries.min()), "qmax": int(entries.max())}
    for clamp in ({"qmin": y.qmin, "qmax": y.qmax}, limits):
        if kind is not None and np.array_equal(table(kind, {}, x, y, clamp), entries):
            real = build.node(kind, [build.read(op, 0, image)], f"{op.name}.real")
            build.write(op, real, image, (clamp["qmin"], clamp["qmax"]))
            return
    look_up(build, op, build.codes(op, 0, image), entries, image)


def look_up(build: Build, op: Op, codes: str, entries: np.ndarray, image: bool) -> None:
    """Rows of a table chosen by unsigned codes; entries: in the graph's codes of the output."""
    from onnx import TensorProto

    y = build.grid(op.output)
    rows = build.constant(f"{op.name}.table", (entries + build.moved(op.output)).astype(y.dtype))
    index = build.node("Cast", [codes], f"{op.name}.index", to=TensorProto.INT32)
    build.keep(op.output, build.node("Gather", [rows, index], f"{op.output}.codes", axis=0), CHW if image else None)
