"""What a layer asks of an accelerator, in integers only: loop nests of MAC layers and sizes of the others."""

from __future__ import annotations

from dataclasses import dataclass

from accelsim.errors import AccelsimError

Pair = tuple[int, int]


def _positive(nest: object, *names: str) -> None:
    for name in names:
        value = getattr(nest, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise AccelsimError(f"{type(nest).__name__}.{name} must be a positive integer, not {value!r}")


def _bits(nest: object, *names: str) -> None:
    for name in names:
        value = getattr(nest, name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 64:
            raise AccelsimError(f"{type(nest).__name__}.{name} must be 1 to 64 bits, not {value!r}")


def input_extent(out: int, filt: int, stride: int, dilation: int) -> int:
    """Input rows (or columns) that `out` consecutive outputs span: (out - 1)·stride + (filt - 1)·dilation +
    1.
    """
    return (out - 1) * stride + (filt - 1) * dilation + 1


@dataclass(frozen=True)
class LoopNest:
    """One MAC layer: the field's loop names b k c oy ox fy fx, and the widths of its operands.

    b: batch; k and c: all output and input channels (k//groups and c//groups in each group); oy, ox: output
    rows and columns; fy, fx: filter rows and columns. A linear layer is b × k × c with everything else 1. iy,
    ix: input rows and columns without padding; 0: exactly what the outputs span. bias_bits: 0 where there
    is no bias. asymmetric_weights: weights have a zero point, so the sum of each input row (a term that
    depends on data) is computed too. requantized: False where raw accumulators leave the layer. partial_rescales:
    partial sums of each output that are rescaled inside its sum (weights with a scale for each group of inputs).
    """

    b: int
    k: int
    c: int
    oy: int = 1
    ox: int = 1
    fy: int = 1
    fx: int = 1
    groups: int = 1
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    weight_bits: int = 8
    activation_bits: int = 8
    output_bits: int = 8
    bias_bits: int = 32
    iy: int = 0
    ix: int = 0
    asymmetric_weights: bool = False
    requantized: bool = True
    partial_rescales: int = 0

    def __post_init__(self) -> None:
        _positive(self, "b", "k", "c", "oy", "ox", "fy", "fx", "groups")
        _bits(self, "weight_bits", "activation_bits", "output_bits")
        if not 0 <= self.bias_bits <= 64:
            raise AccelsimError(f"LoopNest.bias_bits must be 0 (no bias) to 64, not {self.bias_bits!r}")
        if self.k % self.groups or self.c % self.groups:
            raise AccelsimError(f"LoopNest: groups={self.groups} does not divide k={self.k} and c={self.c}")
        for axis, name in enumerate(("iy", "ix")):
            spanned = input_extent(
                (self.oy, self.ox)[axis], (self.fy, self.fx)[axis], self.stride[axis], self.dilation[axis]
            )
            if getattr(self, name) == 0:
                object.__setattr__(self, name, max(1, spanned - sum(self.padding[axis])))
            elif spanned > getattr(self, name) + sum(self.padding[axis]):
                raise AccelsimError(
                    f"LoopNest: the outputs span {spanned} padded positions but {name}="
                    f"{getattr(self, name)} with padding {self.padding[axis]} has fewer"
                )
        _positive(self, "iy", "ix")

    @property
    def m(self) -> int:
        """Rows of the GEMM view: output pixels times batch."""
        return self.b * self.oy * self.ox

    @property
    def n(self) -> int:
        """Columns of the GEMM view of one group: filters."""
        return self.k // self.groups

    @property
    def reduction(self) -> int:
        """Length of one output's sum (K of the GEMM view of one group): fy·fx·c/groups."""
        return self.fy * self.fx * (self.c // self.groups)

    @property
    def gemm(self) -> tuple[int, int, int]:
        """(M, K, N) of each of the `groups` matrix products M×K · K×N."""
        return self.m, self.reduction, self.n

    @property
    def macs(self) -> int:
        return self.m * self.reduction * self.k

    @property
    def weight_count(self) -> int:
        return self.k * self.reduction

    @property
    def input_count(self) -> int:
        """Elements of the whole input tensor, without padding."""
        return self.b * self.c * self.iy * self.ix

    @property
    def output_count(self) -> int:
        return self.m * self.k


@dataclass(frozen=True)
class ElementwiseNest:
    """One layer without MACs (add, pool, look-up, concat, pad …), as the vector unit sees it.

    inputs: (elements, bits) of each input tensor; operations_per_output: vector-unit operations (add,
    multiply, compare, shift or look-up) behind each output element, 0 for pure movement; operation_bits:
    their width. A layer that neither computes nor moves (reshape) has no nest: pass None.
    """

    kind: str
    inputs: tuple[tuple[int, int], ...]
    output_elements: int
    output_bits: int
    operations_per_output: float = 1.0
    operation_bits: int = 32

    def __post_init__(self) -> None:
        _positive(self, "output_elements")
        _bits(self, "output_bits", "operation_bits")
        for elements, bits in self.inputs:
            if elements < 1 or not 1 <= bits <= 64:
                raise AccelsimError(f"ElementwiseNest {self.kind!r}: an input of {elements} elements × {bits} bits")
        if self.operations_per_output < 0:
            raise AccelsimError(f"ElementwiseNest {self.kind!r}: negative operations_per_output")

    @property
    def operations(self) -> float:
        return self.output_elements * self.operations_per_output


Nest = LoopNest | ElementwiseNest | None
