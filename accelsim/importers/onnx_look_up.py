"""Rows of a constant table chosen by codes: functions of one code, embeddings."""

from __future__ import annotations

import numpy as np

from accelsim.importers.onnx_file import FileNode
from accelsim.importers.onnx_lowering import Lowering
from accelsim.importers.onnx_values import BITS, FILE, Codes, UnsupportedError, refuse_unless
from accelsim.ops.lookup import Embedding, Lut
from accelsim.quant import QuantParams

_WHOLE = (6, 7)  # ONNX's numbers of int32 and int64
_MAX_ROWS = 1 << 16


def to_whole(node: FileNode) -> bool:
    """Whether a Cast gives indices."""
    return node.attributes.get("to") in _WHOLE


def look_up(node: FileNode, to: Lowering, x: Codes, y: QuantParams | None) -> None:
    """Gather of a table along its first axis; y: the grid by which its codes are read."""
    table = to.constant(node, 0, "table")
    refuse_unless(node.attributes.get("axis", 0) == 0 and table.ndim >= 1, "chooses along another axis than the first")
    refuse_unless(0 < len(table) <= _MAX_ROWS and table.size > 0, f"a table of shape {table.shape}")
    if table.dtype not in BITS or (y is not None and table.dtype != y.dtype):
        raise UnsupportedError(f"a table of {table.dtype}; one of quantized codes is read")
    y = y or QuantParams(1.0, 0, *BITS[table.dtype])  # codes that choose in their turn
    lowest, highest = x.params.qmin, x.params.qmax
    if table.ndim > 1:
        refuse_unless(not x.params.signed, "indices that may be negative")
        to.emit(Embedding, node, [to.place(x, FILE)], node.outputs[0], y, table=np.ascontiguousarray(table))
        return
    refuse_unless(len(table) > max(highest, -1 - lowest), f"a table of {len(table)} for codes {lowest} .. {highest}")
    entries = table[np.arange(lowest, highest + 1)]  # a negative index counts from the end
    layout = to.same_layout([x])
    to.emit(Lut, node, [to.place(x, layout)], node.outputs[0], y, layout, function="table", table=entries,
            lowest=lowest)  # fmt: skip
