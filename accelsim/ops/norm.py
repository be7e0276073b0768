"""Layer norm and RMS norm over the last axis, in integers (N1 to N5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from accelsim.ops.base import Computed, Op, TensorInfo
from accelsim.ops.shape import elementwise_nest
from accelsim.quant import QuantParams
from accelsim.requant import Requantizer
from accelsim.shapes import ElementwiseNest

_ROOT_STEPS = 31  # bits of the integer root, one a step
_DIVISION_STEPS = 31  # bits of its reciprocal


@dataclass(frozen=True, eq=False)
class LayerNorm(Op):
    """requantize((x - mean) / sqrt(variance + epsilon) * gamma + beta) along the last axis.

    gamma: codes (C,) of gamma_params (symmetric). beta: integers (C,) at the scale of gamma times 2^-fraction_bits.
    epsilon: C² ε / s_x² as an integer. fraction_bits: of the normalized values. The sums of codes and of their squares
    are exact: they are the vector unit's, not the array's, and take no part in its accumulators' overflow.
    """

    kind = "layer_norm"
    _per_output: ClassVar[int] = 10  # sum, square, its sum; C q, - S; times 1/√W, shift; times gamma, + beta; rescale

    gamma: np.ndarray
    gamma_params: QuantParams
    beta: np.ndarray
    epsilon: int
    fraction_bits: int
    requantizer: Requantizer

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given in (("gamma", self.gamma), ("beta", self.beta)):
            if given.dtype.kind not in "iu" or given.shape != self.gamma.shape or given.ndim != 1:
                raise self.refuse(f"{name} must be integers, one for each place, not {given.dtype} {given.shape}")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        return Computed(getattr(kernels, self.kind)(inputs[0], self.gamma, **self._keywords()))

    def _keywords(self) -> dict[str, Any]:
        return {
            "beta": self.beta,
            "epsilon": self.epsilon,
            "fraction_bits": self.fraction_bits,
            "requantize": self.requantizer.kwargs(),
        }

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if not shapes[0] or shapes[0][-1] != len(self.gamma):
            raise self.refuse(f"{len(self.gamma)} places along the last axis of {shapes[0]}")
        return shapes[0]

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> ElementwiseNest:
        count = len(self.gamma)
        nest = elementwise_nest(
            self, tensors, batch, operations_per_output=self._per_output + (_ROOT_STEPS + _DIVISION_STEPS) / count
        )
        parameters = ((count, self.gamma_params.bits), (count, 8 * self.beta.dtype.itemsize))
        return replace(nest, inputs=(*nest.inputs, *parameters))


@dataclass(frozen=True, eq=False)
class RmsNorm(LayerNorm):
    """requantize((x - x_zero_point) / sqrt(mean square + epsilon) * gamma + beta); fields as LayerNorm's."""

    kind = "rms_norm"
    _per_output: ClassVar[int] = 8  # nothing is centred

    x_zero_point: int = 0

    def _keywords(self) -> dict[str, Any]:
        return {**super()._keywords(), "x_zero_point": self.x_zero_point}
