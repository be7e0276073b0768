"""LiteRT as the other side of a replay: its kernels, and every tensor that it can be made to show."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers.tflite_file import TfliteFile

#: name on the command line -> resolver of LiteRT's Interpreter
RESOLVERS = {
    "litert": "AUTO",
    "litert-xnnpack": "AUTO",
    "litert-ruy": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "litert-ref": "BUILTIN_REF",
    "litert-reference": "BUILTIN_REF",
}
_OUTPUTS = 2  # field of SubGraph


def version() -> str:
    """Of the installed LiteRT. ModuleNotFoundError where there is none."""
    try:
        return metadata.version("ai-edge-litert")
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError("LiteRT is not installed", name="ai_edge_litert") from None


def run(file: TfliteFile, kind: str, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Every activation of the file, by tensor number: one invocation per sample, stacked along a new first axis.

    kind: a name of RESOLVERS. inputs: tensor number → (samples, elements of one invocation …) in the tensor's type.
    One thread: some of LiteRT's kernels compute otherwise with more. A delegate shows a tensor only where it is an
    output, so all are made outputs.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    wanted = [index for op in file.operators for index in op.outputs if file.tensors[index].constant is None]
    wanted = list(dict.fromkeys([*file.outputs, *wanted]))
    content = _with_outputs(Path(file.path).read_bytes(), wanted)
    try:
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=getattr(OpResolverType, RESOLVERS[kind]),
            num_threads=1,
        )
        interpreter.allocate_tensors()
        found: dict[int, np.ndarray] = {}
        samples = len(next(iter(inputs.values())))
        for sample in range(samples):
            for index, values in inputs.items():
                interpreter.set_tensor(index, values[sample].reshape(file.tensors[index].shape))
            interpreter.invoke()
            for index in wanted:
                values = interpreter.get_tensor(index) if sample == 0 else interpreter.tensor(index)()
                if sample == 0:
                    found[index] = np.empty((samples, *values.shape), values.dtype)
                found[index][sample] = values
                del values  # a view of it would keep the interpreter from running again
    except (RuntimeError, ValueError) as error:
        raise AccelsimError(f"LiteRT cannot run {file.path}: {' '.join(str(error).split())}") from error
    return found


def _with_outputs(model: bytes, outputs: Sequence[int]) -> bytes:
    """The file with another list of outputs: appended, and the graph's offset to it changed."""
    import tflite

    table = tflite.Model.GetRootAsModel(model, 0).Subgraphs(0)._tab
    field = table.Pos + table.Offset(4 + 2 * _OUTPUTS)
    content = bytearray(model) + bytes(-len(model) % 4)
    struct.pack_into("<I", content, field, len(content) - field)
    return bytes(content + struct.pack(f"<{1 + len(outputs)}I", len(outputs), *outputs))
