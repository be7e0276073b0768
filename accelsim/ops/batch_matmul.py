"""Products of two activations, matrix by matrix: attention and its kin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.broadcasting import aligned, broadcast_shape
from accelsim.requant import Requantizer
from accelsim.shapes import LoopNest


@dataclass(frozen=True, eq=False)
class BatchMatMul(Op):
    """requantize(sum((a - z_a) * (b - z_b))): a (…, M, K) times b (…, K, N), leading axes broadcast (E27).

    transpose_a, transpose_b: the operand is stored as (…, K, M), (…, N, K).
    """

    kind = "batch_matmul"
    arity = 2
    accumulates = True

    a_zero_point: int
    b_zero_point: int
    transpose_a: bool
    transpose_b: bool
    requantizer: Requantizer

    def accumulate(
        self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(accumulators, event mask): the first floor alone."""
        return self._compute(inputs, kernels, **array)

    def rescale(self, accumulators: np.ndarray, kernels: Any) -> np.ndarray:
        """Codes of accumulators: the second floor alone."""
        return kernels.requantize(accumulators, **self.requantizer.kwargs())

    def codes(
        self, inputs: Sequence[np.ndarray], accumulators: np.ndarray, events: np.ndarray, kernels: Any
    ) -> np.ndarray:
        """What run() gives, where accumulate()'s results are at hand already."""
        return self.rescale(accumulators, kernels)

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(*self._compute(inputs, kernels, requantize=self.requantizer.kwargs(), **array))

    def _compute(self, inputs: Sequence[np.ndarray], kernels: Any, **keywords: Any) -> tuple[np.ndarray, np.ndarray]:
        a, b = inputs
        a = np.swapaxes(a, -1, -2) if self.transpose_a else a
        b = np.swapaxes(b, -1, -2) if self.transpose_b else b
        a, b = aligned([a, b])
        zero_points = {"a_zero_point": self.a_zero_point, "b_zero_point": self.b_zero_point}
        return kernels.batch_matmul(a, b, return_events=True, **zero_points, **keywords)

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if min(map(len, shapes)) < 2:
            raise self.refuse(f"operands of shape {shapes[0]} and {shapes[1]} must be matrices")
        (m, k), (inner, n) = self._matrices(shapes)
        if k != inner:
            raise self.refuse(f"operands of shape {shapes[0]} and {shapes[1]} sum over {k} and {inner} terms")
        return (*broadcast_shape(self, [shape[:-2] for shape in shapes]), m, n)

    def _matrices(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        turned = (self.transpose_a, self.transpose_b)
        return [shape[-2:][::-1] if turn else shape[-2:] for shape, turn in zip(shapes, turned, strict=True)]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> LoopNest:
        """Each pair of matrices is a group of its own; the second operand takes the weights' place."""
        output = tensors[self.output]
        (m, k), (_, n) = self._matrices([tensors[name].shape for name in self.inputs])
        pairs = batch * math.prod(output.shape[:-2])
        return LoopNest(
            b=m,
            k=n * pairs,
            c=k * pairs,
            groups=pairs,
            weight_bits=tensors[self.inputs[1]].bits,
            activation_bits=tensors[self.inputs[0]].bits,
            output_bits=output.bits,
            bias_bits=0,
            asymmetric_weights=self.b_zero_point != 0,
        )
