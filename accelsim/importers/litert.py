"""LiteRT as the other side of a replay: its kernels, and every tensor that it can be made to show."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers.stages import Stages
from accelsim.importers.tflite_file import TfliteFile

_REFERENCE = "BUILTIN_REF"
#: name on the command line -> resolver of LiteRT's Interpreter
RESOLVERS = {
    "litert": "AUTO",
    "litert-xnnpack": "AUTO",
    "litert-ruy": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "litert-ref": _REFERENCE,
    "litert-reference": _REFERENCE,
}
#: exponentials of a row that its reference softmax cannot divide by: an assertion then ends the whole process
_MOST_EXPONENTIALS = 2.0**9
_OUTPUTS = 2  # field of SubGraph


@cache
def version() -> str:
    """Of the installed LiteRT. ModuleNotFoundError where there is none."""
    try:
        return metadata.version("ai-edge-litert")
    except metadata.PackageNotFoundError:
        raise ModuleNotFoundError("LiteRT is not installed", name="ai_edge_litert") from None


class Session:
    """An interpreter of a file that is kept for any number of runs.

    kind: a name of RESOLVERS. batch: samples of one invocation. One thread: some of LiteRT's kernels compute otherwise
    with more. A delegate shows a tensor only where it is an output, so all are made outputs.
    Raises AccelsimError where LiteRT refuses the file.
    """

    def __init__(self, file: TfliteFile, kind: str, batch: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.file, self.kind, self.batch = file, kind, batch
        wanted = [index for op in file.operators for index in op.outputs if file.tensors[index].constant is None]
        #: numbers of the tensors that a run shows
        self.shown = tuple(dict.fromkeys([*file.outputs, *wanted]))
        content = _with_outputs(Path(file.path).read_bytes(), self.shown)
        with _refusals(file):
            self._interpreter = Interpreter(
                model_content=content,
                experimental_op_resolver_type=getattr(OpResolverType, RESOLVERS[kind]),
                num_threads=1,
            )
            self._interpreter.allocate_tensors()
        self._lock = threading.Lock()

    def run(
        self,
        inputs: Mapping[int, np.ndarray],
        visit: Callable[[slice, Mapping[int, np.ndarray]], bool],
        stages: Stages,
    ) -> bool:
        """Invoke once for every `batch` samples and show all tensors after each; False where a visit ends it.

        inputs: tensor number → (samples, elements of one sample …) in the tensor's type. visit: takes the samples and
        the tensors by number, whose memory the next invocation writes to; says whether to go on. The tensors of a last
        invocation that is not full have as many samples as the others.
        """
        samples = len(next(iter(inputs.values())))
        with self._lock, _refusals(self.file):
            for start in range(0, samples, self.batch):
                part = slice(start, min(start + self.batch, samples))
                with stages.of("runtime"):
                    for index, values in inputs.items():
                        rows = np.arange(start, start + self.batch).clip(max=samples - 1)
                        self._interpreter.set_tensor(index, values[rows].reshape(self.file.tensors[index].shape))
                    self._interpreter.invoke()
                shown = {index: self._interpreter.tensor(index)() for index in self.shown}
                going_on = visit(part, shown)
                shown.clear()  # a view of its memory would keep the interpreter from running again
                if not going_on:
                    return False
        return True

    def tensors(self, inputs: Mapping[int, np.ndarray], stages: Stages) -> dict[int, np.ndarray]:
        """Every activation by tensor number, samples along a first axis of its own."""
        samples = len(next(iter(inputs.values())))
        found: dict[int, np.ndarray] = {}

        def keep(part: slice, shown: Mapping[int, np.ndarray]) -> bool:
            count = part.stop - part.start
            for index, values in shown.items():
                each = values.reshape(self.batch, -1)[:count]
                if index not in found:
                    found[index] = np.empty((samples, each.shape[1]), each.dtype)
                found[index][part] = each
            return True

        self.run(inputs, keep, stages)
        return found


def check_softmax(file: TfliteFile, kind: str, codes: Mapping[int, np.ndarray]) -> None:
    """AccelsimError where LiteRT would end the process instead of reporting an error.

    codes: inputs of the file's softmax operators by tensor number. Source: gemmlowp fixedpoint.h, RoundingDivideByPOT
    takes exponents of up to 31.
    """
    if RESOLVERS[kind] != _REFERENCE:
        return
    for op in file.operators:
        if op.kind != "SOFTMAX" or op.inputs[0] not in codes or file.tensors[op.outputs[0]].type != "INT8":
            continue
        x = codes[op.inputs[0]].astype(np.float64)
        beta = float(op.options.Beta()) * float(file.tensors[op.inputs[0]].scale[0])
        total = np.exp(beta * (x - x.max(axis=-1, keepdims=True))).sum(axis=-1).max()
        if total >= 0.999 * _MOST_EXPONENTIALS:
            raise AccelsimError(
                f"{op.where}: LiteRT's reference softmax ends the process where the exponentials of a row add up to "
                f"{_MOST_EXPONENTIALS:.0f} or more (here {total:.0f}): replay against litert-ruy, or stored outputs"
            )


@contextmanager
def _refusals(file: TfliteFile) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, AccelsimError):
            raise
        raise AccelsimError(f"LiteRT cannot run {file.path}: {' '.join(str(error).split())}") from error


def _with_outputs(model: bytes, outputs: Sequence[int]) -> bytes:
    """The file with another list of outputs: appended, and the graph's offset to it changed."""
    import tflite

    table = tflite.Model.GetRootAsModel(model, 0).Subgraphs(0)._tab
    field = table.Pos + table.Offset(4 + 2 * _OUTPUTS)
    content = bytearray(model) + bytes(-len(model) % 4)
    struct.pack_into("<I", content, field, len(content) - field)
    return bytes(content + struct.pack(f"<{1 + len(outputs)}I", len(outputs), *outputs))
