"""Draft: a network on its way to integers, and how a recipe's steps are run on it.

A step is a function (Draft, **arguments) → Draft, registered by `@step(name)` and listed in `names.py`. Steps
before the first grid rewrite the float network, which computes the same (equalization) or nearly the same (bias
absorption) as before; later ones choose grids, weight codes and biases.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend import calibrate
from accelsim.frontend.config import QuantConfig
from accelsim.frontend.float_graph import FloatGraph
from accelsim.frontend.lower import Lowering
from accelsim.frontend.observe import Observation, observe
from accelsim.frontend.recipes.names import STEPS, parse_step
from accelsim.graph import IntegerGraph
from accelsim.profiles import load_profile
from accelsim.quant import QTensor, QuantParams

#: of activations whose grids no step has chosen yet: fine enough to be taken for real values
STAND_IN_BITS = 12

#: called with (what is being done, units done, units in all)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Draft:
    """What the steps of a recipe hand on.

    seen: the float network (batch norm folded) and what it does on the calibration data: the reference of all
    later steps. activations, weights: grids and codes chosen so far; None before the first such step.
    biases: MAC layer → real bias (float64) where a step changed the float network's own.
    """

    name: str
    seen: Observation
    config: QuantConfig
    activations: Mapping[str, QuantParams] | None = None
    weights: Mapping[str, QTensor] | None = None
    biases: Mapping[str, np.ndarray] = field(default_factory=dict)
    progress: Progress | None = None

    @property
    def graph(self) -> FloatGraph:
        return self.seen.graph

    @property
    def activations_or_stand_in(self) -> Mapping[str, QuantParams]:
        """The chosen grids; before they are chosen, grids of STAND_IN_BITS over all that was seen."""
        if self.activations is not None:
            return self.activations
        bits = replace(
            self.config, activation_bits=STAND_IN_BITS, residual_bits=STAND_IN_BITS, output_bits=None, ranges="min-max",
            overrides=None,
        )  # fmt: skip
        return calibrate.activation_params(self.seen, bits)

    def rewritten(self, graph: FloatGraph) -> Draft:
        """The draft with another float network of the same function, observed anew."""
        if self.weights is not None or self.activations is not None:
            raise AccelsimError("a recipe must rewrite the float network before it chooses grids: reorder its steps")
        return replace(self, seen=observe(graph, self.seen.batches))

    def integer_graph(self, notes: tuple[str, ...] = ()) -> IntegerGraph:
        """The network as integers with what is chosen so far. AccelsimError where weights have no codes yet."""
        if self.weights is None:
            raise AccelsimError("a recipe needs a step 'weight-ranges' before any step that reads weight codes")
        nodes = [
            replace(node, parameters={**node.parameters, "bias": torch.from_numpy(self.biases[node.name])})
            if node.name in self.biases
            else node
            for node in self.graph.nodes
        ]
        graph = replace(self.graph, nodes=tuple(nodes))
        lowering = Lowering(graph, self.activations_or_stand_in, self.weights, load_profile(self.config.profile))
        return lowering.build(self.name, notes)

    def report(self, what: str, done: int, whole: int) -> None:
        if self.progress is not None:
            self.progress(what, done, whole)


Step = Callable[..., Draft]
_FUNCTIONS: dict[str, Step] = {}
#: least values of arguments that steps share
_LEAST = {"iterations": 1, "rows": 1, "seed": 0, "deviations": 0}
_POSITIVE = ("learning_rate", "damping")


def step(name: str) -> Callable[[Step], Step]:
    """Decorator: the function is the step of that name."""

    def register(function: Step) -> Step:
        _FUNCTIONS[name] = function
        return function

    return register


@step("fold")
def fold(draft: Draft) -> Draft:
    """Batch norm is folded and activations are fused when a network is captured: a draft starts behind it."""
    return draft


def bound_steps(texts: Sequence[str]) -> list[tuple[str, Step, dict[str, Any]]]:
    """Every step as (text, function, arguments); AccelsimError names a step and the argument it does not take."""
    found = []
    for text in texts:
        name, arguments = parse_step(text)
        importlib.import_module(STEPS[name])
        function = _FUNCTIONS[name]
        known = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.name != "draft"}
        unknown = [key for key in arguments if key not in known]
        if unknown:
            takes = ", ".join(known) or "none"
            raise AccelsimError(f"recipe: step {name!r} takes no argument {unknown[0]!r}; its arguments: {takes}")
        for key, value in arguments.items():
            kind = str if known[key] is None else type(known[key])
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise AccelsimError(f"recipe: {text!r}: {key} must be of type {kind.__name__}, not {value!r}")
            _check_size(text, key, value)
        found.append((text, function, arguments))
    return found


def _check_size(text: str, key: str, value: Any) -> None:
    if key in _LEAST and value < _LEAST[key]:
        raise AccelsimError(f"recipe: {text!r}: {key} must be at least {_LEAST[key]}")
    if key in _POSITIVE and not 0 < value < float("inf"):
        raise AccelsimError(f"recipe: {text!r}: {key} must be greater than 0")


def run_steps(draft: Draft, texts: Sequence[str], rewritten: dict[tuple[str, ...], Observation]) -> Draft:
    """The draft after all steps. rewritten: float networks by the steps that led to them, kept between calls."""
    done: tuple[str, ...] = ()
    bound = bound_steps(texts)
    for text, _, _ in bound[:-1]:
        if parse_step(text)[0] == "accumulator":
            raise AccelsimError("recipe: 'accumulator' comes last: a later step would undo what it guarantees")
    for text, function, arguments in bound:
        before, done = draft, (*done, text)
        if done in rewritten:
            draft = replace(draft, seen=rewritten[done])
            continue
        draft = function(draft, **arguments)
        if draft.seen is not before.seen:
            rewritten[done] = draft.seen
    return draft
