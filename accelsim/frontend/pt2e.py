"""Programs that bring their quantizers along (torchao's PT2E, fake quantization): their grids and codes, unchanged.

A quantize call names the grid of the tensor before it. What the program leaves in float32 between quantizers needs a
grid here, too: it is chosen from calibration data where there are any, else the program is refused with the names of
those tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.calibrate import activation_params, mac_nodes, quantize_weight, raw_outputs
from accelsim.frontend.capture import capture
from accelsim.frontend.config import QuantConfig
from accelsim.frontend.float_graph import FloatGraph, FloatNode, Ref, rewrite
from accelsim.frontend.fold import fold_batch_norm, fuse_activations
from accelsim.frontend.lower import Lowering
from accelsim.frontend.observe import batches_of, grid_owners, observe
from accelsim.frontend.operators.arithmetic import Clamp
from accelsim.frontend.operators.quantized import FakeQuantize, Quantize, codes_of, is_quantizer, register
from accelsim.frontend.operators.shape import Concat
from accelsim.graph import IntegerGraph
from accelsim.profiles import load_profile
from accelsim.quant import QTensor, QuantParams

#: the arithmetic of torch's quantize call: ties to even, times the reciprocal of the scale
DEFAULT_PROFILE = "fbgemm"


def brings_quantizers(model: Any) -> bool:
    """Whether a network is a program with quantize calls. AccelsimError where it is prepared but not converted."""
    graph = getattr(model, "graph", None)
    if not isinstance(graph, torch.fx.Graph):
        return False
    if isinstance(model, torch.fx.GraphModule):
        observers = [n.target for n in graph.nodes if n.op == "call_module" and _observes(model, n.target)]
        if observers:
            raise AccelsimError(
                f"the program is prepared but not converted (it observes in {observers[0]!r}): call "
                "convert_pt2e(model) of torchao first"
            )
    return any(is_quantizer(node.target) or "fake_quantize" in str(node.target) for node in graph.nodes)


def _observes(model: torch.fx.GraphModule, name: str) -> bool:
    kinds = {kind.__name__ for kind in type(model.get_submodule(name)).__mro__}
    return bool(kinds & {"ObserverBase", "FakeQuantizeBase", "AffineQuantizedObserverBase"})


def from_quantized(model: Any, calibration: Any, config: QuantConfig) -> IntegerGraph:
    """The integer graph of a program with quantizers. calibration: None, or data for what it leaves open."""
    register()
    batches = None if calibration is None else batches_of(calibration)
    example = _example(model) if batches is None else tuple(x[:2] if len(x) > 1 else x.repeat(2, *[1] * (x.ndim - 1))
                                                            for x in batches[0])  # fmt: skip
    taken = take_grids(fuse_activations(fold_batch_norm(capture(model, example))))
    activations, missing = _spread(taken, config)
    layers = {node.name: node for node in mac_nodes(taken.graph)}
    weights = {name: _weight_codes(node) for name, node in layers.items()}
    bare = [name for name, codes in weights.items() if codes is None]
    if missing or bare:
        if batches is None:
            raise _incomplete(taken.graph, missing, bare)
        found = activation_params(observe(taken.graph, batches), config)
        activations = {**{name: found[name] for name in missing}, **activations}
        for name in bare:
            weights[name] = quantize_weight(layers[name], activations[layers[name].inputs[0].name].scale, config)
    profile = load_profile(config.profile)
    lowering = Lowering(taken.graph, activations, weights, profile)  # type: ignore[arg-type]
    return lowering.build(_name(model), ("grids and weight codes are the program's own",))


@dataclass(frozen=True)
class Taken:
    """A float graph without quantizers and the grids that they named.

    grids: tensor → grid. quantizers: quantize call → the tensor that holds its codes.
    """

    graph: FloatGraph
    grids: Mapping[str, QuantParams]
    quantizers: Mapping[str, str]


def take_grids(graph: FloatGraph) -> Taken:
    """Remove the quantizers: each names the grid of the tensor it reads, or becomes a change of grid.

    A tensor has one grid: a second quantizer with another one, a joined part on another grid than the whole and a
    moved tensor (pool, reshape) that leaves on another grid are changes of grid.
    """
    grids: dict[str, QuantParams] = {}
    root = {ref.name: ref.name for ref in graph.inputs}  # tensor → the tensor whose codes it moves
    alias: dict[str, str] = {}
    nodes: list[FloatNode] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(Ref(alias.get(r.name, r.name), r.shape) for r in node.inputs))
        if node.operator not in (Quantize, FakeQuantize):
            root[node.name] = root[node.inputs[0].name] if node.operator.tied else node.name
            nodes.append(node)
            continue
        source, wanted = node.inputs[0].name, node.attributes["grid"]
        held = grids.setdefault(root[source], wanted)
        limits = node.attributes["limits"]
        clamp = _real_limits(wanted, limits)
        if held == wanted and clamp == (None, None):
            alias[node.name] = source
            continue
        grids[node.name] = wanted
        root[node.name] = node.name
        nodes.append(replace(node, operator=Clamp, attributes={}, clamp=clamp))
    outputs = tuple(alias.get(name, name) for name in graph.outputs)
    taken = rewrite(FloatGraph(tuple(nodes), graph.inputs, outputs), {}, {})
    named = {name: alias.get(name, name) for name in (n.name for n in graph.nodes if issubclass(n.operator, Quantize))}
    return Taken(_joined_on_one_grid(taken, grids, root), grids, named)


def _real_limits(grid: QuantParams, limits: tuple[int, int]) -> tuple[float | None, float | None]:
    """The codes in use as bounds in real values, open where they are the grid's own."""
    low, high = ((code - grid.zero_point) * grid.scale for code in limits)
    return (None if limits[0] == grid.qmin else low, None if limits[1] == grid.qmax else high)


