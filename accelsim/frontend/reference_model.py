"""The float network's own outputs, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from accelsim.errors import AccelsimError
from accelsim.frontend.tokens import as_tokens

_BATCH = 256


def float_outputs(model: Any, inputs: Any) -> np.ndarray:
    """float64 outputs of a torch module in evaluation mode; its training flags are restored.

    model: torch.nn.Module, torch.export.ExportedProgram, or any callable of tensors.
    inputs: array (N, …) or a tuple of arrays.
    """
    size, source = None, model
    if isinstance(model, torch.export.ExportedProgram):
        size = _fixed_batch(model)
        model = model.module()  # already in the mode it was exported in
        modes = {}
    else:
        modes = {m: m.training for m in model.modules()} if isinstance(model, torch.nn.Module) else {}
        if modes:
            model.eval()
    arrays = inputs if isinstance(inputs, tuple) else (inputs,)
    if not callable(model):
        raise AccelsimError(f"float_model must be a torch network or a function of tensors, not {model!r}")
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else ()
    dtype = next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)
    tensors = as_tokens(source, [torch.as_tensor(np.ascontiguousarray(x)).to(dtype) for x in arrays])
    try:
        with torch.no_grad():
            batches = zip(*(x.split(size or _BATCH) for x in tensors), strict=True)
            parts = [_padded(model, batch, size) if size else model(*batch) for batch in batches]
    finally:
        for module, training in modes.items():
            module.training = training
    return torch.cat(parts).double().numpy()


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """The batch a program was exported for, where it takes no other."""
    names = program.graph_signature.user_inputs
    sizes = [node.meta["val"].shape[0] for node in program.graph.nodes if node.name in names]
    return sizes[0] if sizes and isinstance(sizes[0], int) else None


def _padded(model: Any, batch: tuple[torch.Tensor, ...], size: int) -> torch.Tensor:
    """Outputs of a batch that may be smaller than the one that the model takes."""
    count = len(batch[0])
    return model(*(torch.cat([x, x.new_zeros(size - count, *x.shape[1:])]) for x in batch))[:count]
