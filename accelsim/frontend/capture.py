"""torch module or exported program → FloatGraph, by `torch.export` with a dynamic batch."""

from __future__ import annotations

import copy
import inspect
import logging
import re
import warnings
from typing import Any

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend import operators  # noqa: F401  (fills the table)
from accelsim.frontend.float_graph import FloatGraph, FloatNode, Ref, check_finite, rewrite
from accelsim.frontend.registry import OPERATORS, Captured, Reject, operator_names

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
    }
)
_SHAPE_QUERIES = frozenset({torch.ops.aten.sym_size.int, torch.ops.aten._assert_scalar.default})


def capture(model: torch.nn.Module | Any, example: tuple[torch.Tensor, ...]) -> FloatGraph:
    """The network as float operators, in evaluation mode, for any batch size.

    model: torch.nn.Module (left as it was found) or torch.export.ExportedProgram.
    example: one tensor per input, batch first, at least 2 in the batch.
    Raises one AccelsimError that names every unsupported operator with its module path and source line.
    """
    if isinstance(model, torch.nn.Module):
        program = export(model, example)
    elif isinstance(model, torch.export.ExportedProgram):
        program = model
    else:
        raise AccelsimError(f"expected a torch.nn.Module or a torch.export.ExportedProgram, not {type(model).__name__}")
    if _mutates_views(program.graph):
        with _quiet():
            program = program.run_decompositions({})  # makes it functional, for about the price of the export
    graph = _translate(program)
    check_finite(graph)
    return graph


def export(model: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Any:
    """torch.export of the model in evaluation mode; its training flags are restored afterwards."""
    modes = {module: module.training for module in model.modules()}
    if any(value.is_floating_point() and value.dtype != torch.float32 for value in model.state_dict().values()):
        model = copy.deepcopy(model).float()
    try:
        model.eval()
        with _quiet(), torch.no_grad():
            return torch.export.export(model, example, dynamic_shapes=_dynamic_batch(model, len(example)))
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in example)
        first = str(error).strip().split("\n")[0]
        raise AccelsimError(
            f"torch.export could not capture {type(model).__name__} with inputs of shape {shapes}: {first}. "
            "Check the input shapes; data-dependent control flow must be removed from forward()"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training


def _dynamic_batch(model: torch.nn.Module, inputs: int) -> tuple[Any, ...]:
    """A dynamic first dimension for each input, grouped as forward() takes them (*args is one group)."""
    batch = {0: torch.export.Dim.AUTO}
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return (batch,) * inputs
    named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*(batch,) * named, (batch,) * (inputs - named))


class _quiet(warnings.catch_warnings):
    """torch.export warns about its own internals; nothing a user can act on."""

    def __enter__(self) -> Any:
        log = super().__enter__()
        warnings.simplefilter("ignore")
        self._disabled = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # it logs tracebacks of what is then raised as one clear error
        return log

    def __exit__(self, *failure: Any) -> None:
        logging.disable(self._disabled)
        super().__exit__(*failure)


def _mutates_views(graph: Any) -> bool:
    """Whether an in-place operator touches a tensor that other names alias.

    `_translate` follows an in-place operator by renaming its tensor; that is not enough where a view of the
    tensor is read as well.
    """
    aliases = {node for node in graph.nodes if node.op == "call_function" and _returns_view(node.target)}
    for node in graph.nodes:
        if node.op == "call_function" and _in_place(node.target):
            target = node.args[0]
            if target.op != "call_function" or target in aliases or aliases & set(target.users):
                return True
    return False


def _returns_view(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)


def _in_place(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)


def _functional(target: Any) -> Any:
    """aten.relu for aten.relu_: the operator that computes the same without writing to its input."""
    packet = str(target).split(".")[1]
    if not (_in_place(target) and packet.endswith("_")):
        return target
    found = getattr(torch.ops.aten, packet[:-1], None)
    return getattr(found, target._overloadname, target)


