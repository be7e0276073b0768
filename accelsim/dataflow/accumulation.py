"""How a layer's sums are walked on a given array: the accumulator keywords of the kernels."""

from __future__ import annotations

from typing import Any

from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec
from accelsim.shapes import LoopNest


def fold_span(nest: LoopNest, spec: AcceleratorSpec) -> int | None:
    """Products of one output that a fold adds up inside the array; None where a fold takes the whole sum.

    Weight and input stationary arrays hold K along their rows, output stationary ones walk K in time.
    """
    if spec.array.dataflow in ("weight_stationary", "input_stationary"):
        return spec.array.rows if nest.reduction > spec.array.rows else None
    if spec.array.dataflow == "row_stationary":
        return nest.fx if nest.reduction > nest.fx else None
    return None


def accumulation_order(nest: LoopNest, spec: AcceleratorSpec) -> dict[str, Any]:
    """Keywords order, bias_at, zero_point_at and levels for `matmul` and `conv2d` of accelsim_kernels.

    order "mapping": the inner accumulator takes the products of one fold, the outer one (the partial sums)
    takes the folds. Raises AccelsimError where a saturating order contradicts the schedule: saturation does not
    commute with addition, so such numbers would belong to another machine.
    """
    accumulators = spec.array.accumulators
    span = fold_span(nest, spec)
    saturating = any(level.overflow == "saturate" for level in accumulators.levels)
    if accumulators.order != "mapping":
        if saturating and span is not None:
            _check_cuts(spec, span)
        return accumulators.kernel_kwargs()
    inner, outer = accumulators.levels[0], accumulators.levels[-1]
    if len(accumulators.levels) > 2:
        raise AccelsimError(f"spec {spec.name!r}: order 'mapping' takes one or two accumulator levels")
    if inner.span not in (None, span) and span is not None:
        raise AccelsimError(
            f"spec {spec.name!r}: the inner accumulator's span is {inner.span}, but a fold of this "
            f"{spec.array.dataflow} array adds {span} products; leave the span out or set it to {span}"
        )
    levels: list[tuple[int, str, int | None]] = [(outer.bits, outer.overflow, None)]
    if span is not None:
        levels.insert(0, (inner.bits, inner.overflow, span))
    return {
        "order": "serial",
        "bias_at": accumulators.bias,
        "zero_point_at": accumulators.zero_point,
        "levels": levels,
    }


def _check_cuts(spec: AcceleratorSpec, span: int) -> None:
    """A fold must end where a tree or an inner accumulator's span ends."""
    accumulators = spec.array.accumulators
    steps: dict[str, int | None] = {"tree of the order": accumulators.tree_inputs}
    steps.update({f"span of the {level.bits}-bit accumulator": level.span for level in accumulators.levels[:-1]})
    for what, step in steps.items():
        if step and span % step:
            raise AccelsimError(
                f"spec {spec.name!r}: the {what} adds {step} products, but each fold of this "
                f"{spec.array.dataflow} array ends after {span}: saturation would happen elsewhere than in the "
                f"schedule. Choose a divisor of {span}, or order 'mapping'"
            )
