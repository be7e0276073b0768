"""Which inputs of a network are whole numbers that choose rows of a table, rather than real values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def as_tokens(model: Any, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The inputs as `model` takes them: int64 where they can only be indices, others as they are.

    A program says so itself. A module is taken to read indices where it holds an embedding and an input has nothing
    but whole numbers from 0 on.
    """
    if isinstance(model, torch.export.ExportedProgram):
        names = model.graph_signature.user_inputs
        nodes = [node for node in model.graph.nodes if node.name in names]
        return tuple(x.to(node.meta["val"].dtype) for x, node in zip(inputs, nodes, strict=True))
    if not holds_embedding(model):
        return tuple(inputs)
    return tuple(x.to(torch.int64) if _whole(x) else x for x in inputs)


def holds_embedding(model: Any) -> bool:
    modules = model.modules() if isinstance(model, torch.nn.Module) else ()
    return any(isinstance(module, torch.nn.Embedding) for module in modules)


def _whole(x: torch.Tensor) -> bool:
    return bool((x >= 0).all()) and bool((x == x.round()).all())
