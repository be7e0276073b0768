"""What every operator of the integer graph is: named tensors in, one named tensor out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.ops.fields import check_fields
from accelsim.quant import AccumulatorParams, QuantParams
from accelsim.shapes import Nest

if TYPE_CHECKING:
    from accelsim_kernels.step import Step

Pair = tuple[int, int]
MAX_ELEMENTS = 1 << 40  # of one tensor of one sample


@dataclass(frozen=True)
class TensorInfo:
    """Shape without the batch (NHWC where spatial) and the grid of the codes."""

    shape: tuple[int, ...]
    params: QuantParams | AccumulatorParams

    def __post_init__(self) -> None:
        check_fields(self, "a tensor")
        if any(n < 1 for n in self.shape) or self.elements > MAX_ELEMENTS:
            raise AccelsimError(f"a tensor of shape {self.shape} has no elements or absurdly many")

    @property
    def elements(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        return self.params.bits

    @property
    def grid(self) -> QuantParams:
        """The grid of codes; AccelsimError for accumulators, which no operator of codes reads."""
        if not isinstance(self.params, QuantParams):
            raise AccelsimError("a tensor of accumulators stands where codes are read")
        return self.params


@dataclass(frozen=True)
class Computed:
    """What an operator computed: codes, and for MAC operators where the accumulator overflowed.

    events: bool array of the output's shape; None for operators without an accumulator.
    """

    values: np.ndarray
    events: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Op:
    """An operator in SSA form: it reads `inputs` and defines `output`.

    Subclasses are frozen dataclasses; their fields (arrays, numbers, QuantParams, Requantizer) are the
    whole meaning of the operator and are what a saved graph holds.
    """

    name: str
    inputs: tuple[str, ...]
    output: str

    kind: ClassVar[str]
    arity: ClassVar[int | None] = 1  # None: any number of inputs
    accumulates: ClassVar[bool] = False  # sums products in an accumulator: has accumulate() and rescale(), a LoopNest

    def __post_init__(self) -> None:
        check_fields(self, f"layer {self.name!r} ({self.kind})")

    def run(self, inputs: Sequence[np.ndarray], kernels: Any, array: Mapping[str, Any]) -> Computed:
        """Codes in, codes out; batch first.

        kernels: `accelsim_kernels` or `accelsim_kernels.reference`. array: the accumulator keywords of
        `kernels.matmul` and `kernels.conv2d` (`AccumulatorSpec.kernel_kwargs()`); only MAC operators read it.
        """
        raise NotImplementedError

    def step(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype], array: Mapping[str, Any], workers: int
    ) -> Step | None:
        """`run` of the fast kernels as one prepared step on C-contiguous arrays of these shapes (batch included).

        None where there is none, or where an accumulator might overflow: then `run` is called. workers: threads that
        the step is cut for. Raises what `run` raises.
        """
        return None

    def loop_nest(self, tensors: Mapping[str, TensorInfo], batch: int) -> Nest:
        """What the operator asks of the hardware for `batch` samples; None where it costs nothing."""
        raise NotImplementedError

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Output shape (without the batch) from the input shapes; raises AccelsimError where they do not fit."""
        raise NotImplementedError

    def refuse(self, problem: str) -> AccelsimError:
        return AccelsimError(f"layer {self.name!r} ({self.kind}): {problem}")


def window_outputs(size: int, kernel: int, stride: int, padding: Pair, dilation: int = 1) -> int:
    """Output extent of a sliding window, by floor; 0 where the geometry makes no sense."""
    if min(kernel, stride, dilation) < 1 or min(padding) < 0:
        return 0
    return (size + padding[0] + padding[1] - dilation * (kernel - 1) - 1) // stride + 1