def _joined_on_one_grid(graph: FloatGraph, grids: dict[str, QuantParams], root: Mapping[str, str]) -> FloatGraph:
    """Parts of a concatenation brought to the grid of the whole."""
    nodes: list[FloatNode] = []
    for node in graph.nodes:
        if node.operator is Concat:
            known = [grids[root[r.name]] for r in node.inputs if root[r.name] in grids]
            whole = grids.get(node.name) or (known[0] if known else None)
            inputs = []
            for place, ref in enumerate(node.inputs):
                held = grids.get(root[ref.name], whole)
                if held != whole:
                    moved = f"{node.name}.part{place}"
                    grids[moved] = whole  # type: ignore[assignment]
                    nodes.append(replace(node, name=moved, operator=Clamp, inputs=(ref,), shape=ref.shape,
                                         attributes={}))  # fmt: skip
                    ref = Ref(moved, ref.shape)
                inputs.append(ref)
            node = replace(node, inputs=tuple(inputs))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _spread(taken: Taken, config: QuantConfig) -> tuple[dict[str, QuantParams], list[str]]:
    """(grid of every tensor that shares a known one, tensors without)."""
    owners = grid_owners(taken.graph)
    of_group: dict[str, QuantParams] = {}
    for name, grid in taken.grids.items():
        if name in owners:
            of_group.setdefault(owners[name], grid)
    raw = {name for name in raw_outputs(taken.graph, config) if name not in taken.grids}
    found = {name: of_group[owner] for name, owner in owners.items() if owner in of_group}
    return found, [name for name, owner in owners.items() if owner not in of_group and name not in raw]


def _weight_codes(node: FloatNode) -> QTensor | None:
    codes = codes_of(node.parameters["weight"])
    if codes is not None and codes.params.axis not in (None, 0):
        raise AccelsimError(
            f"layer {node.layer!r}: its weights have a scale for each place of axis {codes.params.axis}; scales must "
            "be per tensor or per output channel, so that they do not change within a sum"
        )
    return codes


def _incomplete(graph: FloatGraph, missing: list[str], bare: list[str]) -> AccelsimError:
    layers = {node.name: node.layer for node in graph.nodes}
    parts = []
    if missing:
        names = ", ".join(dict.fromkeys(repr(layers.get(name, name)) for name in missing))
        parts.append(f"the outputs of {names} have no quantizer and are computed in float32")
    if bare:
        parts.append(f"the weights of {', '.join(repr(layers[name]) for name in bare)} are not quantized")
    return AccelsimError(
        f"the program is not integer throughout: {'; '.join(parts)}. Annotate them with the quantizer, or give "
        "calibration data so that grids can be chosen for them"
    )


def _example(model: Any) -> tuple[torch.Tensor, ...]:
    """Zeros of the shapes that the program's inputs have, for a batch of two."""
    if isinstance(model, torch.export.ExportedProgram):
        return ()  # nothing is exported again
    values = [node.meta.get("val") for node in model.graph.nodes if node.op == "placeholder"]
    if not values or any(not isinstance(value, torch.Tensor) for value in values):
        raise AccelsimError("the shapes of the program's inputs are not known: give calibration data")
    return tuple(torch.zeros(2, *(int(n) for n in value.shape[1:])) for value in values)


def _name(model: Any) -> str:
    return type(model).__name__ if isinstance(model, torch.nn.Module) else "network"
