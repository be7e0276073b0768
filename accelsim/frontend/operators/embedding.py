"""Token inputs: whole numbers that choose rows of a table of codes."""

from __future__ import annotations

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

    @staticmethod
    def capture(arguments: dict[str, Any], shape: tuple[int, ...]) -> Captured:
        table = parameter(arguments["weight"], "the table")
        if len(table) > 1 << MAX_BITS:
            raise Reject(f"a table of {len(table)} rows; at most {1 << MAX_BITS}")
        return Captured((tensor(arguments["indices"], "the index"),), parameters={"weight": table})

    @staticmethod
    def execute(node: FloatNode, index: torch.Tensor) -> torch.Tensor:
        return node.parameters["weight"][index.long()]

    @staticmethod
    def lower(node: FloatNode, to: Lowering) -> None:
        table = quantize(node.parameters["weight"].numpy(), to.params(node))
        to.add(node, IntegerEmbedding(**to.names(node, plain=True), table=table), plain=True)


def token_grids(graph: FloatGraph) -> dict[str, QuantParams]:
    """Grids of the inputs that choose rows of tables: codes are the numbers themselves."""
    rows: dict[str, int] = {}
    for node in graph.nodes:
        if node.operator is Embedding:
            source = node.inputs[0].name
            rows[source] = min(rows.get(source, 1 << MAX_BITS), len(node.parameters["weight"]))
    return {name: QuantParams(1.0, 0, max((n - 1).bit_length(), MIN_BITS), signed=False) for name, n in rows.items()}
