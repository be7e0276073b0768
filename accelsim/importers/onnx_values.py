"""What is known of a tensor of an .onnx file, and the tables in which its operators are looked up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.importers.lowering import UnsupportedError
from accelsim.importers.onnx_file import FileNode
from accelsim.quant import QuantParams

if TYPE_CHECKING:
    from accelsim.importers.onnx_lowering import Lowering

Shape = tuple[int, ...]
#: order of the axes of an image: as in the file (C, H, W), or as the graph computes (H, W, C)
FILE, NHWC = "nchw", "nhwc"
TO = {NHWC: (1, 2, 0), FILE: (2, 0, 1)}
INTEGER_KERNELS, FLOAT_KERNELS = "onnxruntime", "onnxruntime-float"
BITS = {np.dtype("i1"): (8, True), np.dtype("u1"): (8, False), np.dtype("i2"): (16, True), np.dtype("u2"): (16, False)}


@dataclass(eq=False)
class Codes:
    """Integer codes of an activation. shape: of a sample, in the file's order; places: layout → tensor of the graph."""

    tensor: str
    shape: Shape
    params: QuantParams
    places: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> str:
        """The layout that it is computed in."""
        return next(iter(self.places))


@dataclass(frozen=True, eq=False)
class Index:
    """Codes as whole numbers that choose places, not as real numbers."""

    codes: Codes


@dataclass(frozen=True, eq=False)
class Real:
    """Real numbers that codes stand for. params: the grid by which they are read."""

    codes: Codes
    params: QuantParams


@dataclass(frozen=True, eq=False)
class RealKnown:
    """Real numbers that constant codes stand for; scale (float32) and zero_point: one, or one per index of axis."""

    name: str
    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int
    bits: int
    signed: bool

    def along(self, values: np.ndarray) -> np.ndarray:
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if i == self.axis % self.codes.ndim else 1 for i in range(self.codes.ndim)])

    @property
    def values(self) -> np.ndarray:
        """float32, as DequantizeLinear computes them."""
        centred = self.codes.astype(np.int64) - self.along(self.zero_point)
        return centred.astype(np.float32) * self.along(self.scale)


@dataclass(frozen=True, eq=False)
class Unit:
    """An operator on quantized operands: one node of an integer kernel, or a float node between quantizers.

    operands: Real, RealKnown, a constant array, or None where left out. y: grid of the result, None where it leaves
    as real numbers. lower, upper: activations that are merged into it. integer: the file asks for an integer kernel.
    values: float32, for every code, of a function of one code that several nodes compute, or that is averaged.
    """

    node: FileNode
    kind: str
    operands: tuple[Any, ...]
    output: str
    y: QuantParams | None
    lower: float = -math.inf
    upper: float = math.inf
    integer: bool = False
    values: np.ndarray | None = None

    def activation(self, index: int) -> Real:
        if index < len(self.operands) and isinstance(self.operands[index], Real):
            return self.operands[index]
        raise UnsupportedError(f"operand {index} must be a quantized activation")

    def optional(self, index: int) -> Any:
        return self.operands[index] if index < len(self.operands) else None

    @property
    def grid(self) -> QuantParams:
        if self.y is None:
            raise UnsupportedError(f"its result {self.output!r} is not quantized")
        return self.y

    @property
    def clamp(self) -> dict[str, int]:
        """qmin, qmax: the codes of the merged activation's limits, ties to even."""
        y = self.grid
        codes = [y.qmin, y.qmax]
        for place, limit in enumerate((self.lower, self.upper)):
            if math.isfinite(limit):
                with np.errstate(over="ignore"):
                    real = np.rint(np.float32(limit) / np.float32(y.scale))
                code = int(np.clip(real, -(2.0**31), 2.0**31))
                codes[place] = int(np.clip(code + y.zero_point, y.qmin, y.qmax))
        return {"qmin": codes[0], "qmax": max(codes)}


@dataclass(frozen=True, eq=False)
class Pending:
    """The real result of a float node whose quantizer is still to come.

    moves: nodes of MOVES behind it, in order: what they choose is quantized like what they choose from.
    """

    unit: Unit
    moves: tuple[FileNode, ...] = ()


#: kind of a unit → its lowering; the modules onnx_* fill these
UNITS: dict[str, Callable[[Unit, Lowering], None]] = {}
#: nodes of integer kernels → the unit they are
INTEGER_NODES: dict[str, Callable[[FileNode, Lowering], Unit]] = {}
#: nodes that move codes, or choose among them → their lowering: codes in, codes out
MOVES: dict[str, Callable[[FileNode, Lowering, Codes], Codes]] = {}


def register(table: dict, *kinds: str) -> Callable:
    """Decorator: the function is the entry of a table for these kinds."""

    def put(function: Callable) -> Callable:
        table.update(dict.fromkeys(kinds, function))
        return function

    return put


def file_order(shape: Sequence[int], layout: str) -> Shape:
    """A sample's shape in the file's order of axes."""
    return (shape[2], shape[0], shape[1]) if layout == NHWC and len(shape) == 3 else tuple(shape)


def graph_axis(axis: int, rank: int, layout: str) -> int:
    """An axis of the file's sample (0: the first after the batch) as one of the graph's tensor."""
    return (2, 0, 1)[axis] if layout == NHWC and rank == 3 else axis


def sample_axis(axis: int, codes: Codes, what: str = "axis") -> int:
    """An axis of the file's tensor as one of the sample; UnsupportedError for the batch and outside the rank."""
    rank = len(codes.shape) + 1
    if not -rank <= axis < rank:
        raise UnsupportedError(f"{what} {axis} of a tensor of {rank} axes")
    if axis % rank == 0:
        raise UnsupportedError(f"{what} {axis} is the batch")
    return axis % rank - 1


def refuse_unless(condition: bool, problem: str) -> None:
    """UnsupportedError with the problem unless the condition holds."""
    if not condition:
        raise UnsupportedError(problem)
