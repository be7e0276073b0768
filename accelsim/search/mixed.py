"""search_bits: a width for each layer's weights and each activation, by integer programming over measured harm.

1. Harm: each layer's weights, and each activation, at each width alone, everything else at the widest: the squared
   error of the integer network's outputs on the calibration data. 2. Cost: the cost model, layer by layer, at each
   combination of weight, input and output widths. 3. Allocation: a mixed-integer programme (scipy `milp`, HiGHS) for
   each of several budgets of added-up harm. 4. Every allocation is built, simulated on the data and priced whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric, score, split
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.quant import check_bits
from accelsim.search.allocation import Choice, Problem, allocate
from accelsim.search.engine import check_engine, crew
from accelsim.search.grid import pareto_front
from accelsim.search.metrics import metric_identity, portable
from accelsim.search.width_space import WidthSpace
from accelsim.search.width_trials import Judged, WidthTrials, trial
from accelsim.store import ResultFile, digest
from accelsim.versions import computing

if TYPE_CHECKING:
    import pandas

    from accelsim.frontend.config import QuantConfig

OBJECTIVES = ("energy", "latency", "size")
_BUDGETS = 10
_REFINED = 4  # further budgets between the cheapest allocation that is good enough and the next


@dataclass(frozen=True)
class BitSearch:
    """What search_bits found.

    config: the winner's configuration (bits by layer); graph: its integers; winner: its row of the frame. frame: one
    row per simulated allocation: kind ("mixed" or "uniform"), accuracy, cost (unit in `objective_unit`),
    predicted_cost, error and predicted_error (squared error of the outputs over their energy, on the calibration
    data), pareto. harms: (layer, "weight" | "activation", bits) → error alone. float_accuracy: of the float network.
    """

    network: str
    spec: AcceleratorSpec
    objective: str
    max_accuracy_drop: float
    float_accuracy: float
    config: QuantConfig
    graph: IntegerGraph
    winner: int
    frame: pandas.DataFrame
    harms: Mapping[tuple[str, str, int], float]

    @property
    def objective_unit(self) -> str:
        return {"energy": "pJ", "latency": "cycles", "size": "bytes"}[self.objective]

    @property
    def best(self) -> pandas.Series:
        return self.frame.loc[self.winner]

    @property
    def gap(self) -> dict[str, float]:
        """Relative differences of the winner's simulation from the programme's prediction: cost and error."""
        best = self.best
        return {
            "cost": float(best.cost / best.predicted_cost - 1),
            "error": float(best.error / best.predicted_error - 1),
        }

    def __str__(self) -> str:
        from accelsim.report.bits import summary

        return "\n".join(summary(self))

    def to_dict(self) -> dict[str, Any]:
        from accelsim.report.bits import plain_search

        return plain_search(self)

    def save(self, path: str | Path) -> Path:
        """Write .html (front, tables), .json or .csv (the allocations)."""
        from accelsim.report.bits import save_search

        return save_search(self, path)


def search_bits(
    model: Any,
    calibration: Any,
    data: Any,
    spec: str | Path | AcceleratorSpec = "edge-16x16",
    *,
    objective: str = "energy",
    max_accuracy_drop: float = 0.01,
    weight_bits: Iterable[int] = (2, 3, 4, 8),
    activation_bits: Iterable[int] = (4, 8),
    uniform: Sequence[tuple[int, int]] = ((8, 8), (4, 8), (4, 4)),
    metric: Metric = "top1",
    results: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    **config: Any,
) -> BitSearch:
    """The cheapest widths, layer by layer, that cost at most `max_accuracy_drop` of the float network's accuracy.

    model, calibration: as `from_torch`. data: (inputs, labels) that allocations are judged on. spec: an array that
    gains from narrow operands in one chip ("fused", "serial", or "fixed" for traffic alone). objective: "energy"
    (pJ per inference), "latency" (cycles) or "size" (bytes of weights). weight_bits, activation_bits: widths to
    choose from. uniform: (weight, activation) widths simulated beside for comparison. config: further fields of
    QuantConfig (recipe="bias-correction" unless given). results: a JSON-lines file; trials found
    there are not made again. progress: called with (done, in all). engine, workers, address: what simulates, as
    `sweep`; the result is the same, bit for bit.
    Raises AccelsimError where no allocation keeps the accuracy, with the best that was found.
    """
    from accelsim.frontend.api import calibrated, network_digest
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.reference_model import float_outputs

    check_engine(engine, workers, address)
    spec = load_spec(spec)
    if spec.array.pe == "sized":
        raise AccelsimError(
            f"spec {spec.name!r} has elements built for the widest operands (pe: sized): narrow layers gain nothing; "
            "choose pe 'fused', 'serial' or 'fixed', for example spec.replace(**{'array.pe': 'fused'})"
        )
    if objective not in OBJECTIVES:
        raise AccelsimError(f"unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}")
    if not 0 <= max_accuracy_drop < 1:
        raise AccelsimError(f"max_accuracy_drop must be a fraction in [0, 1), not {max_accuracy_drop!r}")
    inputs, labels = split(data)
    if labels is None:
        raise AccelsimError("search_bits needs labels: data=(inputs, labels)")
    widths = {
        "weight": sorted({check_bits(b, "weight_bits") for b in weight_bits}),
        "activation": sorted({check_bits(b, "activation_bits") for b in activation_bits}),
    }
    if not widths["weight"] or not widths["activation"]:
        raise AccelsimError("weight_bits and activation_bits need at least one width each")
    base = QuantConfig(**{"recipe": "bias-correction", **config})
    network = calibrated(model, calibration)
    space = WidthSpace(network, base, spec, objective, widths)
    float_accuracy = score(metric, float_outputs(model, inputs), labels)

    steps = len(space.harm_tasks) + _BUDGETS + _REFINED + len(uniform)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, steps), steps)

    rows: list[dict[str, Any]] = []
    tried: list[Choice] = []
    least = float_accuracy - max_accuracy_drop - 1e-12
    parts = [inputs, labels, metric_identity(metric)] if results is not None else []
    asked = [repr(sorted(asdict(base).items())), spec.model_dump(mode="json"), objective, widths]
    origin = digest("search", network_digest(network), *asked, *parts, computing())
    shared = Judged(space, inputs, labels, portable(metric))
    with crew(trial, shared, engine=engine, workers=workers, address=address) as run:
        values_of = WidthTrials(run, ResultFile(results), origin, count)
        problem = space.problem(values_of(space.harm_tasks))

        def judge(choices: Sequence[Choice], kind: str = "mixed") -> list[bool]:
            """Whether allocations keep the accuracy; each is simulated and priced once."""
            new = [c for i, c in enumerate(choices) if c not in tried and c not in choices[:i]]
            for choice, found in zip(new, values_of(new), strict=True):
                tried.append(choice)
                rows.append(
                    {
                        "kind": kind,
                        **found,
                        "predicted_cost": problem.cost(choice),
                        "predicted_error": problem.harm(choice) + space.floor,
                        "weight_bits": dict(choice.weights),
                        "activation_bits": dict(choice.activations),
                    }
                )
            return [rows[tried.index(choice)]["accuracy"] >= least for choice in choices]

        same = [(w, a) for w, a in uniform if w in problem.weight_bits and a in problem.activation_bits]
        judge([problem.uniform(w, a) for w, a in same], "uniform")
        _follow_front(problem, space.floor, judge)
    if progress:
        progress(steps, steps)
    import pandas

    frame = pandas.DataFrame(rows)
    frame["pareto"] = pareto_front(frame["accuracy"].to_numpy(), frame["cost"].to_numpy())
    good = frame[frame["accuracy"] >= least]
    if good.empty:
        best = frame["accuracy"].max()
        raise AccelsimError(
            f"no allocation loses at most {100 * max_accuracy_drop:.2f} points of {100 * float_accuracy:.2f} %: the "
            f"best has {100 * best:.2f} %. Allow a larger drop, wider operands, or a better recipe ('white-paper')"
        )
    winner = int(good.sort_values(["cost", "accuracy"], ascending=[True, False]).index[0])
    choice = tried[winner]
    return BitSearch(
        network=network.name,
        spec=spec,
        objective=objective,
        max_accuracy_drop=max_accuracy_drop,
        float_accuracy=float_accuracy,
        config=space.config(choice),
        graph=space.graph_of(choice),
        winner=winner,
        frame=frame,
        harms=space.harms,
    )


def _follow_front(problem: Problem, floor: float, judge: Callable[[Sequence[Choice]], list[bool]]) -> None:
    """Judge allocations at budgets of harm from all to almost none, then between the last bad and the first good."""
    most = problem.harm(allocate(problem, np.inf))
    least = max(floor * 0.25, 1e-9)
    budgets = np.geomspace(max(most, 2 * least) * (1 + 1e-9), least, _BUDGETS)
    verdicts = judge([allocate(problem, float(budget)) for budget in budgets])
    if not any(verdicts) or verdicts[0]:
        return
    first = verdicts.index(True)
    bad, good = np.log(budgets[first - 1]), np.log(budgets[first])
    for _ in range(_REFINED):
        middle = (bad + good) / 2
        if judge([allocate(problem, float(np.exp(middle)))])[0]:
            good = middle
        else:
            bad = middle
