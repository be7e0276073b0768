"""One width for each layer's weights and each activation: a mixed-integer linear programme."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accelsim.errors import AccelsimError


@dataclass(frozen=True)
class Choice:
    """weights: layer → bits. activations: layer whose output it is (or "input") → bits."""

    weights: Mapping[str, int]
    activations: Mapping[str, int]


@dataclass(frozen=True)
class Problem:
    """What the widths cost and harm.

    operators: MAC operator → layer (a shared layer has several). reads, makes: MAC operator → the activation whose
    width its input and its output follow; None where that width is fixed. costs: (operator, weight bits, input bits,
    output bits) → cost. rest: (activation, bits) → cost of the operators without weights that make it; "" for
    those of fixed width. harms: (layer, "weight" | "activation", bits) → added error.
    """

    operators: Mapping[str, str]
    reads: Mapping[str, str | None]
    makes: Mapping[str, str | None]
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    activations: tuple[str, ...]
    costs: Mapping[tuple[str, int, int, int], float]
    rest: Mapping[tuple[str, int], float]
    harms: Mapping[tuple[str, str, int], float]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.operators.values()))

    def cost(self, choice: Choice) -> float:
        """Added-up cost."""
        widest = self.activation_bits[-1]

        def bits(activation: str | None) -> int:
            return widest if activation is None else choice.activations[activation]

        total = sum(
            self.costs[op, choice.weights[layer], bits(self.reads[op]), bits(self.makes[op])]
            for op, layer in self.operators.items()
        )
        return (
            total
            + sum(self.rest.get((name, choice.activations[name]), 0.0) for name in self.activations)
            + (self.rest.get(("", widest), 0.0))
        )

    def harm(self, choice: Choice) -> float:
        """Added-up error."""
        weights = sum(self.harms[layer, "weight", choice.weights[layer]] for layer in self.layers)
        return weights + sum(self.harms[name, "activation", choice.activations[name]] for name in self.activations)

    def uniform(self, weight_bits: int, activation_bits: int) -> Choice:
        return Choice(dict.fromkeys(self.layers, weight_bits), dict.fromkeys(self.activations, activation_bits))


def allocate(problem: Problem, budget: float) -> Choice:
    """The cheapest choice whose added-up harm is within the budget; ties go to less harm.

    Variables (all 0 or 1): x[layer, w], z[activation, a], and for each operator y[w, a, b] = x[w] z_in[a] z_out[b],
    which its marginals tie to x and z. Minimise cost(y) + rest(z), subject to harm(x, z) <= budget.
    Raises AccelsimError where no choice is within the budget.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import lil_matrix

    names: list[tuple] = [("x", layer, w) for layer in problem.layers for w in problem.weight_bits]
    names += [("z", name, a) for name in problem.activations for a in problem.activation_bits]
    widest = problem.activation_bits[-1:]
    for op in problem.operators:
        inputs = widest if problem.reads[op] is None else problem.activation_bits
        outputs = widest if problem.makes[op] is None else problem.activation_bits
        names += [("y", op, w, a, b) for w in problem.weight_bits for a in inputs for b in outputs]
    place = {name: i for i, name in enumerate(names)}

    cost = np.zeros(len(names))
    harm = np.zeros(len(names))
    rows: list[tuple[dict[int, float], float, float]] = []
    for layer in problem.layers:
        rows.append(({place["x", layer, w]: 1.0 for w in problem.weight_bits}, 1, 1))
        for w in problem.weight_bits:
            harm[place["x", layer, w]] = problem.harms[layer, "weight", w]
    for name in problem.activations:
        rows.append(({place["z", name, a]: 1.0 for a in problem.activation_bits}, 1, 1))
        for a in problem.activation_bits:
            harm[place["z", name, a]] = problem.harms[name, "activation", a]
            cost[place["z", name, a]] = problem.rest.get((name, a), 0.0)
    for op, layer in problem.operators.items():
        mine = [name for name in names if name[0] == "y" and name[1] == op]
        for variable in mine:
            cost[place[variable]] = problem.costs[op, *variable[2:]]
        sides = [("x", layer, 2, problem.weight_bits)]
        for whose, position in ((problem.reads[op], 3), (problem.makes[op], 4)):
            if whose is not None:
                sides.append(("z", whose, position, problem.activation_bits))
        for kind, owner, position, widths in sides:
            for bits in widths:
                row = {place[variable]: 1.0 for variable in mine if variable[position] == bits}
                rows.append(({**row, place[kind, owner, bits]: -1.0}, 0, 0))
    matrix = lil_matrix((len(rows) + 1, len(names)))
    low, high = np.zeros(len(rows) + 1), np.zeros(len(rows) + 1)
    for i, (row, least, most) in enumerate(rows):
        for j, value in row.items():
            matrix[i, j] = value
        low[i], high[i] = least, most
    unit = max(float(harm.max()), 1e-30)  # the solver's tolerances are absolute
    matrix[len(rows)] = harm / unit
    low[-1], high[-1] = 0, budget / unit
    dear = max(float(cost.max()), 1e-30)
    result = milp(
        cost / dear + 1e-7 * harm / unit,
        integrality=np.ones(len(names)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix.tocsr(), low, high),
        options={"mip_rel_gap": 1e-6},
    )
    if result.x is None:
        raise AccelsimError(f"no choice of widths has an added-up error of at most {budget:.3g}: {result.message}")
    taken = [name for name, value in zip(names, result.x, strict=True) if value > 0.5]
    return Choice(
        {name[1]: name[2] for name in taken if name[0] == "x"}, {name[1]: name[2] for name in taken if name[0] == "z"}
    )
