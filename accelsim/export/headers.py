"""A C header with the integer parameters of a network, for firmware."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.export.parameters import layer_parameters
from accelsim.files import write_atomically
from accelsim.graph import IntegerGraph

_PER_LINE = 16
_FLOATS = ("scale", "weight_scale")


def to_c_header(graph: IntegerGraph, path: str | Path) -> Path:
    """Write weights, biases, multipliers, shifts and limits of every MAC layer as constants of C99.

    Arrays are flat, in the order of the graph: weights (K, fy, fx, C / groups) or (K, C). Multipliers are Q0.31, a
    positive shift is to the left. Scales, where a layer's arithmetic needs them, are hexadecimal floats.
    Raises AccelsimError where two layers' names are one in C.
    """
    path = Path(path)
    guard = _identifier(path.stem).upper() + "_H"
    lines = [f"/* {_comment(graph.name)}: integer parameters, profile {_comment(graph.profile)}. */",
             f"#ifndef {guard}", f"#define {guard}", "#include <stdint.h>", ""]  # fmt: skip
    taken: dict[str, str] = {}
    for name, fields in layer_parameters(graph).items():
        prefix = _identifier(name)
        if taken.setdefault(prefix, name) != name:
            raise AccelsimError(f"layers {taken[prefix]!r} and {name!r} have one name in C: {prefix}")
        scheme = fields.get("scheme", "none: the accumulators leave")
        shape = " x ".join(map(str, fields["weight"].shape))
        lines.append(f"/* {_comment(name)}: {fields['kind']}, weight {shape}, requantization {scheme} */")
        for key, value in fields.items():
            if key not in ("kind", "scheme") and not isinstance(value, str):
                lines.append(_constant(f"{prefix}_{key}", value, real=key in _FLOATS))
        lines.append("")
    write_atomically(path, "\n".join([*lines, f"#endif /* {guard} */", ""]))
    return path


def _constant(name: str, value: Any, real: bool) -> str:
    array = np.asarray(value)
    if real:
        numbers, kind = [float(v).hex() for v in array.reshape(-1)], "double"
    else:
        kind = _integer_type(array)
        low = f"(-{np.iinfo(np.int64).max} - 1)" if kind == "int64_t" else "(-2147483647 - 1)"
        smallest = {"int64_t": np.iinfo(np.int64).min, "int32_t": np.iinfo(np.int32).min}.get(kind)
        numbers = [low if int(v) == smallest else str(int(v)) for v in array.reshape(-1)]
    if array.ndim == 0:
        return f"static const {kind} {name} = {numbers[0]};"
    rows = [", ".join(numbers[i : i + _PER_LINE]) for i in range(0, len(numbers), _PER_LINE)]
    return f"static const {kind} {name}[{array.size}] = {{\n  " + ",\n  ".join(rows) + "};"


def _integer_type(array: np.ndarray) -> str:
    if array.ndim and array.dtype.itemsize < 8:
        return f"{array.dtype.name}_t"
    return "int32_t" if array.min() >= -(2**31) and array.max() < 2**31 else "int64_t"


def _identifier(name: str) -> str:
    plain = re.sub(r"[^0-9A-Za-z_]", "_", name)
    return plain if plain[:1].isalpha() else f"n_{plain}"


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("\n", " ")
