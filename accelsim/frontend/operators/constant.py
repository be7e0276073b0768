"""Operands that are the same for every sample: positions, class tokens, relative biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from accelsim.frontend.float_graph import FloatNode
from accelsim.ops.constant import Constant as IntegerConstant
from accelsim.quant import quantize

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering


class Constant:
    """A parameter or what was computed from parameters; a node without inputs, of a batch of one.

    attributes: fixed, where no parameter of the network had a part in it (buffers, numbers of the code).
    It stands for no torch operator: capture makes it of constant operands (translate.py).
    """

    tied = owns_module = fuses_clamp = takes_constants = follows = anywhere = False
    decompose = None
    learns = ("value",)

    @staticmethod
    def execute(node: FloatNode) -> torch.Tensor:
        return node.parameters["value"][None]

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        codes = quantize(node.parameters["value"].numpy(), to.params(node))
        to.add(node, IntegerConstant(node.name, (), node.name, codes), plain=True)
