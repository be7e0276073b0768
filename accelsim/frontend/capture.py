"""torch module or exported program → FloatGraph, by `torch.export` with a dynamic batch."""

from __future__ import annotations

import copy
import inspect
import logging
import warnings
from contextlib import suppress
from typing import Any

import torch

from accelsim.errors import AccelsimError
from accelsim.frontend import operators  # noqa: F401  (fills the table)
from accelsim.frontend.compositions import composed
from accelsim.frontend.decompose import decomposed, joined_reshapes
from accelsim.frontend.float_graph import FloatGraph, check_finite
from accelsim.frontend.lines import lines_as_images
from accelsim.frontend.masks import join_masks
from accelsim.frontend.program_nodes import in_place
from accelsim.frontend.tokens import as_tokens
from accelsim.frontend.translate import Unsupported, translate, unknown_operators
from accelsim.frontend.written_norms import joined_norms


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
    graph = lines_as_images(composed(joined_norms(join_masks(joined_reshapes(decomposed(_translated(program)))))))
    check_finite(graph)
    return graph


def _translated(program: Any) -> FloatGraph:
    """The program's operators; those without an entry in the table as torch itself makes them of simpler ones.

    Where those are not supported either, the error names what the network said.
    """
    try:
        return translate(program)
    except Unsupported as error:
        known = torch.export.default_decompositions()
        with _quiet():
            unknown = {target: known[target] for target in unknown_operators(program) if target in known}
            simpler = program.run_decompositions(unknown)
        try:
            return translate(simpler)
        except AccelsimError:
            raise error from None


def export(model: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Any:
    """torch.export of the model in evaluation mode; its training flags are restored afterwards."""
    modes = {module: module.training for module in model.modules()}
    if any(value.is_floating_point() and value.dtype != torch.float32 for value in model.state_dict().values()):
        model = copy.deepcopy(model).float()
    tokens = as_tokens(model, example)
    try:
        with suppress(NotImplementedError):  # exported modules have no modes
            model.eval()
        with _quiet(), torch.no_grad():
            return torch.export.export(model, tokens, dynamic_shapes=_dynamic_batch(model, len(example)))
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

    `translate` follows an in-place operator by renaming its tensor; that is not enough where a view of the
    tensor is read as well.
    """
    aliases = {node for node in graph.nodes if node.op == "call_function" and _returns_view(node.target)}
    for node in graph.nodes:
        if node.op == "call_function" and in_place(node.target):
            target = node.args[0]
            if target.op != "call_function" or target in aliases or aliases & set(target.users):
                return True
    return False


def _returns_view(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
