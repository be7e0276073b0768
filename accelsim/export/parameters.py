"""The integer parameters of a network: numbers as JSON, arrays as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.files import write_atomically
from accelsim.graph import IntegerGraph

FORMAT = "accelsim-parameters"


def layer_parameters(graph: IntegerGraph) -> dict[str, dict[str, Any]]:
    """Layer → weight, bias, zero points, and its requantizer's scheme, parameters and limits, for MAC layers."""
    found = {}
    for op in graph.mac_ops:
        y = graph.tensors[op.output].params
        fields: dict[str, Any] = {
            "kind": op.kind,
            "weight": op.weight,
            "weight_zero_point": op.weight_params.zero_point,
            "weight_scale": op.weight_params.scale,
            "weight_bits": op.weight_params.bits,
            "input_zero_point": op.x_zero_point,
            "output_zero_point": y.zero_point,
        }
        if op.bias is not None:
            fields["bias"] = op.bias
        if op.requantizer is not None:
            fields |= {k: v for k, v in op.requantizer.kwargs().items() if k != "zero_point"}
        found[op.name] = fields
    return found


def save_parameters(graph: IntegerGraph, path: str | Path) -> tuple[Path, Path]:
    """Write path.json and path.safetensors; arrays stand in the JSON as {"array": key}. Returns both paths."""
    from safetensors.numpy import save

    path = Path(path)
    arrays: dict[str, np.ndarray] = {}
    layers: dict[str, dict[str, Any]] = {}
    for name, fields in layer_parameters(graph).items():
        layers[name] = {}
        for key, value in fields.items():
            if isinstance(value, np.ndarray):
                arrays[f"{name}/{key}"] = np.ascontiguousarray(value)
                value = {"array": f"{name}/{key}"}
            layers[name][key] = value.item() if isinstance(value, np.generic) else value
    text = {"format": FORMAT, "version": 1, "network": graph.name, "profile": graph.profile, "layers": layers}
    files = path.with_suffix(".json"), path.with_suffix(".safetensors")
    write_atomically(files[1], save(arrays))
    write_atomically(files[0], json.dumps(text, indent=1) + "\n")
    return files


def load_parameters(path: str | Path) -> dict[str, dict[str, Any]]:
    """What save_parameters() wrote, layer by layer. AccelsimError naming the file where it is not that."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    try:
        text = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        arrays = load_file(path.with_suffix(".safetensors"))
        if text["format"] != FORMAT or text["version"] != 1:
            raise AccelsimError(f"{path} is {text['format']!r} version {text['version']}, not {FORMAT!r} version 1")
        return {
            name: {k: arrays[v["array"]] if isinstance(v, Mapping) else v for k, v in fields.items()}
            for name, fields in text["layers"].items()
        }
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise AccelsimError(f"{path} holds no parameters of a network: {error}") from error
