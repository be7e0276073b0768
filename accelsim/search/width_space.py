"""What can be chosen in a search over widths: which, what each costs by the cost model and harms by simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.evaluation import intermediates, price_graph
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec
from accelsim.ops.mac import MacOp
from accelsim.pricing import CostReport, price
from accelsim.search.allocation import Choice, Problem
from accelsim.shapes import LoopNest
from accelsim.simulator import simulate

if TYPE_CHECKING:
    from accelsim.frontend.api import Calibrated
    from accelsim.frontend.config import QuantConfig


class WidthSpace:
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
        if len(network.seen.graph.outputs) != 1:
            raise AccelsimError(
                f"search_bits judges one output, the network has {len(network.seen.graph.outputs)}: wrap it in a "
                "module that returns the one to look at"
            )
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

    def harm(self, task: tuple[str, str, int]) -> float:
        """Error that one narrow width alone adds."""
        layer, kind, bits = task
        one = {layer: bits}
        graph = self._graph(one, {}) if kind == "weight" else self._graph({}, one)
        return max(self.error(graph) - self.floor, 0.0)

    def graph_of(self, choice: Choice) -> IntegerGraph:
        return self._quantized(self.network, self.config(choice))

    def problem(self, harms: Iterable[float]) -> Problem:
        """harms: of `harm_tasks`, in order. Cost by pricing every combination of widths."""
        self.harms = dict(zip(self.harm_tasks, harms, strict=True))
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

    def _chosen(self, tensor: str, graph: IntegerGraph | None = None) -> str | None:
        """The layer whose activation width a tensor of the graph (default: the widest) follows; None: it is fixed."""
        maker = self._origin(tensor, graph or self.wide)
        return maker if maker in self.activations else None

    def _origin(self, tensor: str, graph: IntegerGraph) -> str:
        owners = self.network.seen.owners
        while tensor not in owners:  # what lowering put in: transposes, changes of grid that not every width needs
            tensor = next(op for op in graph.ops if op.output == tensor).inputs[0]
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
                maker = self._chosen(outputs[layer.name], graph) or ""
                found[maker] = found.get(maker, 0.0) + self._of(layer)
        return found

    def _price(self, nests: list) -> CostReport:
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
