"""What operators without weights of their own hold, under training: norms, embeddings, positions, slopes, masks."""

from __future__ import annotations

import torch
from torch import nn

from accelsim.errors import AccelsimError
from accelsim.frontend.float_graph import FloatNode


class Operands(nn.Module):
    """The tensors of one FloatNode by their names there.

    Those that the network learns are float32 parameters (`learns` of the operator's family, unless the node's
    attribute "fixed" says that they were no parameters of the network); the others are buffers.
    """

    def __init__(self, node: FloatNode) -> None:
        super().__init__()
        learned = learned_names(node)
        for name, value in node.parameters.items():
            own = value.detach().clone()
            if name in learned:
                self.register_parameter(name, nn.Parameter(own.float()))
            else:
                self.register_buffer(name, own)

    def tensors(self) -> dict[str, torch.Tensor]:
        """For the float operator: on their device, with gradients."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def values(self, layer: str) -> dict[str, torch.Tensor]:
        """For lowering: on the CPU, without gradients. AccelsimError naming the layer where training diverged."""
        found = {name: value.detach().cpu() for name, value in self.tensors().items()}
        for name, value in found.items():
            if not torch.isfinite(value).all():
                raise AccelsimError(f"layer {layer!r}: {name} is NaN or infinite: lower the learning rate")
        return found


def learned_names(node: FloatNode) -> tuple[str, ...]:
    """Names of the node's parameters that training moves."""
    return () if node.attributes.get("fixed") else node.operator.learns
