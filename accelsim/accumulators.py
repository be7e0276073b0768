"""How sums of products are accumulated: width, order and overflow of each level."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from accelsim.errors import AccelsimError
from accelsim.specfile import SpecModel


class AccumulatorLevel(SpecModel):
    """One accumulator: it takes `span` products (None: all that are left), then is added to the next level."""

    bits: int = Field(ge=8, le=64)
    overflow: Literal["wrap", "saturate", "raise"] = "wrap"
    span: int | None = Field(default=None, ge=1)


class AccumulatorSpec(SpecModel):
    """How one output is accumulated. In YAML `bits` and `overflow` alone stand for a single level.

    levels: innermost first; the last has no span. order: "serial", "tree:n" (n products are summed exactly,
    then added once) or "mapping" (the spans of the schedule that is priced).
    """

    levels: tuple[AccumulatorLevel, ...] = (AccumulatorLevel(bits=32),)
    order: Annotated[str, Field(pattern=r"^(serial|mapping|tree:[1-9][0-9]*)$")] = "serial"
    bias: Literal["preload", "after"] = "preload"
    zero_point: Literal["operand", "folded"] = "operand"

    @model_validator(mode="before")
    @classmethod
    def _single_level(cls, data: Any) -> Any:
        if isinstance(data, dict) and ("bits" in data or "overflow" in data):
            if "levels" in data:
                raise ValueError("give either levels or bits and overflow, not both")
            rest = {k: v for k, v in data.items() if k not in ("bits", "overflow")}
            level = {"bits": data.get("bits", 32), "overflow": data.get("overflow", "wrap")}
            return {**rest, "levels": [level]}
        return data

    @model_validator(mode="after")
    def _spans(self) -> Self:
        if not self.levels:
            raise ValueError("levels: at least one accumulator is needed")
        if self.levels[-1].span is not None:
            raise ValueError("levels: the last (outermost) level takes all products: leave its span out")
        spans = [level.span for level in self.levels[:-1] if level.span is not None]
        # with order "mapping" the schedule sets the spans
        if self.order != "mapping" and len(spans) < len(self.levels) - 1:
            raise ValueError("levels: every level but the last needs a span (products per visit)")
        if any(outer % inner for inner, outer in pairwise(spans)):
            raise ValueError("levels: each span must be a multiple of the one inside it")
        if any(o.bits < i.bits for i, o in pairwise(self.levels)):
            raise ValueError("levels: an outer accumulator must be at least as wide as the inner one")
        return self

    @property
    def bits(self) -> int:
        """Width of the outermost accumulator: what a partial sum in a buffer takes."""
        return self.levels[-1].bits

    @property
    def inner_bits(self) -> int:
        """Width of the accumulator beside the multiplier."""
        return self.levels[0].bits

    @property
    def overflow(self) -> str:
        return self.levels[-1].overflow

    @property
    def tree_inputs(self) -> int:
        """Products that are summed before one accumulation (1: serial)."""
        return int(self.order.split(":")[1]) if self.order.startswith("tree:") else 1

    def kernel_kwargs(self) -> dict[str, Any]:
        """Keywords for the kernels' matmul and conv2d: order, bias_at, zero_point_at, levels.

        Raises AccelsimError for order "mapping": its spans come from a schedule, not from the spec alone.
        """
        if self.order == "mapping":
            raise AccelsimError("accumulators.order is 'mapping': ask the priced schedule for its spans")
        return {
            "order": self.order,
            "bias_at": self.bias,
            "zero_point_at": self.zero_point,
            "levels": [(level.bits, level.overflow, level.span) for level in self.levels],
        }
