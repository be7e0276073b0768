"""A shape with operands: what each contender computes, and the answer that all must give."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from accelsim.bench.shapes import Conv, Matmul

#: scales of the convolutions' tensors; their quotient is what accumulators are multiplied by
X_SCALE, Y_SCALE = 0.05, 0.7
X_ZERO_POINT, Y_ZERO_POINT = 3, 5


@dataclass(frozen=True)
class MatmulProblem:
    """a: (m, k) int8 or uint8; b: (k, n) int8."""

    shape: Matmul
    a_dtype: str
    b_bits: int = 8

    @property
    def name(self) -> str:
        return f"{self.shape.name} {self.a_dtype}·int8"

    @property
    def macs(self) -> int:
        return self.shape.macs

    @cached_property
    def a(self) -> np.ndarray:
        return _random(self.shape.m, (self.shape.m, self.shape.k), self.a_dtype)

    @cached_property
    def b(self) -> np.ndarray:
        return _random(self.shape.n, (self.shape.k, self.shape.n), "int8", self.b_bits)

    @cached_property
    def packed(self) -> Any:
        from accelsim_kernels import pack

        return pack(self.b)

    def ours(self) -> np.ndarray:
        from accelsim_kernels import matmul

        return matmul(self.a, self.packed)


@dataclass(frozen=True)
class ConvProblem:
    """x: uint8, w: int8 per output channel, y: uint8; float32 requantization as ONNX Runtime does it."""

    shape: Conv
    w_bits: int = 8

    @property
    def name(self) -> str:
        return self.shape.name

    @property
    def macs(self) -> int:
        return self.shape.macs

    @cached_property
    def x(self) -> np.ndarray:
        return _random(1, (1, self.shape.size, self.shape.size, self.shape.channels), "uint8")

    @cached_property
    def w(self) -> np.ndarray:
        s = self.shape
        return _random(2, (s.outputs, s.taps, s.taps, s.channels // s.groups), "int8", self.w_bits)

    @cached_property
    def bias(self) -> np.ndarray:
        return np.random.default_rng(3).integers(-5000, 5000, self.shape.outputs).astype(np.int32)

    @cached_property
    def w_scales(self) -> np.ndarray:
        """float32 (K,): of a size at which results fill the range of uint8."""
        depth = self.w[0].size
        middle = 40.0 * Y_SCALE / (X_SCALE * 73.0 * 73.0 * np.sqrt(depth) * 2.0 ** (self.w_bits - 8))
        return (middle * np.random.default_rng(4).uniform(0.7, 1.3, self.shape.outputs)).astype(np.float32)

    @cached_property
    def multipliers(self) -> np.ndarray:
        """float32(float32(x_scale * w_scale) / y_scale), in that order."""
        return np.asarray(np.float32(X_SCALE) * self.w_scales / np.float32(Y_SCALE), np.float32)

    @property
    def padding(self) -> int:
        return self.shape.taps // 2

    @cached_property
    def packed(self) -> Any:
        from accelsim_kernels import pack_conv2d

        return pack_conv2d(self.w, groups=self.shape.groups)

    @cached_property
    def keywords(self) -> dict[str, Any]:
        pad, stride = (self.padding, self.padding), (self.shape.stride, self.shape.stride)
        return {
            "stride": stride,
            "padding": (pad, pad),
            "groups": self.shape.groups,
            "x_zero_point": X_ZERO_POINT,
            "bias": self.bias,
            "requantize": {
                "scheme": "onnx-float",
                "scale": self.multipliers,
                "zero_point": Y_ZERO_POINT,
                "qmin": 0,
                "qmax": 255,
            },
        }

    def ours(self) -> np.ndarray:
        from accelsim_kernels import conv2d

        return conv2d(self.x, self.packed, **self.keywords)


def _random(seed: int, shape: tuple[int, ...], dtype: str, bits: int = 8) -> np.ndarray:
    half = 1 << (bits - 1)
    low = 0 if dtype == "uint8" else -half
    return np.random.default_rng(seed).integers(low, low + 2 * half, shape).astype(dtype)
