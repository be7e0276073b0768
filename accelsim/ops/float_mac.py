"""Convolutions and products whose real operands are summed in float32, as a float operator between quantizers does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.base import Computed, Op
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.broadcasting import aligned
from accelsim.ops.mac import Conv2d, Linear
from accelsim.requant import Requantizer


@dataclass(frozen=True, eq=False, kw_only=True)
class _FloatSums(Op):
    """Codes of sums in float32, in the runtime's order (E60).

    The integer accumulators are what the hardware would compute: where one overflows, its code is the output. Elsewhere
    the two differ only where the exact result is within the float sum's rounding error of a tie.
    x_scale: of the input; scale: of the output.
    """

    x_scale: float
    scale: float

    requantizer: Requantizer

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        accumulators, events = self.accumulate(inputs, kernels, array)  # type: ignore[attr-defined]
        return Computed(self.codes(inputs, accumulators, events, kernels), events)

    def codes(
        self, inputs: Sequence[np.ndarray], accumulators: np.ndarray, events: np.ndarray, kernels: Any
    ) -> np.ndarray:
        """Of the float32 sums, whoever else has use for the accumulators."""
        codes = self._sums(inputs, kernels)
        if events.any():
            codes = np.where(events, self.rescale(accumulators, kernels), codes)  # type: ignore[attr-defined]
        return codes

    def _sums(self, inputs: Sequence[np.ndarray], kernels: Any) -> np.ndarray:
        raise NotImplementedError

    def step(self, *_: Any) -> None:
        """Two sums: there is no prepared step."""
        return None

    def _output(self) -> dict[str, Any]:
        how = self.requantizer
        return {"scale": self.scale, "zero_point": how.zero_point, "qmin": how.qmin, "qmax": how.qmax}


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatConv2d(_FloatSums, Conv2d):
    """Convolution summed in float32; fields as Conv2d's. real_bias: float32, one per output channel."""

    kind = "float_conv2d"

    real_bias: np.ndarray | None

    def _sums(self, inputs: Sequence[np.ndarray], kernels: Any) -> np.ndarray:
        params = self.weight_params
        geometry = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}
        return kernels.float_conv2d(
            inputs[0], self.weight, x_scale=self.x_scale, w_scale=params.scale, bias=self.real_bias, **geometry,
            x_zero_point=self.x_zero_point, w_zero_point=params.zero_point, **self._output(),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatLinear(_FloatSums, Linear):
    """Fully connected layer summed in float32; fields as Linear's.

    real_bias: float32, where the sums start. turned: the file holds the weights as (K, C). at_once: samples that the
    file computes at once, on which the order of the sum depends; None: as many as are given.
    """

    kind = "float_linear"

    real_bias: np.ndarray | None
    turned: bool
    at_once: int | None

    def _sums(self, inputs: Sequence[np.ndarray], kernels: Any) -> np.ndarray:
        (x,), params = inputs, self.weight_params
        size = min(self.at_once or len(x), len(x))
        weight = np.ascontiguousarray(self.weight.T)
        parts = [
            kernels.float_matmul(
                part.reshape(-1, x.shape[-1]), weight, a_scale=self.x_scale, b_scale=params.scale, bias=self.real_bias,
                b_turned=self.turned, a_zero_point=self.x_zero_point, b_zero_point=params.zero_point, **self._output(),
            )
            for part in (x[start : start + size] for start in range(0, len(x), size))
        ]  # fmt: skip
        return np.concatenate(parts).reshape(*x.shape[:-1], len(self.weight))


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatBatchMatMul(_FloatSums, BatchMatMul):
    """Product of two activations summed in float32; fields as BatchMatMul's. b_scale: of the second operand."""

    kind = "float_batch_matmul"

    b_scale: float

    def _sums(self, inputs: Sequence[np.ndarray], kernels: Any) -> np.ndarray:
        a, b = aligned([np.swapaxes(x, -1, -2) if turn else x
                        for x, turn in zip(inputs, (self.transpose_a, self.transpose_b), strict=True)])  # fmt: skip
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
        fields = {"a_scale": self.x_scale, "b_scale": self.b_scale, "a_zero_point": self.a_zero_point,
                  "b_zero_point": self.b_zero_point, **self._output()}  # fmt: skip
        parts = [kernels.float_matmul(a[i], b[i], **fields) for i in np.ndindex(*lead)]
        return np.stack(parts).reshape(*lead, *parts[0].shape)
