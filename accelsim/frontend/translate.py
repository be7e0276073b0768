"""An exported program → FloatGraph: each torch call handed to its operator family, constants computed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.batch_place import FIRST, batched_shape, followed, place_of, placed
from accelsim.frontend.constants import evaluated, foldable, of_each_sample
from accelsim.frontend.float_graph import FloatGraph, FloatNode, Ref, rewrite
from accelsim.frontend.operators.constant import Constant
from accelsim.frontend.program_nodes import alive_nodes, functional, in_place, provenance
from accelsim.frontend.registry import OPERATORS, Captured, Operator, Reject, operator_names

# torch operators that change nothing at inference
_IDENTITIES = frozenset(
    {
        torch.ops.aten.dropout.default,
        torch.ops.aten.feature_dropout.default,
        torch.ops.aten.clone.default,
        torch.ops.aten.contiguous.default,
        torch.ops.aten.detach.default,
        torch.ops.aten.alias.default,
        torch.ops.aten.lift_fresh_copy.default,
        torch.ops.aten.to.dtype,
        torch.ops.aten.to.dtype_layout,
        torch.ops.aten.to.device,
        torch.ops.aten.type_as.default,
        torch.ops.aten._to_copy.default,
    }
)
_SHAPE_QUERIES = frozenset(
    {
        torch.ops.aten.sym_size.int,
        torch.ops.aten._assert_scalar.default,
        torch.ops.aten._assert_tensor_metadata.default,
    }
)


class Unsupported(AccelsimError):
    """A network has operators, or arguments of operators, that nothing here stands for."""


def translate(program: Any) -> FloatGraph:
    """Every operator that an output depends on. Raises one Unsupported that names all unsupported ones."""
    return _Translation(program).graph()


def unknown_operators(program: Any) -> set[Any]:
    """The torch operators of a program that stand in no table here."""
    targets = {node.target for node in program.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    known = {*OPERATORS, *_IDENTITIES, *_SHAPE_QUERIES}
    return {target for target in targets if functional(target) not in known}


class _Translation:
    def __init__(self, program: Any) -> None:
        signature = program.graph_signature
        self.program = program
        self.state = {**program.state_dict, **program.constants}
        self.bound = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        #: fx node name → Ref, list of Refs, torch.Tensor (constant) or a plain value
        self.values: dict[str, Any] = {}
        self.inputs: list[Ref] = []
        self.nodes: list[FloatNode] = []
        self.rejected: list[str] = []
        self.names: dict[str, int] = {}
        self.outputs: tuple[str, ...] = ()
        self.constants: dict[tuple[str, tuple[int, ...]], Ref] = {}
        #: fx nodes that are parameters, or were computed from some
        self.learned = set(signature.inputs_to_parameters)

    def graph(self) -> FloatGraph:
        alive = alive_nodes(self.program.graph)
        for node in self.program.graph.nodes:
            if node in alive:
                self._take(node)
        if self.rejected:
            raise Unsupported(
                f"{len(self.rejected)} torch operator(s) of this network are not supported:\n"
                + "\n".join(dict.fromkeys(self.rejected))
                + "\nsupported: "
                + ", ".join(operator_names())
            )
        if not self.nodes:
            raise AccelsimError("the network computes nothing: its output is its input")
        return rewrite(FloatGraph(tuple(self.nodes), tuple(self.inputs), self.outputs), {}, {})

    def _take(self, node: Any) -> None:
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "output":
            found = [self.values[a.name] for a in node.args[0] if a is not None]
            self.outputs = tuple(self._output(ref) for ref in found)
        elif node.target in _SHAPE_QUERIES:
            self.values[node.name] = node.meta.get("val")
        elif not isinstance(node.target, torch._ops.OpOverload):
            self._python(node)
        elif self._computable(node):
            self.values[node.name] = evaluated(node, *self._looked_up(node))
            if any(argument.name in self.learned for argument in node.all_input_nodes):
                self.learned.add(node.name)
        elif functional(node.target) in _IDENTITIES and not self._becomes_mask(node):
            self.values[node.name] = self.values[node.args[0].name]
        else:
            self._operator(node)

    def _placeholder(self, node: Any) -> None:
        if node.name in self.bound:
            self.values[node.name] = self.state[self.bound[node.name]].detach()
        elif hasattr(node.meta.get("val"), "shape"):
            ref = Ref(_unique(node.name, self.names), _static_shape(node.meta["val"]))
            self.values[node.name] = ref
            self.inputs.append(ref)
        else:
            self.values[node.name] = node.meta.get("val")

    def _output(self, ref: Any) -> str:
        if not isinstance(ref, Ref):
            raise AccelsimError("an output of the network does not depend on its inputs")
        if place_of(ref) != FIRST:
            raise AccelsimError(
                f"output {ref.name!r}: the batch is not its first dimension; transpose it back at the end of forward()"
            )
        return ref.name

    def _python(self, node: Any) -> None:
        """Calls of Python's own functions: results picked from several, and arithmetic on sizes."""
        if getattr(node.target, "__name__", "") != "getitem":
            self.values[node.name] = node.meta.get("val")
            return
        source = self.values[node.args[0].name]
        if node.args[0].name in self.learned:
            self.learned.add(node.name)
        # the other results of batch norm and its like are never read
        self.values[node.name] = source[node.args[1]] if isinstance(source, (list, tuple)) else source

    def _computable(self, node: Any) -> bool:
        """Whether a call depends on nothing but constants."""
        if not foldable(node.target):
            return False
        return not any(self._is_activation(argument) for argument in node.all_input_nodes)

    def _is_activation(self, node: Any) -> bool:
        value = self.values[node.name]
        return isinstance(value, Ref) or (isinstance(value, (list, tuple)) and any(isinstance(v, Ref) for v in value))

    def _becomes_mask(self, node: Any) -> bool:
        """Whether numbers become booleans."""
        source = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], torch.fx.Node) else None
        types = [getattr(value, "dtype", None) for value in (source, node.meta.get("val"))]
        return functional(node.target) in _IDENTITIES and torch.bool not in types[:1] and types[1] == torch.bool

    def _looked_up(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        def look_up(value: Any) -> Any:
            return self.values[value.name]

        return (
            list(torch.fx.map_arg(node.args, look_up)),
            {name: torch.fx.map_arg(value, look_up) for name, value in node.kwargs.items()},
        )

    def _operator(self, node: Any) -> None:
        layer, where = provenance(node)
        mask = self._becomes_mask(node)  # as if compared with 0
        operator = OPERATORS.get(torch.ops.aten.ne.Scalar if mask else functional(node.target))
        try:
            if operator is None:
                raise Reject("")
            found = self._captured(operator, node)
        except Reject as reason:
            self.rejected.append(f"  {node.target}{f' ({reason})' if str(reason) else ''} in {where}")
            self.values[node.name] = _stand_in(node)
            return
        if isinstance(found, Ref):
            self.values[node.name] = found
        elif isinstance(found, list):
            refs = [self._add(node, operator, each, layer, where) for each in found]
            self.values[node.name] = refs
        else:
            ref = self._add(node, operator, found, layer, where)
            if in_place(node.target):  # every name of the old tensor now means the new one
                old = self.values[node.args[0].name]
                self.values.update({key: ref for key, value in self.values.items() if value is old})
            self.values[node.name] = ref

    def _add(self, node: Any, operator: Operator, captured: Captured | Ref, layer: str, where: str) -> Ref:
        if isinstance(captured, Ref):
            return captured
        word = getattr(operator, "word", node.name)
        name = _unique(layer if operator.owns_module and layer else _join(layer, word), self.names)
        shape, place = captured.shape, captured.place or FIRST
        assert shape is not None
        self.nodes.append(
            FloatNode(
                name=name,
                operator=captured.operator or operator,
                inputs=captured.inputs,
                shape=shape,
                attributes=captured.attributes,
                parameters=captured.parameters,
                clamp=captured.clamp,
                layer=layer if operator.owns_module and layer else name.split("@")[0],
                where=where,
            )
        )
        return placed(Ref(name, shape), place)

    def _captured(self, operator: Operator, node: Any) -> Captured | Ref | list[Captured | Ref]:
        """What the operator makes of the call, with the shapes of its results filled in."""
        value = node.meta["val"]
        arguments = self._arguments(node, operator)
        if operator.anywhere:
            return operator.capture(arguments, value)
        activations = [self.values[n.name] for n in node.all_input_nodes if self._is_activation(n)]
        refs = [ref for found in activations for ref in (found if isinstance(found, list) else [found])]
        places = {place_of(ref) for ref in refs}
        if places <= {FIRST}:
            first = value[0] if isinstance(value, (list, tuple)) else value
            return _with_shape(operator.capture(arguments, _static_shape(first)), value, FIRST)
        if not operator.follows or len(places) != 1:
            raise Reject("the batch is not its first dimension")
        return _with_shape(operator.capture(arguments, followed(refs[0], value)), value, places.pop(), refs[0])

    def _arguments(self, node: Any, operator: Operator) -> dict[str, Any]:
        """Argument name → value by the operator's schema, defaults filled in, fx nodes looked up."""

        def look_up(value: Any) -> Any:
            found = self.values[value.name]
            if operator.takes_constants and isinstance(found, torch.Tensor):
                return self._constant(value, found, node)
            return found

        found = {}
        for position, argument in enumerate(node.target._schema.arguments):
            if position < len(node.args):
                value = node.args[position]
            elif argument.name in node.kwargs:
                value = node.kwargs[argument.name]
            else:
                value = argument.default_value
            found[argument.name] = torch.fx.map_arg(value, look_up) if _holds_nodes(value) else value
        if isinstance(found.get("attn_mask"), Ref):
            source = next(n for n in node.all_input_nodes if self.values[n.name] is found["attn_mask"])
            found["mask_dtype"] = source.meta["val"].dtype
        if self._becomes_mask(node):
            found["other"] = 0
        return {name: list(v) if isinstance(v, (list, tuple)) else v for name, v in found.items()}

    def _constant(self, source: Any, tensor: torch.Tensor, user: Any) -> Ref:
        """A constant operand as a node of the graph; once for all users that see the same of it."""
        result = user.meta["val"]
        if not isinstance(result, torch.Tensor):
            raise Reject("a constant operand")
        _, dimension, _ = batched_shape(result)
        each = of_each_sample(tensor, source.meta["val"], result.ndim, dimension).float().contiguous()
        key = (source.name, tuple(each.shape))
        if key not in self.constants:
            name = _unique(self.bound.get(source.name, source.name), self.names)
            _, where = provenance(user)
            self.constants[key] = Ref(name, tuple(each.shape))
            attributes = {"fixed": source.name not in self.learned}
            self.nodes.append(FloatNode(name, Constant, (), tuple(each.shape), attributes, {"value": each},
                                        layer=name, where=where))  # fmt: skip
        return self.constants[key]


def _with_shape(found: Any, value: Any, place: Any, ref: Ref | None = None) -> Any:
    """Captured with the shape of the result, unless the operator gave one."""
    if isinstance(found, list):
        return [_with_shape(each, of, place, ref) for each, of in zip(found, value, strict=True)]
    if isinstance(found, Ref) or found.shape is not None:
        return found
    value = value[0] if isinstance(value, (list, tuple)) else value
    shape = _static_shape(value) if ref is None else followed(ref, value)
    return replace(found, shape=shape, place=place)


def _holds_nodes(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(v, torch.fx.Node) for v in value)
    return isinstance(value, torch.fx.Node)


def _static_shape(value: Any) -> tuple[int, ...]:
    """Shape without the batch; only the batch may be dynamic."""
    shape = tuple(value.shape)
    if any(not isinstance(n, int) for n in shape[1:]):
        raise Reject(f"a dimension other than the batch is dynamic: {shape}")
    if any(n == 0 for n in shape[1:]):
        raise AccelsimError(f"a tensor of shape {shape} has no elements")
    return tuple(int(n) for n in shape[1:])


def _stand_in(node: Any) -> Any:
    """Something in the place of a rejected result, so that one rejection does not cause others."""

    def ref(value: Any) -> Ref:
        try:
            return Ref(node.name, _static_shape(value))
        except (Reject, AttributeError):
            return Ref(node.name, ())

    value = node.meta.get("val")
    return [ref(each) for each in value] if isinstance(value, (list, tuple)) else ref(value)


def _join(path: str, name: str) -> str:
    stem = re.sub(r"_\d+$", "", name).strip("_")
    return f"{path}.{stem}" if path else stem


def _unique(name: str, taken: dict[str, int]) -> str:
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}@{taken[name]}"
