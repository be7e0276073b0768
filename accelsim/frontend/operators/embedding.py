"""Token inputs: whole numbers that choose rows of a table of codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from accelsim.frontend.float_graph import FloatGraph, FloatNode
from accelsim.frontend.registry import Captured, Reject, lowers, parameter, tensor
from accelsim.ops.lookup import Embedding as IntegerEmbedding
from accelsim.quant import MAX_BITS, MIN_BITS, QuantParams, quantize

if TYPE_CHECKING:
    from accelsim.frontend.lower import Lowering

aten = torch.ops.aten


@lowers(aten.embedding.default)
class Embedding:
    """table[index]: the rows' codes are on the grid of the output."""

    owns_module = True
    learns = ("weight",)

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        table = parameter(arguments["weight"], "the table")
        if len(table) > 1 << MAX_BITS:
            raise Reject(f"a table of {len(table)} rows; at most {1 << MAX_BITS}")
        index = tensor(arguments["indices"], "the index")
        return Captured((index,), {"rows": len(table)}, {"weight": table})

    @staticmethod
    def execute(node: FloatNode, index: torch.Tensor) -> torch.Tensor:
        return node.parameters["weight"][index.long()]

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        table = quantize(node.parameters["weight"].numpy(), to.params(node))
        to.add(node, IntegerEmbedding(**to.names(node, plain=True), table=table), plain=True)


def token_grids(graph: FloatGraph, owners: Mapping[str, str]) -> dict[str, QuantParams]:
    """Grids of what chooses rows of tables, by the tensor that owns the grid: codes are the numbers themselves.

    owners: tensor → the tensor whose grid it has, since an input may be cut or reshaped before it chooses. Each table
    refuses numbers that are none of its rows when it is read.
    """
    rows: dict[str, int] = {}
    for node in graph.nodes:
        if node.operator is Embedding:
            owner = owners[node.inputs[0].name]
            rows[owner] = max(rows.get(owner, 0), node.attributes["rows"])
    return {name: QuantParams(1.0, 0, max((n - 1).bit_length(), MIN_BITS), signed=False) for name, n in rows.items()}
