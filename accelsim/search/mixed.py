"""search_bits: a width for each layer's weights and each activation, by integer programming over measured harm.

1. Harm: each layer's weights, and each activation, at each width alone, everything else at the widest: the squared
   error of the integer network's outputs on the calibration data. 2. Cost: the cost model, layer by layer, at each
   combination of weight, input and output widths. 3. Allocation: a mixed-integer programme (scipy `milp`, HiGHS) for
   each of several budgets of added-up harm. 4. Every allocation is built, simulated on the data and priced whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import Metric, price_graph, score, split
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.ops.mac import MacOp
from accelsim.pricing import CostReport
from accelsim.quant import check_bits
from accelsim.search.allocation import Choice, Problem, allocate
from accelsim.search.grid import pareto_front
from accelsim.shapes import LoopNest
from accelsim.simulator import simulate

if TYPE_CHECKING:
    import pandas

    from accelsim.frontend.api import Calibrated
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
    progress: Callable[[int, int], None] | None = None,
    **config: Any,
) -> BitSearch:
    """The cheapest widths, layer by layer, that cost at most `max_accuracy_drop` of the float network's accuracy.

    model, calibration: as `from_torch`. data: (inputs, labels) that allocations are judged on. spec: an array that
    gains from narrow operands in one chip ("fused", "serial", or "fixed" for traffic alone). objective: "energy"
    (pJ per inference), "latency" (cycles) or "size" (bytes of weights). weight_bits, activation_bits: widths to
    choose from. uniform: (weight, activation) widths simulated beside for comparison. config: further fields of
    QuantConfig (recipe="bias-correction" unless given). progress: called with (done, in all).
    Raises AccelsimError where no allocation keeps the accuracy, with the best that was found.
    """
    from accelsim.frontend.api import calibrated, quantized
    from accelsim.frontend.config import QuantConfig
    from accelsim.frontend.reference_model import float_outputs

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
    space = _Space(network, base, spec, objective, widths)
    float_accuracy = score(metric, float_outputs(model, inputs), labels)

    steps = len(space.harm_tasks) + _BUDGETS + _REFINED + len(uniform)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, steps), steps)

    problem = space.problem(count)
    rows: list[dict[str, Any]] = []
    tried: list[tuple[IntegerGraph, Choice]] = []
    least = float_accuracy - max_accuracy_drop - 1e-12

    def judge(choice: Choice, kind: str = "mixed") -> bool:
        """Whether an allocation keeps the accuracy; it is simulated and priced once."""
        for row, (_, before) in zip(rows, tried, strict=True):
            if before == choice:
                return row["accuracy"] >= least
        graph = quantized(network, space.config(choice))
        accuracy = score(metric, simulate(graph, inputs, spec).real(), labels)
        rows.append(
            {
                "kind": kind,
                "accuracy": accuracy,
                "cost": space.cost_of(graph),
                "predicted_cost": problem.cost(choice),
                "error": space.error(graph),
                "predicted_error": problem.harm(choice) + space.floor,
                "weight_bits": dict(choice.weights),
                "activation_bits": dict(choice.activations),
            }
        )
        tried.append((graph, choice))
        count()
        return accuracy >= least

    for w, a in uniform:
        if w in problem.weight_bits and a in problem.activation_bits:
            judge(problem.uniform(w, a), "uniform")
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
    graph, choice = tried[winner]
    return BitSearch(
        network=network.name,
        spec=spec,
        objective=objective,
        max_accuracy_drop=max_accuracy_drop,
        float_accuracy=float_accuracy,
        config=space.config(choice),
        graph=graph,
        winner=winner,
        frame=frame,
        harms=space.harms,
    )


class _Space:
    """The widths that can be chosen, what they cost and what they harm."""

    def __init__(
        self,
        network: Calibrated,
        base: QuantConfig,
        spec: AcceleratorSpec,
        objective: str,
        widths: dict[str, list[int]],
    ) -> None:
        from accelsim.frontend.api import quantized
        from accelsim.frontend.calibrate import mac_nodes

        self._quantized = quantized
        self.network, self.base, self.spec, self.objective, self.widths = network, base, spec, objective, widths
        nodes = mac_nodes(network.seen.graph)
        self.layers = list(dict.fromkeys(node.layer for node in nodes))
        makers = {node.name: node.layer for node in network.seen.graph.nodes}
        self.makers = makers | {ref.name: "input" for ref in network.seen.graph.inputs}
        wide = self._graph({}, {})
        # activations that the base configuration leaves to be chosen: those whose width follows the request
        narrow = self._graph({}, dict.fromkeys(self.makers.values(), widths["activation"][0]))
        self.activations = sorted(
            {
                self.makers[owner]
                for name, owner in network.seen.owners.items()
                if name in wide.tensors and narrow.tensors[name].bits != wide.tensors[name].bits
            }
        )
        self.wide = wide
        self.expected = self._outputs_of_float()
        self.floor = self.error(wide)
        self.harms: dict[tuple[str, str, int], float] = {}
        self.harm_tasks = [
            *((layer, "weight", bits) for layer in self.layers for bits in widths["weight"][:-1]),
            *((layer, "activation", bits) for layer in self.activations for bits in widths["activation"][:-1]),
        ]

    def _graph(self, weights: Mapping[str, int], activations: Mapping[str, int]) -> IntegerGraph:
        return self._quantized(self.network, self._config(weights, activations))

    def _config(self, weights: Mapping[str, int], activations: Mapping[str, int]) -> QuantConfig:
        """Widest everywhere but where told."""
        wide = {kind: bits[-1] for kind, bits in self.widths.items()}
        return replace(
            self.base,
            weight_bits={**dict.fromkeys(self.layers, wide["weight"]), **weights},
            activation_bits={**dict.fromkeys(dict.fromkeys(self.makers.values()), wide["activation"]), **activations},
        )

    def config(self, choice: Choice) -> QuantConfig:
        return self._config(choice.weights, choice.activations)

    def _outputs_of_float(self) -> np.ndarray:
        seen = self.network.seen
        return np.concatenate([seen.graph.run(batch)[0].double().numpy() for batch in seen.batches])

    def error(self, graph: IntegerGraph) -> float:
        """Squared error of the outputs on the calibration data, over the outputs' energy."""
        x = tuple(
            np.concatenate([batch[i].numpy() for batch in self.network.seen.batches]) for i in range(len(graph.inputs))
        )
        got = simulate(graph, x, self.spec).real()
        return float(np.square(got - self.expected).sum() / np.square(self.expected).sum())

    def problem(self, count: Callable[[], None]) -> Problem:
        """Harm by trial of every narrow width alone, cost by pricing every combination of widths."""
        for layer, kind, bits in self.harm_tasks:
            one = {layer: bits}
            graph = self._graph(one, {}) if kind == "weight" else self._graph({}, one)
            self.harms[layer, kind, bits] = max(self.error(graph) - self.floor, 0.0)
            count()
        costs: dict[tuple[str, int, int, int], float] = {}
        rest: dict[tuple[str, int], float] = {}
        for a in self.widths["activation"]:
            for y in self.widths["activation"]:
                for w in self.widths["weight"]:
                    for name, value in self._layer_costs(w, a, y).items():
                        costs[name, w, a, y] = value
            for name, value in self._other_costs(a).items():
                rest[name, a] = value
        reads = {op.name: self._chosen(op.inputs[0]) for op in self.wide.mac_ops}
        makes = {op.name: self._chosen(op.output) for op in self.wide.mac_ops}
        layer_of = {node.name: node.layer for node in self.network.seen.graph.nodes}
        return Problem(
            operators={op.name: layer_of[op.name] for op in self.wide.mac_ops},
            reads=reads,
            makes=makes,
            weight_bits=tuple(self.widths["weight"]),
            activation_bits=tuple(self.widths["activation"]),
            activations=tuple(self.activations),
            costs=costs,
            rest=rest,
            harms={**self.harms, **{(n, "weight", self.widths["weight"][-1]): 0.0 for n in self.layers},
                   **{(n, "activation", self.widths["activation"][-1]): 0.0 for n in self.activations}},
        )  # fmt: skip

    def _chosen(self, tensor: str) -> str | None:
        """The layer whose activation width the tensor follows; None where it is fixed."""
        maker = self._origin(tensor)
        return maker if maker in self.activations else None

    def _origin(self, tensor: str) -> str:
        owners = self.network.seen.owners
        while tensor not in owners:  # transposes that lowering put in
            tensor = next(op for op in self.wide.ops if op.output == tensor).inputs[0]
        return self.makers[owners[tensor]]

    def _layer_costs(self, w: int, a: int, y: int) -> dict[str, float]:
        """MAC operator → cost where it has these widths (fixed tensors keep theirs)."""
        if self.objective == "size":
            return {
                op.name: op.weight.size * w / 8 + (0 if op.bias is None else op.bias.nbytes) for op in self.wide.mac_ops
            }
        tensors = self.wide.tensors
        nests = []
        for op in self.wide.ops:
            nest = op.loop_nest(tensors, 1)
            if isinstance(nest, LoopNest):
                a_bits = a if self._chosen(op.inputs[0]) else tensors[op.inputs[0]].bits
                y_bits = y if self._chosen(op.output) else tensors[op.output].bits
                nest = replace(nest, weight_bits=w, activation_bits=a_bits, output_bits=y_bits)
            nests.append((op.name, op.kind, nest))
        priced = self._price(nests)
        return {layer.name: self._of(layer) for layer in priced.layers if layer.macs}

    def _other_costs(self, a: int) -> dict[str, float]:
        """Activation layer → cost of the other operators that make it at this width; "" collects fixed ones."""
        if self.objective == "size":
            return {}
        graph = self._graph({}, dict.fromkeys(self.makers.values(), a))
        found: dict[str, float] = {}
        priced = self._price([(op.name, op.kind, op.loop_nest(graph.tensors, 1)) for op in graph.ops])
        outputs = {op.name: op.output for op in graph.ops if not isinstance(op, MacOp)}
        for layer in priced.layers:
            if layer.name in outputs:
                maker = self._chosen(outputs[layer.name]) or ""
                found[maker] = found.get(maker, 0.0) + self._of(layer)
        return found

    def _price(self, nests: list) -> CostReport:
        from accelsim.evaluation import intermediates
        from accelsim.pricing import price

        return price(nests, self.spec, edges=intermediates(self.wide))

    def _of(self, layer: Any) -> float:
        return float(layer.total_energy_pj if self.objective == "energy" else layer.latency_cycles)

    def cost_of(self, graph: IntegerGraph) -> float:
        """The objective for a whole network."""
        if self.objective == "size":
            return float(sum(op.weight.size * op.weight_params.bits / 8 for op in graph.mac_ops)) + sum(
                op.bias.nbytes for op in graph.mac_ops if op.bias is not None
            )
        priced = price_graph(graph, self.spec)
        return float(priced.total_energy_pj if self.objective == "energy" else priced.latency_cycles)


def _follow_front(problem: Problem, floor: float, judge: Callable[[Choice], bool]) -> None:
    """Judge allocations at budgets of harm from all to almost none, then between the last bad and the first good."""
    most = problem.harm(allocate(problem, np.inf))
    least = max(floor * 0.25, 1e-9)
    budgets = np.geomspace(max(most, 2 * least) * (1 + 1e-9), least, _BUDGETS)
    verdicts = [judge(allocate(problem, float(budget))) for budget in budgets]
    if not any(verdicts) or verdicts[0]:
        return
    first = verdicts.index(True)
    bad, good = np.log(budgets[first - 1]), np.log(budgets[first])
    for _ in range(_REFINED):
        middle = (bad + good) / 2
        if judge(allocate(problem, float(np.exp(middle)))):
            good = middle
        else:
            bad = middle
