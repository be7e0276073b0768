"""Operators whose last elements are rescaled by another scheme than the rest.

Kernels that work on blocks of a vector register finish what does not fill a block in scalar code, and the two do not
always round alike: LiteRT's on x86 round ties of the second shift up in vectors and away from zero in scalars.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.ops.arithmetic import Requantize
from accelsim.ops.base import Computed
from accelsim.ops.mac import Conv2d, MacOp
from accelsim.ops.pool import Mean
from accelsim.ops.transpose_conv import TransposeConv2d
from accelsim.requant import Requantizer


@dataclass(frozen=True, eq=False)
class _TailedMac(MacOp):
    """tail: the requantizer of the output channels from block * (channels // block) on."""

    tail: Requantizer
    block: int

    def __post_init__(self) -> None:
        super().__post_init__()
        rest = len(self.weight) % self.block if self.block > 0 else 0
        if not 0 < rest < len(self.weight) or self.requantizer is None:
            raise self.refuse(f"blocks of {self.block} leave no tail of {len(self.weight)} channels")
        if (self.tail.channels or 1) not in (1, rest):
            raise self.refuse(f"the tail has {rest} channels, its requantizer {self.tail.channels}")

    def rescale(self, accumulators: np.ndarray, kernels: Any) -> np.ndarray:
        codes = super().rescale(accumulators, kernels)
        rest = len(self.weight) % self.block
        codes[..., -rest:] = kernels.requantize(np.ascontiguousarray(accumulators[..., -rest:]), **self.tail.kwargs())
        return codes

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        accumulators, events = self.accumulate(inputs, kernels, array)
        return Computed(self.rescale(accumulators, kernels), events)

    def step(self, *_: Any) -> None:
        """Accumulators are needed: there is no prepared step."""
        return None


def requantizer_of(op: MacOp, channel: int) -> tuple[Requantizer | None, int]:
    """What rescales an output channel, and the channel's place in it."""
    if not isinstance(op, _TailedMac):
        return op.requantizer, channel
    first = len(op.weight) - len(op.weight) % op.block
    return (op.requantizer, channel) if channel < first else (op.tail, channel - first)


@dataclass(frozen=True, eq=False, kw_only=True)
class TailedConv2d(Conv2d, _TailedMac):
    """Convolution whose last output channels have a requantizer of their own; fields as Conv2d's, tail, block."""

    kind = "conv2d_tailed"


@dataclass(frozen=True, eq=False, kw_only=True)
class TailedTransposeConv2d(TransposeConv2d, _TailedMac):
    """Transpose convolution whose last output channels have a requantizer of their own."""

    kind = "transpose_conv2d_tailed"


@dataclass(frozen=True, eq=False)
class TailedRequantize(Requantize):
    """A change of grid; the last elements % block codes of each sample go through `tail`."""

    kind = "requantize_tailed"

    tail: Requantizer
    block: int

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        codes = super().run(inputs, kernels, array).values
        rest = inputs[0][0].size % self.block
        if rest:
            last = np.ascontiguousarray(inputs[0].reshape(len(codes), -1)[:, -rest:])
            keywords = self.tail.kwargs()
            codes = np.array(codes)
            codes.reshape(len(codes), -1)[:, -rest:] = kernels.rescale(
                last, x_zero_point=self.x_zero_point, requantize=keywords
            )
        return Computed(codes)


@dataclass(frozen=True, eq=False, kw_only=True)
class TailedMean(Mean):
    """A mean; the last channels % block channels are rescaled by `tail`."""

    kind = "mean_tailed"

    tail: Requantizer
    block: int

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        codes = super().run(inputs, kernels, array).values
        rest = inputs[0].shape[-1] % self.block
        if rest:
            fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(Mean)}
            by_tail = Mean(**{**fields, "requantizer": self.tail})
            last = by_tail.run([np.ascontiguousarray(inputs[0][..., -rest:])], kernels, array).values
            codes = np.concatenate([codes[..., :-rest], last], axis=-1)
        return Computed(codes)

    def step(self, *_: Any) -> None:
        """Two requantizers: there is no prepared step."""
        return None
