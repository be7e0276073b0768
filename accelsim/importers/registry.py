"""Operators of .tflite files by name: the function that lowers each, and what one cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelsim.importers.lowering import Lowering
    from accelsim.importers.tflite_file import FileOperator


#: scales of activations outside are no quantization: their products leave float32
SCALES = (2.0**-40, 2.0**40)


class UnsupportedError(Exception):
    """An operator, or a use of one, that cannot be lowered; the text completes "operator 3 (FOO): …"."""


Lower = Callable[["FileOperator", "Lowering"], None]
#: operator of the file → its lowering; the modules tflite_* fill it
LOWERINGS: dict[str, Lower] = {}


def lowers(*kinds: str) -> Callable[[Lower], Lower]:
    """Registers a function as the lowering of operators of a file."""

    def register(function: Lower) -> Lower:
        LOWERINGS.update(dict.fromkeys(kinds, function))
        return function

    return register


#: operands that an operator cannot do without, where they are more than one
OPERANDS = {
    "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3, "FULLY_CONNECTED": 2, "BATCH_MATMUL": 2, "ADD": 2,
    "SUB": 2, "MUL": 2, "MAXIMUM": 2, "MINIMUM": 2, "MEAN": 2, "SUM": 2, "TRANSPOSE": 2, "PAD": 2, "PADV2": 2,
    "MIRROR_PAD": 2, "SLICE": 3, "STRIDED_SLICE": 4, "REDUCE_MAX": 2, "REDUCE_MIN": 2, "ARG_MAX": 2,
    "SQUARED_DIFFERENCE": 2, "SPLIT": 2, "SPLIT_V": 3, "GATHER": 2,
}  # fmt: skip
