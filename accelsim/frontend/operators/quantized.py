"""Quantizers that a program brings along: torch's quantize and dequantize calls (PT2E) and fake quantization.

A dequantize call of constant codes is computed at capture and keeps its codes and grid (`codes_of`); one of an
activation is the quantize call before it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatNode, Ref
from accelsim.frontend.registry import OPERATORS, Captured, Reject, lowers, tensor
from accelsim.quant import MAX_BITS, QTensor, QuantParams

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

NAMESPACE = "quantized_decomposed"
_FAKE = torch.ops.aten.fake_quantize_per_tensor_affine
#: Tensor attribute of constants that were dequantized
_CODES = "_accelsim_codes"


def register() -> None:
    """Fill the table with torch's quantizers; they exist only where torch's own module of them is loaded."""
    try:
        importlib.import_module("torch.ao.quantization.fx._decomposed")
    except ImportError:
        raise AccelsimError(f"torch {torch.__version__} has no {NAMESPACE} operators: programs with them need others") \
            from None  # fmt: skip
    ops = torch.ops.quantized_decomposed
    calls = {
        Quantize: [ops.quantize_per_tensor.default, ops.quantize_per_tensor.tensor, ops.quantize_per_tensor.tensor2],
        Dequantize: [
            ops.dequantize_per_tensor.default,
            ops.dequantize_per_tensor.tensor,
            ops.dequantize_per_tensor.tensor2,
            ops.dequantize_per_channel.default,
        ],
        Dynamic: [
            ops.choose_qparams.tensor,
            ops.choose_qparams_symmetric.tensor,
            ops.choose_qparams_per_token.default,
            ops.choose_qparams_per_token_asymmetric.default,
        ],
        FakeQuantize: [_FAKE.default, _FAKE.tensor_qparams],
    }
    for family, targets in calls.items():
        OPERATORS.update(dict.fromkeys(targets, family))


def is_quantizer(target: Any) -> bool:
    """Whether an fx target is one of torch's quantize or dequantize operators."""
    return getattr(target, "namespace", None) == NAMESPACE


def grid(arguments: dict[str, Any]) -> QuantParams:
    """The grid of a quantize or dequantize call per tensor; codes may keep to a part of it."""
    scale, zero_point = (_number(arguments[name]) for name in ("scale", "zero_point"))
    return _params(scale, zero_point, _limits(arguments), None)


def _params(scale: Any, zero_point: Any, limits: tuple[int, int], axis: int | None) -> QuantParams:
    low, high = limits
    signed = low < 0
    bits = max((high + 1).bit_length() - (high & (high + 1) == 0), (-low - 1).bit_length()) + signed
    if not 2 <= bits <= MAX_BITS:
        raise Reject(f"codes {low} .. {high}")
    return QuantParams(scale, zero_point, bits, signed, axis)


def _limits(arguments: dict[str, Any]) -> tuple[int, int]:
    return tuple(int(_number(arguments[name])) for name in ("quant_min", "quant_max"))  # type: ignore[return-value]


def _number(value: Any) -> Any:
    if isinstance(value, Ref):
        raise Reject("its scale or zero point is computed from data")
    return value.item() if isinstance(value, torch.Tensor) else value


@lowers()
class Quantize:
    """A tensor rounded to a grid of its own. attributes: grid, limits (the codes in use)."""

    follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured | Ref:
        x = tensor(arguments.get("input", arguments.get("self")), "what is quantized")
        return Captured((x,), {"grid": grid(arguments), "limits": _limits(arguments)})

    @staticmethod
    def execute(node: FloatNode, x: torch.Tensor) -> torch.Tensor:
        return x  # what calibration sees is the float network

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        raise AssertionError("quantizers are taken into the grids of their tensors before lowering")


@lowers()
class FakeQuantize(Quantize):
    """Quantize and dequantize in one call."""


@lowers()
class Dequantize:
    """Codes as real numbers: what was quantized, on the same grid."""

    follows = True

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Ref:
        return tensor(arguments["input"], "the input")


@lowers()
class Dynamic:
    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        raise Reject("dynamic quantization: scales are computed from data at run time; use static quantization")


def remember_codes(node: Any, arguments: list[Any], keywords: dict[str, Any], real: torch.Tensor) -> None:
    """Keep the codes and the grid of a constant that an fx node dequantized; see codes_of()."""
    schema = [argument.name for argument in node.target._schema.arguments]
    given = {**dict(zip(schema, arguments, strict=False)), **keywords}
    codes, limits = given["input"].numpy(), _limits(given)
    if limits[1] - limits[0] >= 1 << MAX_BITS:
        return  # a bias
    if "scales" in given:
        scale = given["scales"].double().numpy()
        zero = given.get("zero_points")
        zero_point = np.zeros(scale.shape, np.int64) if zero is None else zero.to(torch.int64).numpy()
        params = _params(scale, zero_point, limits, given["axis"] % codes.ndim)
    else:
        params = grid(given)
    keep_codes(real, QTensor(codes.astype(params.dtype), params))


def keep_codes(constant: torch.Tensor, codes: QTensor) -> None:
    """Let a constant remember the codes that it stands for."""
    setattr(constant, _CODES, codes)


def codes_of(constant: torch.Tensor) -> QTensor | None:
    """The codes that a constant was dequantized from, None where it was not."""
    return getattr(constant, _CODES, None)
