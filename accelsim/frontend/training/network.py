"""The prepared network: a torch module whose forward is the integer simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import accelsim_kernels as kernels
import numpy as np
import torch
from torch import nn

from accelsim.dataflow.accumulation import accumulation_order
from accelsim.errors import AccelsimError
from accelsim.frontend.config import QuantConfig
from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.lower import Lowering
from accelsim.frontend.observe import grid_owners, shares_grid
from accelsim.frontend.operators.mask_inputs import whole_grids
from accelsim.frontend.training.grids import LearnedGrid
from accelsim.frontend.training.layers import Effective, TrainedLayer
from accelsim.frontend.training.operands import Operands
from accelsim.frontend.training.straight_through import Replaced
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec
from accelsim.ops.base import Op
from accelsim.ops.mac import MacOp
from accelsim.profiles import load_profile
from accelsim.quant import QuantParams, along
from accelsim.simulator import checked_codes, quantized_input


class PreparedNetwork(nn.Module):
    """A network under quantization-aware training; made by `prepare_qat`.

    forward(*inputs): float inputs as the float network took them, batch first → its outputs (one tensor, or a tuple),
        float32. Every value is what `simulate(self.lower(), inputs, spec)` computes: the forward pass lowers each
        layer's current weights and grids by the same code as `from_torch`, runs the same kernels on the codes
        (accumulators of `spec` included), and returns real values scale * (code - zero_point). While batch norm is
        live (training mode, batch_norm other than "folded", not frozen), the scales and biases of that step hold the
        statistics of the batch; the integers are then those of a graph with these.
    Gradients: straight through every rounding; LSQ+ for scales and zero points (straight_through.py).
    Runs on the device of its inputs, but the integer kernels run on the CPU: elsewhere codes travel for each layer.
    """

    def __init__(
        self,
        graph: FloatGraph,
        layers: Mapping[str, TrainedLayer],
        layer_of: Mapping[str, str],
        operands: Mapping[str, Operands],
        operands_of: Mapping[str, str],
        grids: Mapping[str, LearnedGrid],
        grid_of: Mapping[str, str],
        config: QuantConfig,
        spec: AcceleratorSpec,
        name: str,
        notes: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({_key(name): layer for name, layer in layers.items()})
        self.operands = nn.ModuleDict({_key(name): held for name, held in operands.items()})
        self.grids = nn.ModuleDict({_key(name): grid for name, grid in grids.items()})
        self.graph = graph
        self.config = config
        self.spec = spec
        self.name = name
        self.notes = notes
        self.batch_norm_frozen = False
        self.whole = {ref.name for ref in graph.inputs} & set(whole_grids(graph, grid_owners(graph)))
        self._layer_of = {node: _key(layer) for node, layer in layer_of.items()}
        self._operands_of = {node: _key(owner) for node, owner in operands_of.items()}
        self._grid_of = {tensor: _key(grid) for tensor, grid in grid_of.items()}
        self._orders: dict[str, dict[str, Any]] = {}

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if len(inputs) != len(self.graph.inputs):
            raise AccelsimError(f"the network takes {len(self.graph.inputs)} inputs, not {len(inputs)}")
        with torch.autocast(inputs[0].device.type, enabled=False):  # gradients in float32, values are exact anyway
            outputs = _Step(self, inputs).run()
        return outputs[0] if len(outputs) == 1 else outputs

    def codes(self, *inputs: torch.Tensor) -> dict[str, np.ndarray]:
        """The integer tensors of a forward pass by their names: those `simulate(keep="all")` keeps."""
        step = _Step(self, inputs)
        step.run()
        return step.codes

    def lower(self) -> IntegerGraph:
        """The integer graph of the current parameters, with running batch-norm statistics."""
        return _Step(self).lowered()

    def freeze_batch_norm(self, frozen: bool = True) -> None:
        """Whether training uses the running batch-norm statistics and leaves them alone, as evaluation does."""
        self.batch_norm_frozen = frozen

    def parameter_groups(
        self, lr: float, *, weight_decay: float = 0.0, grid_lr: float | None = None
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer: weights decay; biases, batch norm and grids do not.

        grid_lr: learning rate of scales and zero points; that of the weights if None.
        """
        grids = [p for m in self.modules() if isinstance(m, LearnedGrid) for p in m.parameters()]
        weights = [layer.weight for layer in self.layers.values()]
        taken = {id(p) for p in (*grids, *weights)}
        others = [p for p in self.parameters() if id(p) not in taken]
        groups = [
            {"params": weights, "lr": lr, "weight_decay": weight_decay},
            {"params": others, "lr": lr, "weight_decay": 0.0},
            {"params": grids, "lr": lr if grid_lr is None else grid_lr, "weight_decay": 0.0},
        ]
        return [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]

    def grid(self, tensor: str) -> LearnedGrid | None:
        """The learned grid of a tensor; None for outputs that leave as accumulators."""
        return self.grids[self._grid_of[tensor]] if tensor in self._grid_of else None

    def layer(self, node: str) -> TrainedLayer:
        """The trained layer of a MAC node, by the node's name in the graph."""
        return self.layers[self._layer_of[node]]

    def is_mac(self, node: FloatNode) -> bool:
        return node.name in self._layer_of

    def held(self, node: str) -> Operands | None:
        """The tensors of any other node, by the node's name in the graph; None where it has none."""
        return self.operands[self._operands_of[node]] if node in self._operands_of else None

    def order(self, op: Op, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """How the accelerator walks a layer's sums; it depends on shapes alone."""
        if op.name not in self._orders:
            self._orders[op.name] = accumulation_order(op.loop_nest(tensors, 1), self.spec)
        return self._orders[op.name]


class _Step:
    """One walk over the network: lowers node by node and, where there are inputs, computes as it goes."""

    def __init__(self, network: PreparedNetwork, inputs: tuple[torch.Tensor, ...] | None = None) -> None:
        self.network = network
        self.inputs = inputs
        self.live = inputs is not None and network.training and not network.batch_norm_frozen
        owners = {key: grid.params() for key, grid in network.grids.items()}
        self.params = {tensor: owners[key] for tensor, key in network._grid_of.items()}
        self.weights: dict[str, Any] = {}
        profile = load_profile(network.config.profile)
        self.lowering = Lowering(network.graph, self.params, self.weights, profile)
        self.codes: dict[str, np.ndarray] = {}
        self.reals: dict[str, torch.Tensor] = {}
        self.done = 0

    def lowered(self) -> IntegerGraph:
        self.lowering.begin()
        for node in self.network.graph.nodes:
            self._lower(node)
        return self.lowering.finish(self.network.name, self.network.notes)

    def run(self) -> tuple[torch.Tensor, ...]:
        graph = self.network.graph
        last_reader = {ref.name: node.name for node in graph.nodes for ref in node.inputs}
        self.lowering.begin()
        for ref, x in zip(graph.inputs, self.inputs, strict=True):
            self.reals[ref.name] = self._input(ref.name, ref.shape, x)
        self._compute()
        for node in graph.nodes:
            self.reals[node.name] = self._node(node)
            for ref in node.inputs:
                if last_reader[ref.name] == node.name and ref.name not in graph.outputs:
                    self.reals.pop(ref.name, None)
        self.lowering.finish(self.network.name, self.network.notes)
        self._compute()  # changes of order at the outputs
        return tuple(self.reals[name] for name in graph.outputs)

    def _lower(self, node: FloatNode) -> tuple[str, Effective | None]:
        """Append the node's integer operators; (the tensor that holds its output, what its layer computes with)."""
        if not self.network.is_mac(node):
            held = self.network.held(node.name)
            parameters = {} if held is None else held.values(node.layer)
            return self.lowering.step(replace(node, parameters=parameters)), None
        source = node.inputs[0].name
        layer = self.network.layer(node.name)
        effective = layer.effective(node, self.reals.get(source), self.params[source], self.live)
        self.weights[node.name] = effective.weight
        parameters = {} if effective.bias is None else {"bias": effective.bias}
        return self.lowering.step(replace(node, parameters=parameters)), effective

    def _node(self, node: FloatNode) -> torch.Tensor:
        """The node's real output: the value of its codes, the gradient of its float operator."""
        tensor, effective = self._lower(node)
        accumulated = self._compute()
        if effective is not None:
            y = effective.real(accumulated)
        else:
            held = self.network.held(node.name)
            own = node if held is None else replace(node, parameters=held.tensors())
            y = node.operator.execute(own, *(self.reals[ref.name] for ref in node.inputs))
        grid = self.network.grid(node.name)
        if grid is None:
            return y
        params = self.params[node.name]
        found = self.codes[tensor] if node.inputs else self.codes[tensor][:1]  # a constant: one for all samples
        codes = self._in_torch_order(tensor, found).to(y.device)
        value = _real(codes, params)
        if shares_grid(node):
            return Replaced.apply(y, value)
        clamp = self.lowering.clamp_codes(node)
        return grid.quantized(y, codes, value, params, (clamp["qmin"], clamp["qmax"]))

    def _compute(self) -> torch.Tensor | None:
        """Run the operators that were appended since; a MAC layer's accumulators as real values in torch's order."""
        accumulated = None
        for op in self.lowering.ops[self.done :]:
            inputs = [self.codes[name] for name in op.inputs]
            try:
                if isinstance(op, MacOp):
                    sums, _ = op.accumulate(inputs, kernels, self.network.order(op, self.lowering.tensors))
                    self.codes[op.output] = op.rescale(sums, kernels)
                    accumulated = self._accumulated(op, sums)
                else:
                    order = self.network.order(op, self.lowering.tensors) if op.accumulates else {}
                    values = op.run(inputs, kernels, order).values
                    self.codes[op.output] = values if inputs else np.repeat(values, len(self.inputs[0]), axis=0)
            except (OverflowError, ValueError) as error:
                raise AccelsimError(f"layer {op.name!r}: {error}") from error
        self.done = len(self.lowering.ops)
        return accumulated

    def _accumulated(self, op: MacOp, sums: np.ndarray) -> torch.Tensor:
        source = self.lowering.tensors[op.inputs[0]].params
        scale = along(source.scale * np.asarray(op.weight_params.scale), sums.ndim - 1, sums.ndim)
        return self._in_torch_order(op.output, (sums * scale).astype(np.float32)).to(self.inputs[0].device)

    def _in_torch_order(self, tensor: str, values: np.ndarray) -> torch.Tensor:
        found = torch.from_numpy(values)
        return found.permute(0, 3, 1, 2) if found.ndim == 4 and not self.lowering.is_plain(tensor) else found

    def _input(self, name: str, shape: tuple[int, ...], x: torch.Tensor) -> torch.Tensor:
        """A network input on its grid, as the profile's runtime quantizes it."""
        if x.ndim != len(shape) + 1 or tuple(x.shape[1:]) != shape:
            raise AccelsimError(
                f"input {name!r} must have shape (N, {', '.join(map(str, shape))}), not {tuple(x.shape)}"
            )
        if not torch.isfinite(x).all():
            raise AccelsimError(f"input {name!r} holds NaN or infinite values")
        params = self.params[name]
        if name in self.network.whole:  # tokens and masks: codes as they are
            self.codes[name] = checked_codes(name, x.detach().cpu().long().numpy(), params)
            return x
        x = x.float()
        values = x.detach().cpu().contiguous().numpy()
        self.codes[name] = quantized_input(values, params, self.network.config.profile, kernels)
        codes = torch.as_tensor(self.codes[name], device=x.device)
        return self.network.grid(name).quantized(x, codes, _real(codes, params), params)


def _real(codes: torch.Tensor, params: QuantParams) -> torch.Tensor:
    """float32 of scale * (code - zero_point): the difference and the scale are float32 numbers, so it rounds once."""
    return (codes.to(torch.float32) - params.zero_point) * np.float32(params.scale).item()


def _key(name: str) -> str:
    """A module's name: torch keeps the dot to itself."""
    return name.replace(".", "/") or "root"
