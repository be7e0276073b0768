"""The recipes and steps by name, and how one is written. Imports no torch.

A recipe is a name of RECIPES or a sequence of steps in the order they run; a step is its name, with arguments
where they differ from the defaults: "adaround", "adaround(iterations=500)", "weight-ranges(method=min-max)".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from accelsim.errors import AccelsimError

#: step → the module that defines it; modules are imported when a recipe runs
STEPS: dict[str, str] = {
    "fold": "accelsim.frontend.recipes.draft",
    "equalize": "accelsim.frontend.recipes.equalize",
    "absorb-bias": "accelsim.frontend.recipes.absorb",
    "smooth": "accelsim.frontend.recipes.smooth",
    "first-last-bits": "accelsim.frontend.recipes.grids",
    "weight-ranges": "accelsim.frontend.recipes.grids",
    "activation-ranges": "accelsim.frontend.recipes.grids",
    "batch-norm-ranges": "accelsim.frontend.recipes.grids",
    "cross-entropy-range": "accelsim.frontend.recipes.cross_entropy",
    "bias-correction": "accelsim.frontend.recipes.biases",
    "analytic-bias-correction": "accelsim.frontend.recipes.biases",
    "gptq": "accelsim.frontend.recipes.gptq",
    "adaround": "accelsim.frontend.recipes.adaround",
    "reconstruct": "accelsim.frontend.recipes.reconstruct",
    "accumulator": "accelsim.frontend.recipes.accumulator",
}

#: recipe → its steps, in order
RECIPES: dict[str, tuple[str, ...]] = {
    "min-max": ("fold", "activation-ranges(method=min-max)", "weight-ranges(method=min-max)"),
    # paper, figure 9, with calibration data
    "white-paper": (
        "fold",
        "equalize",
        "absorb-bias",
        "weight-ranges(method=mse)",
        "adaround",
        "activation-ranges(method=mse)",
        "bias-correction",
    ),
    # the same in a fraction of a second: weights rounded to nearest
    "bias-correction": (
        "fold",
        "equalize",
        "absorb-bias",
        "activation-ranges(method=mse)",
        "weight-ranges(method=mse)",
        "bias-correction",
    ),
    # nothing but the shape and the range of the inputs is read from the calibration data
    "data-free": (
        "fold",
        "equalize",
        "absorb-bias",
        "batch-norm-ranges",
        "weight-ranges(method=mse)",
        "analytic-bias-correction",
    ),
    # for 4 bits and below: blocks instead of layers, activations quantized at random
    "reconstruct": (
        "fold",
        "equalize",
        "absorb-bias",
        "activation-ranges(method=mse)",
        "weight-ranges(method=mse)",
        "reconstruct",
        "bias-correction",
    ),
}

Recipe = str | tuple[str, ...]
_STEP = re.compile(r"\s*([a-z0-9][a-z0-9-]*)\s*(?:\((.*)\))?\s*")


def check_recipe(recipe: Any) -> Recipe | None:
    """The recipe as a name or a tuple of steps; AccelsimError names an unknown recipe or step.

    One string may hold several steps separated by commas.
    """
    if recipe is None or (isinstance(recipe, str) and recipe in RECIPES):
        return recipe
    if isinstance(recipe, str):
        recipe = re.split(r",\s*(?![^()]*\))", recipe)
        if len(recipe) == 1 and recipe[0].partition("(")[0].strip() not in STEPS:
            raise AccelsimError(
                f"unknown recipe {recipe[0]!r}; recipes: {', '.join(RECIPES)}; or a list of steps: {', '.join(STEPS)}"
            )
    if isinstance(recipe, Mapping) or not isinstance(recipe, Sequence) or not recipe:
        raise AccelsimError(f"recipe must be a name or a list of steps, not {recipe!r}")
    steps = tuple(recipe)
    for place, step in enumerate(steps):
        name, _ = parse_step(step)
        if name == "fold" and place:
            raise AccelsimError("recipe: 'fold' comes first or not at all: every recipe starts with batch norm folded")
    return steps


def steps_of(recipe: Recipe) -> tuple[str, ...]:
    """The steps of a checked recipe."""
    return RECIPES[recipe] if isinstance(recipe, str) else recipe


def parse_step(text: Any) -> tuple[str, dict[str, Any]]:
    """ "adaround(iterations=500)" → ("adaround", {"iterations": 500}); AccelsimError where it is no known step."""
    found = _STEP.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise AccelsimError(f"recipe: {text!r} is no step; write 'name' or 'name(argument=value, …)'")
    name, arguments = found[1], found[2] or ""
    if name in RECIPES and name not in STEPS:
        raise AccelsimError(f"recipe: {name!r} is a whole recipe, no step; its steps: {', '.join(RECIPES[name])}")
    if name not in STEPS:
        raise AccelsimError(f"recipe: unknown step {name!r}; known: {', '.join(STEPS)}")
    values = {}
    for part in filter(str.strip, arguments.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            raise AccelsimError(f"recipe: {part.strip()!r} in {text!r} is no argument; write name=value")
        if key.strip() in values:
            raise AccelsimError(f"recipe: {text!r} gives {key.strip()} twice")
        values[key.strip()] = _literal(value.strip())
    return name, values


def _literal(text: str) -> Any:
    """A number, True, False or None; anything else is a word."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
