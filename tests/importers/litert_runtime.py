"""LiteRT beside us: the three kinds of kernels that its Python package holds."""

from __future__ import annotations

from collections.abc import Sequence

import accelsim_kernels
import numpy as np

from accelsim.importers.tflite import LoweredFile

#: profile -> column of the golden files
PROFILES = {"tflite-reference": "output_ref", "tflite-ruy": "output_ruy", "xnnpack": "output_xnn"}


def litert(model: bytes, inputs: Sequence[np.ndarray], profile: str) -> list[np.ndarray]:
    """Outputs of the kernels that a profile describes; one thread."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = {
        "tflite-reference": OpResolverType.BUILTIN_REF,
        "tflite-ruy": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "xnnpack": OpResolverType.AUTO,
    }[profile]
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], x.reshape(detail["shape"]))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def ours(lowered: LoweredFile, inputs: Sequence[np.ndarray], kernels=accelsim_kernels) -> list[np.ndarray]:
    """Outputs of the graph for one invocation, with the runtime's wide accumulators."""
    graph, alive = lowered.graph, {}
    for index, x in zip(lowered.file.inputs, inputs, strict=True):
        name = lowered.names[index]
        alive[name] = x.reshape(-1, *graph.tensors[name].shape)
    for op in graph.ops:
        wide = any(graph.tensors[name].bits > 8 for name in op.inputs)
        accumulator = {"accumulator_bits": 64 if wide else 32}
        alive[op.output] = op.run([alive[name] for name in op.inputs], kernels, accumulator).values
    return [alive[lowered.names[index]] for index in lowered.file.outputs]
