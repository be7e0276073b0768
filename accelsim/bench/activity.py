"""Zeros and toggles of operand streams beside the layer that they belong to, weights packed for both."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.bench.problems import ConvProblem
from accelsim.bench.shapes import Conv

DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")


@dataclass(frozen=True)
class ActivityProblem:
    """The operand streams of some layers in a dataflow's order, against the layers' exact sums."""

    label: str
    shapes: tuple[Conv, ...]
    dataflow: str

    @property
    def name(self) -> str:
        return f"activity, {self.dataflow}, {self.label}"

    @property
    def macs(self) -> int:
        return sum(shape.macs for shape in self.shapes)

    def contenders(self) -> dict[str, Callable[[], Any]]:
        from accelsim_kernels import activity, conv2d

        layers = [_layer(shape) for shape in self.shapes]

        def count() -> Any:
            for x, packed, geometry in layers:
                counts = activity(x, packed, dataflow=self.dataflow, samples=0, **geometry)
            return counts

        def layer() -> np.ndarray:
            for x, packed, geometry in layers:
                y = conv2d(x, packed, **geometry)
            return y

        return {"accelsim": count, "the layer": layer}


@functools.cache
def _layer(shape: Conv) -> tuple[np.ndarray, Any, dict[str, Any]]:
    problem = ConvProblem(shape)
    names = ("stride", "padding", "groups", "x_zero_point")
    return problem.x, problem.packed, {name: problem.keywords[name] for name in names}
