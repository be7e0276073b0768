"""The table torch operator → how to capture, run and lower it. `@lowers` adds a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from accelsim.frontend.float_graph import FloatNode, Ref

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering


class Reject(Exception):
    """An operator is known, but not with these arguments; the text says which."""


@dataclass(frozen=True)
class Captured:
    """What `capture` found in the arguments of a torch call; the fields are those of FloatNode.

    operator: another family that the call amounts to with these arguments.
    shape, place: of operators that are `anywhere`: a sample's shape, and where the batch stands in torch's tensor.
    """

    inputs: tuple[Ref, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, torch.Tensor] = field(default_factory=dict)
    clamp: tuple[float | None, float | None] = (None, None)
    operator: Any = None
    shape: tuple[int, ...] | None = None
    place: Any = None


class Operator(Protocol):
    """One torch operator family.

    tied: the output has the grid of its input (codes are moved or selected, not rescaled).
    owns_module: the layer is named by its module path alone (convolution, linear).
    fuses_clamp: an activation behind it costs nothing: it joins the clamp of its requantizer.
    takes_constants: constant operands become nodes of the graph (`constant.Constant`).
    follows: works wherever the batch stands (batch_place.py), as it looks at the last dimension at most.
    anywhere: works wherever the batch stands; capture takes torch's result (a fake tensor) instead of a shape, and
        says where the batch goes.
    word: what its layers are called behind their module's path, where that is not torch's name of the call.
    learns: names of the parameters that training moves; those of a MAC layer are `training/layers.py`'s concern.
    decompose: None, or a function of a captured node that gives the nodes it consists of, the last by its name.
    """

    tied: bool
    owns_module: bool
    fuses_clamp: bool
    takes_constants: bool
    follows: bool
    anywhere: bool
    learns: tuple[str, ...]
    decompose: Callable[[FloatNode], tuple[FloatNode, ...]] | None

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured | Ref:
        """Arguments by schema name → Captured, or the operand that the result is; raises Reject with the reason."""

    @staticmethod
    def execute(node: FloatNode, *tensors: torch.Tensor) -> torch.Tensor:
        """The float computation, without the fused clamp."""

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        """Adds the integer operators of the node to the graph under construction."""


OPERATORS: dict[Any, Operator] = {}

_FLAGS = ("tied", "owns_module", "fuses_clamp", "takes_constants", "follows", "anywhere")


def lowers(*targets: Any) -> Callable[[type], type]:
    """Class decorator: this operator family stands for these torch operators."""

    def register(family: type) -> type:
        for name in _FLAGS:
            if not hasattr(family, name):
                setattr(family, name, False)
        for name, empty in (("decompose", None), ("learns", ())):
            if not hasattr(family, name):
                setattr(family, name, empty)
        for target in targets:
            OPERATORS[target] = family  # type: ignore[assignment]
        return family

    return register


def operator_names() -> list[str]:
    """The supported torch operators, sorted, as they are called in torch."""
    return sorted({str(target) for target in OPERATORS})


def tensor(value: Any, what: str) -> Ref:
    if not isinstance(value, Ref):
        raise Reject(f"{what} must be an activation, not a constant")
    return value


def parameter(value: Any, what: str) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise Reject(f"{what} must be a parameter, not an activation")
    return value.to(torch.float32)


def pair(value: Any) -> tuple[int, int]:
    """(rows, columns) of a kernel, stride, padding or dilation that torch gives as one number or two."""
    values = [value] if isinstance(value, int) else list(value)
    if any(not isinstance(v, int) for v in values):
        raise Reject("its geometry depends on the input's size")
    return (values[0], values[-1])
