"""Golden vectors of a whole MAC layer: activations in, accumulators and codes out, with what hardware needs beside."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.dataflow.accumulation import accumulation_order
from accelsim.errors import AccelsimError
from accelsim.files import write_atomically
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.ops.grouped_linear import GroupedLinear
from accelsim.ops.mac import Conv2d, MacOp
from accelsim.proof.ranges import certify
from accelsim.proof.vector_files import plain

FORMAT = "accelsim-layer-1"


@dataclass(frozen=True)
class LayerVectors:
    """Operands of a layer and what it makes of them.

    x: (samples, …) codes, NHWC; weight: as the graph has it, (K, fy, fx, C/groups) or (K, C); bias: (K,); accumulator,
    code: (samples, …, K). overflowed: outputs whose accumulators left their range. about: layer, spec, geometry, zero
    points, accumulation and requantizer.
    """

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    accumulator: np.ndarray
    code: np.ndarray
    overflowed: int
    about: dict[str, Any]


def layer_vectors(
    graph: IntegerGraph, layer: str, spec: str | Path | AcceleratorSpec = "edge-16x16", *, count: int = 8, seed: int = 0
) -> LayerVectors:
    """Vectors of one convolution or linear layer, in the order of the spec's accumulators.

    Of `count` samples at least 4 the first two drive an output to either end of what the layer can reach (see
    certify), the third is all zero points, the fourth has extremes only; the rest is random. AccelsimError where the
    layer is no MAC layer or count is below 4.
    """
    import accelsim_kernels

    spec, op = load_spec(spec), graph.op(layer)
    if not isinstance(op, MacOp) or isinstance(op, GroupedLinear):
        raise AccelsimError(f"layer {layer!r} is a {op.kind}: vectors of a layer are made for convolutions and linear")
    if count < 4:
        raise AccelsimError(f"vectors of a layer need at least 4 samples, got {count}")
    info = graph.tensors[op.inputs[0]]
    low, high, dtype = info.grid.qmin, info.grid.qmax, info.grid.dtype
    rng = np.random.default_rng(seed)
    x = rng.integers(low, high + 1, (count, *info.shape)).astype(dtype)
    found = certify(graph, spec)
    x[0], x[1] = (found.witness(layer, end=end).x[0] for end in ("high", "low"))
    x[2] = op.x_zero_point
    x[3] = rng.choice(np.array([low, high]), info.shape)
    how = accumulation_order(op.loop_nest(graph.tensors, 1), spec)
    accumulator, events = op.accumulate([x], accelsim_kernels, how)
    code = op.rescale(accumulator, accelsim_kernels)
    bias = np.zeros(len(op.weight), np.int32) if op.bias is None else op.bias
    geometry = (
        {k: getattr(op, k) for k in ("stride", "padding", "dilation", "groups")} if isinstance(op, Conv2d) else {}
    )
    about = {
        "layer": layer, "kind": op.kind, "spec": spec.name, "seed": seed, **geometry,
        "x_zero_point": int(op.x_zero_point), "w_zero_point": np.asarray(op.weight_params.zero_point).tolist(),
        "accumulation": dict(how),
        "requantizer": None if op.requantizer is None else plain(op.requantizer.kwargs()),
    }  # fmt: skip
    return LayerVectors(x, op.weight, bias, accumulator, code, int(np.count_nonzero(events)), about)


def write_layer_vectors(vectors: LayerVectors, folder: Path | str, name: str = "layer") -> Path:
    """Write <name>.npz, .json, .h and one $readmemh file per array into a folder, and return the folder.

    Words of the .mem files are two's complement, as wide as the array's type (see the manifest), in C order.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccelsimError(f"cannot make {folder}: {error.strerror}") from None
    arrays = {k: getattr(vectors, k) for k in ("x", "weight", "bias", "accumulator", "code")}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(folder / f"{name}.npz", buffer.getvalue())
    shapes = {k: {"shape": list(v.shape), "type": v.dtype.name, "mem_bits": 8 * v.itemsize} for k, v in arrays.items()}
    for key, values in arrays.items():
        mask, digits = 2 ** (8 * values.itemsize) - 1, 2 * values.itemsize
        text = "".join(f"{v & mask:0{digits}x}\n" for v in values.reshape(-1).tolist())
        write_atomically(folder / f"{name}_{key}.mem", text)
    write_atomically(folder / f"{name}.h", _header(arrays, name, vectors.about["layer"]))
    manifest = {"format": FORMAT, **vectors.about, "overflowed": vectors.overflowed, "arrays": shapes}
    write_atomically(folder / f"{name}.json", json.dumps(manifest, indent=2) + "\n")
    return folder


def _header(arrays: dict[str, np.ndarray], name: str, layer: str) -> str:
    guard = f"ACCELSIM_{name.upper()}_H"
    lines = [f"/* golden vectors of layer {layer}; C order */", f"#ifndef {guard}", f"#define {guard}",
             "#include <stdint.h>"]  # fmt: skip
    for key, values in arrays.items():
        flat = values.reshape(-1).tolist()
        suffix = "LL" if values.itemsize == 8 else ""
        lines.append(f"/* {key}: shape {list(values.shape)} */")
        lines.append(f"static const {values.dtype.name}_t {name}_{key}[{len(flat)}] = {{")
        lines += ["  " + ", ".join(f"{v}{suffix}" for v in flat[i : i + 12]) + "," for i in range(0, len(flat), 12)]
        lines.append("};")
    return "\n".join([*lines, f"#endif /* {guard} */", ""])
