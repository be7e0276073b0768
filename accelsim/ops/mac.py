"""Convolution and fully connected layers: accumulate exactly, then requantize (two floors, two methods)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.ops.base import Computed, Op, Pair, TensorInfo, window_outputs
from accelsim.quant import QTensor, QuantParams
from accelsim.requant import Requantizer
from accelsim.shapes import LoopNest

if TYPE_CHECKING:
    from accelsim_kernels.step import Step


@dataclass(frozen=True, eq=False)
class MacOp(Op):
    """acc = bias + sum((x - z_x) * (w - z_w)); output = requantize(acc).

    weight: integer codes. weight_params: their grid. x_zero_point: of the input.
    bias: integers at scale s_x * s_w, or None. requantizer: None where the accumulators themselves leave.
    """

    accumulates = True

    weight: np.ndarray
    weight_params: QuantParams
    x_zero_point: int
    bias: np.ndarray | None
    requantizer: Requantizer | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.size == 0:
            raise self.refuse(f"the weight of shape {self.weight.shape} has no elements")
        try:
            QTensor(self.weight, self.weight_params)
        except AccelsimError as error:
            raise self.refuse(f"weight: {error}") from None
        channels = len(self.weight)
        if self.bias is not None and (self.bias.dtype.kind not in "iu" or self.bias.shape != (channels,)):
            raise self.refuse(f"the bias must be {channels} integers, not {self.bias.dtype} {self.bias.shape}")
        for name, count in (
            ("weight scales", np.size(self.weight_params.scale)),
            ("requantizer channels", (self.requantizer and self.requantizer.channels) or 1),
        ):
            if count not in (1, channels):
                raise self.refuse(f"{count} {name} for {channels} output channels")

    def accumulate(
        self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(accumulators, event mask): the first floor alone."""
        return self._compute(inputs[0], kernels, **array)

    def rescale(self, accumulators: np.ndarray, kernels: Any) -> np.ndarray:
        """Codes of accumulators: the second floor alone."""
        if self.requantizer is None:
            return accumulators
        return kernels.requantize(accumulators, **self.requantizer.kwargs())

    def codes(
        self, inputs: Sequence[np.ndarray], accumulators: np.ndarray, events: np.ndarray, kernels: Any
    ) -> np.ndarray:
        """What run() gives, where accumulate()'s results are at hand already."""
        return self.rescale(accumulators, kernels)

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        fused = None if self.requantizer is None else self.requantizer.kwargs()
        return Computed(*self._compute(inputs[0], kernels, requantize=fused, **array))

    def step(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype], array: Mapping[str, Any], workers: int
    ) -> Step | None:
        import accelsim_kernels.steps

        fused = None if self.requantizer is None else self.requantizer.kwargs()
        return self._step(shapes[0], dtypes[0], accelsim_kernels, workers, requantize=fused, **array)

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> LoopNest:
        raise NotImplementedError

    def _compute(self, x: np.ndarray, kernels: Any, **keywords: Any) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _step(
        self, shape: tuple[int, ...], dtype: np.dtype, kernels: Any, workers: int, **keywords: Any
    ) -> Step | None:
        return None

    def _packed(self, kernels: Any, pack: Any) -> Any:
        """Weights in the kernels' own order, packed once for each backend."""
        cache = self.__dict__.setdefault("_pack_cache", {})
        key = kernels.__name__
        if key not in cache:
            cache[key] = pack()
        return cache[key]

    def _widths(self, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
        return {
            "weight_bits": self.weight_params.bits,
            "activation_bits": tensors[self.inputs[0]].bits,
            "output_bits": tensors[self.output].bits,
            "bias_bits": 0 if self.bias is None else 8 * self.bias.dtype.itemsize,
            "asymmetric_weights": not self.weight_params.symmetric,
            "requantized": self.requantizer is not None,
        }


@dataclass(frozen=True, eq=False)
class Conv2d(MacOp):
    """2-D convolution, NHWC; weight (K, fy, fx, C/groups); grouped and depthwise as they are."""

    kind = "conv2d"

    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    def _compute(self, x: np.ndarray, kernels: Any, **keywords: Any) -> tuple[np.ndarray, np.ndarray]:
        return kernels.conv2d(x, self._weight(kernels), return_events=True, **self._keywords(), **keywords)

    def _step(
        self, shape: tuple[int, ...], dtype: np.dtype, kernels: Any, workers: int, **keywords: Any
    ) -> Step | None:
        return kernels.steps.conv2d(shape, dtype, self._weight(kernels), workers, **self._keywords(), **keywords)

    def _weight(self, kernels: Any) -> Any:
        return self._packed(kernels, lambda: kernels.pack_conv2d(self.weight, groups=self.groups))

    def _keywords(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "x_zero_point": self.x_zero_point,
            "w_zero_point": self.weight_params.zero_point,
            "bias": self.bias,
        }

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if self.weight.ndim != 4 or self.groups < 1 or len(self.weight) % self.groups:
            raise self.refuse(f"a weight of shape {self.weight.shape} in {self.groups} groups: (K, fy, fx, C/groups)")
        k, fy, fx, c = self.weight.shape
        if len(shape) != 3:
            raise self.refuse(f"the input must be (H, W, C), not {shape}")
        if shape[2] != c * self.groups:
            raise self.refuse(f"the input has {shape[2]} channels, the weight {c} × {self.groups} groups")
        rows = window_outputs(shape[0], fy, self.stride[0], self.padding[0], self.dilation[0])
        cols = window_outputs(shape[1], fx, self.stride[1], self.padding[1], self.dilation[1])
        if rows < 1 or cols < 1:
            raise self.refuse(f"a {fy}×{fx} filter does not fit an input of {shape[0]}×{shape[1]}")
        return rows, cols, k

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> LoopNest:
        rows, cols, k = tensors[self.output].shape
        iy, ix, c = tensors[self.inputs[0]].shape
        return LoopNest(
            b=batch,
            k=k,
            c=c,
            oy=rows,
            ox=cols,
            fy=self.weight.shape[1],
            fx=self.weight.shape[2],
            groups=self.groups,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
            iy=iy,
            ix=ix,
            **self._widths(tensors),
        )


@dataclass(frozen=True, eq=False)
class Linear(MacOp):
    """Fully connected layer over the last axis; weight (K, C), as torch stores it."""

    kind = "linear"

    def _compute(self, x: np.ndarray, kernels: Any, **keywords: Any) -> tuple[np.ndarray, np.ndarray]:
        values, events = kernels.matmul(
            x.reshape(-1, x.shape[-1]), self._weight(kernels), return_events=True, **self._keywords(), **keywords
        )
        shape = (*x.shape[:-1], self.weight.shape[0])
        return values.reshape(shape), events.reshape(shape)

    def _step(
        self, shape: tuple[int, ...], dtype: np.dtype, kernels: Any, workers: int, **keywords: Any
    ) -> Step | None:
        rows = math.prod(shape[:-1]), shape[-1]
        return kernels.steps.matmul(rows, dtype, self._weight(kernels), workers, **self._keywords(), **keywords)

    def _weight(self, kernels: Any) -> Any:
        return self._packed(kernels, lambda: kernels.pack(np.ascontiguousarray(self.weight.T)))

    def _keywords(self) -> dict[str, Any]:
        return {
            "a_zero_point": self.x_zero_point,
            "b_zero_point": self.weight_params.zero_point,
            "bias": self.bias,
        }

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        (shape,) = shapes
        if self.weight.ndim != 2 or not shape or shape[-1] != self.weight.shape[1]:
            raise self.refuse(f"the input ends in {shape[-1:]} features, the weight has shape {self.weight.shape}")
        return (*shape[:-1], self.weight.shape[0])

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> LoopNest:
        shape = tensors[self.output].shape
        return LoopNest(
            b=batch * int(np.prod(shape[:-1], dtype=np.int64)),
            k=shape[-1],
            c=self.weight.shape[1],
            **self._widths(tensors),
        )