def _translate(program: Any) -> FloatGraph:
    signature = program.graph_signature
    state = {**program.state_dict, **program.constants}
    bound = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    values: dict[str, Any] = {}  # fx node name → Ref, torch.Tensor (parameter) or a plain value
    inputs: list[Ref] = []
    nodes: list[FloatNode] = []
    rejected: list[str] = []
    names: dict[str, int] = {}
    outputs: tuple[str, ...] = ()

    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in bound:
                values[node.name] = state[bound[node.name]].detach()
            elif hasattr(node.meta.get("val"), "shape"):
                ref = Ref(_unique(node.name, names), _static_shape(node.meta["val"]))
                values[node.name] = ref
                inputs.append(ref)
            else:
                values[node.name] = node.meta.get("val")
        elif node.op == "output":
            found = [values[a.name] for a in node.args[0] if a is not None]
            outputs = tuple(ref.name for ref in found)
        elif _functional(node.target) in _IDENTITIES:
            values[node.name] = values[node.args[0].name]
        elif node.target in _SHAPE_QUERIES:
            values[node.name] = node.meta.get("val")
        elif getattr(node.target, "__name__", "") == "getitem":
            values[node.name] = values[node.args[0].name]  # first result of batch norm
        else:
            layer, where = _provenance(node)
            operator = OPERATORS.get(_functional(node.target))
            try:
                if operator is None:
                    raise Reject("")
                shape = _static_shape(_first(node.meta["val"]))
                captured: Captured = operator.capture(_arguments(node, values), shape)
            except Reject as reason:
                rejected.append(f"  {node.target}{f' ({reason})' if str(reason) else ''} in {where}")
                values[node.name] = Ref(node.name, _shape_for_messages(node))
                continue
            name = _unique(layer if operator.owns_module else _join(layer, node.name), names)
            ref = Ref(name, shape)
            if _in_place(node.target):  # every name of the old tensor now means the new one
                old = values[node.args[0].name]
                values.update({key: ref for key, value in values.items() if value is old})
            values[node.name] = ref
            nodes.append(
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
    if rejected:
        raise AccelsimError(
            f"{len(rejected)} torch operator(s) of this network are not supported:\n"
            + "\n".join(dict.fromkeys(rejected))
            + "\nsupported: "
            + ", ".join(operator_names())
        )
    if not nodes:
        raise AccelsimError("the network computes nothing: its output is its input")
    return rewrite(FloatGraph(tuple(nodes), tuple(inputs), outputs), {}, {})


def _arguments(node: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Argument name → value by the operator's schema, defaults filled in, fx nodes looked up."""

    def look_up(value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return values[value.name]
        if isinstance(value, (list, tuple)):
            return [look_up(v) for v in value]
        return value

    found = {}
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args):
            value = node.args[position]
        elif argument.name in node.kwargs:
            value = node.kwargs[argument.name]
        else:
            value = argument.default_value
        found[argument.name] = look_up(value)
    return found


def _static_shape(value: Any) -> tuple[int, ...]:
    """Shape without the batch; only the batch may be dynamic."""
    shape = tuple(value.shape)
    if any(not isinstance(n, int) for n in shape[1:]):
        raise Reject(f"a dimension other than the batch is dynamic: {shape}")
    if any(n == 0 for n in shape[1:]):
        raise AccelsimError(f"a tensor of shape {shape} has no elements")
    return tuple(int(n) for n in shape[1:])


def _shape_for_messages(node: Any) -> tuple[int, ...]:
    """The shape behind a rejected operator, so that one rejection does not cause others."""
    try:
        return _static_shape(_first(node.meta["val"]))
    except (Reject, AttributeError, KeyError):
        return ()


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) else value


def _provenance(node: Any) -> tuple[str, str]:
    """(module path, "module path, file:line: source") of an fx node."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = re.sub(r"@\d+", "", stack[-1][0]) if stack else ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "/torch/nn/" not in frame[0] and "/torch/_" not in frame[0]]
    place = ""
    if own or frames:
        file, line, source = (own or frames)[-1]
        place = f", {file}:{line}: {source.strip()}"
    return path, (f"module {path!r}" if path else "the root module") + place


def _join(path: str, name: str) -> str:
    stem = re.sub(r"_\d+$", "", name).strip("_")
    return f"{path}.{stem}" if path else stem


def _unique(name: str, taken: dict[str, int]) -> str:
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}@{taken[name]}"
