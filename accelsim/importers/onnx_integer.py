"""Nodes of integer kernels (QLinearConv, QGemm, QLinearAdd …) as the operators on quantized operands they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim.importers.onnx_file import FileNode
from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_quantizers import codes_of
from accelsim.importers.onnx_values import INTEGER_NODES, Real, RealKnown, Unit, UnsupportedError, register

_PAIRS = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
_UNARY = {"QLinearSigmoid": "Sigmoid", "QLinearLeakyRelu": "LeakyRelu", "QLinearSoftmax": "Softmax",
          "QLinearAveragePool": "AveragePool", "QLinearGlobalAveragePool": "GlobalAveragePool",
          "QLinearReduceMean": "ReduceMean"}  # fmt: skip


def _operand(node: FileNode, to: Lowering, place: int, axis: int = 0) -> Real | RealKnown:
    """The tensor at `place` with the scale and zero point that follow it."""
    if place + 1 >= len(node.inputs):
        raise UnsupportedError(f"has no input {place + 1}")
    found = to.value(node.inputs[place])
    if not isinstance(found, np.ndarray):
        return Real(codes_of(node.inputs[place], node, to), to.grid(node, place + 1, place + 2))
    scale, zero, bits, signed = to.quantizer(node, place + 1, place + 2, found.dtype)
    if zero.dtype != found.dtype:
        raise UnsupportedError(f"codes of {found.dtype} with a zero point of {zero.dtype}")
    if scale.size > 1 and not (axis < found.ndim and found.shape[axis] == scale.size):
        raise UnsupportedError(f"{scale.size} scales along axis {axis} of a constant of shape {found.shape}")
    bits = 4 if node.inputs[place] in to.file.four_bits else bits
    return RealKnown(node.inputs[place], found, scale, zero, axis, bits, signed)


def _bias(node: FileNode, to: Lowering, place: int, x: Any, weights: Any) -> RealKnown | None:
    """int32 codes at the scale of the accumulator."""
    codes = to.optional_constant(node, place, "bias")
    if codes is None:
        return None
    if not isinstance(x, Real) or not isinstance(weights, RealKnown):
        raise UnsupportedError("its first operand must be an activation, and its weights constants")
    if codes.dtype != np.int32:
        raise UnsupportedError(f"a bias of {codes.dtype}; int32 is read")
    scale = (np.float64(x.params.scale) * weights.scale.astype(np.float64)).astype(np.float32)
    return RealKnown(node.inputs[place], codes.reshape(-1), scale, np.zeros((), np.int64), 0, 32, True)


def _unit(node: FileNode, to: Lowering, kind: str, operands: tuple, scale_at: int) -> Unit:
    y = to.grid(node, scale_at, scale_at + 1)
    return Unit(node, kind, operands, node.outputs[0], y, integer=True)


@register(INTEGER_NODES, "QLinearConv")
def _conv(node: FileNode, to: Lowering) -> Unit:
    x, weights = _operand(node, to, 0), _operand(node, to, 3)
    return _unit(node, to, "Conv", (x, weights, _bias(node, to, 8, x, weights)), 6)


@register(INTEGER_NODES, "QLinearMatMul")
def _matmul(node: FileNode, to: Lowering) -> Unit:
    return _unit(node, to, "MatMul", (_operand(node, to, 0), _operand(node, to, 3, axis=1)), 6)


@register(INTEGER_NODES, "QGemm")
def _gemm(node: FileNode, to: Lowering) -> Unit:
    axis = 0 if node.attributes.get("transB", 0) else 1
    x, weights = _operand(node, to, 0), _operand(node, to, 3, axis)
    operands = x, weights, _bias(node, to, 6, x, weights)
    if len(node.inputs) < 8 or not node.inputs[7]:
        return Unit(node, "Gemm", operands, node.outputs[0], None, integer=True)
    return _unit(node, to, "Gemm", operands, 7)


def _pair(node: FileNode, to: Lowering) -> Unit:
    return _unit(node, to, _PAIRS[node.kind], (_operand(node, to, 0), _operand(node, to, 3)), 6)


def _unary(node: FileNode, to: Lowering) -> Unit:
    return _unit(node, to, _UNARY[node.kind], (_operand(node, to, 0),), 3)


@register(INTEGER_NODES, "QLinearConcat")
def _concat(node: FileNode, to: Lowering) -> Unit:
    operands = tuple(_operand(node, to, place) for place in range(2, len(node.inputs), 3))
    return _unit(node, to, "Concat", operands, 0)


INTEGER_NODES.update(dict.fromkeys(_PAIRS, _pair))
INTEGER_NODES.update(dict.fromkeys(_UNARY, _unary))
