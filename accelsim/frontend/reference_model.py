"""The float network's own outputs, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_BATCH = 256


def float_outputs(model: Any, inputs: Any) -> np.ndarray:
    """float64 outputs of a torch module in evaluation mode; its training flags are restored.

    model: torch.nn.Module, torch.export.ExportedProgram, or any callable of tensors.
    inputs: array (N, …) or a tuple of arrays.
    """
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()  # already in the mode it was exported in
        modes = {}
    else:
        modes = {m: m.training for m in model.modules()} if isinstance(model, torch.nn.Module) else {}
        if modes:
            model.eval()
    arrays = inputs if isinstance(inputs, tuple) else (inputs,)
    tensors = [torch.as_tensor(np.ascontiguousarray(x)).float() for x in arrays]
    try:
        with torch.no_grad():
            parts = [model(*batch) for batch in zip(*(x.split(_BATCH) for x in tensors), strict=True)]
    finally:
        for module, training in modes.items():
            module.training = training
    return torch.cat(parts).double().numpy()
