"""An .onnx file that is read, lowered and prepared once, and replayed with any number of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import accelsim_kernels
import numpy as np

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.importers import onnx_runtime
from accelsim.importers.onnx import LoweredOnnx, lower_onnx
from accelsim.importers.onnx_alone import matching
from accelsim.importers.onnx_comparison import common, outputs, rows
from accelsim.importers.onnx_file import OnnxFile, outside_files, read_onnx
from accelsim.importers.onnx_values import FLOAT_KERNELS
from accelsim.importers.replay_data import match, read_arrays
from accelsim.importers.replay_report import Replay
from accelsim.importers.replay_steps import BATCH, Tensors, run_graph, runtime_accumulators
from accelsim.importers.stages import Stages
from accelsim.quant import dequantize
from accelsim.simulator import accumulation_orders, as_array, batch_bounds, input_codes
from accelsim.versions import versions

Arrays = Mapping[str, Mapping[str, Any]]


class OnnxReplayer:
    """As Replayer, for .onnx files. runtime: a name of onnx_runtime.LEVELS, or None.

    Beside the runtime, what is run is the file as the runtime itself has optimised it at that level: operators that
    it merged are integer kernels there, all others compute in float32 between quantizers.
    """

    def __init__(
        self, model: str | Path, runtime: str | None = None, *, profile: str | None = None, spec: Any = None
    ) -> None:
        self.model, self.runtime, self.spec = model, runtime, spec
        self._opening = Stages()  # what the first call has paid
        with self._opening.of("read"):
            file, self._data = (read_onnx(model), b"") if runtime is None else onnx_runtime.optimized(model, runtime)
            self._outside = {path: _state(path) for path in outside_files(model)}
        with self._opening.of("lower"):
            if runtime is None:
                self.lowered = lower_onnx(file, profile)
            else:
                self.lowered = _as_optimized(file, profile, model, runtime)
        self._arrays = _accumulators(self.lowered.graph, spec)
        self._session: onnx_runtime.Session | None = None
        self._rooms: list[Tensors] = []

    def is_current(self) -> bool:
        """Whether the files that hold values for this one are as they were."""
        return all(_state(path) == state for path, state in self._outside.items())

    def __call__(
        self, x: Any, stored: str | Path | Mapping[str, np.ndarray] | None = None, *, detect: bool = False
    ) -> Replay:
        """Replay with inputs x, beside the runtime or stored outputs; x, stored and detect as replay() takes them."""
        if isinstance(stored, str | Path) and Path(stored).suffix != ".npz":
            known = ", ".join(onnx_runtime.LEVELS)
            raise AccelsimError(f"against {str(stored)!r} is no .npz file and none of {known}")
        start = perf_counter()
        stages, self._opening = self._opening, Stages()
        begun = sum(stages.seconds.values())
        lowered, graph, found = self.lowered, self.lowered.graph, dict(versions())
        with stages.of("inputs"):
            given = match(_arrays(x, graph.inputs), list(graph.inputs), "input")
            batches = {name: _batched(v, graph.tensors[name].shape) for name, v in given.items()}
            codes = input_codes(graph, batches, accelsim_kernels)
        if self.runtime is not None:
            found["onnxruntime"] = onnx_runtime.version()
            if self._session is None:
                with stages.of("start runtime"):
                    self._session = onnx_runtime.Session(self._data, self.model)
        room = self._rooms.pop() if self._rooms else {}
        with stages.of("simulate"):
            ours = _in_parts(graph, codes, self._arrays, room)
        seen: Mapping[str, np.ndarray] = {}
        if self._session is not None:
            with stages.of("runtime"):
                seen = self._session.tensors(_feeds(lowered, codes, given))
        elif stored is not None:
            seen = match(_arrays(stored, graph.outputs), list(graph.outputs), "output")
        explained = None
        with stages.of("detect" if detect else "compare"):
            operators = rows(lowered, ours, codes, seen, self._arrays, detect)
            if detect:
                by_nodes = self._session is not None
                explained = common(operators) if by_nodes else _whole(lowered, codes, seen, self.spec)
            compared = outputs(graph, ours, seen)
        results = {name: ours[name].copy() for name in graph.outputs}
        self._rooms.append(room)
        other = "arrays" if isinstance(stored, Mapping) else None if stored is None else str(stored)
        return Replay(
            model=str(self.model),
            profile=graph.profile,
            against=self.runtime or other,
            samples=len(next(iter(codes.values()))),
            outputs=results,
            compared=compared,
            operators=operators,
            detected=explained,
            versions=found,
            notes=graph.notes,
            seconds={**stages.seconds, "total": begun + perf_counter() - start},
        )


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _as_optimized(file: OnnxFile, profile: str | None, model: str | Path, kind: str) -> LoweredOnnx:
    """The file as the runtime runs it; where that cannot be read, the reason is first looked for in the file itself."""
    try:
        return lower_onnx(file, profile or FLOAT_KERNELS)
    except AccelsimError as error:
        lower_onnx(read_onnx(model), profile)
        lower = "onnxruntime-extended, onnxruntime-basic or onnxruntime-disable-all"
        raise AccelsimError(
            f"as ONNX Runtime optimises it for {kind!r}, {error} Compare at a lower level: {lower}."
        ) from (error)


def _in_parts(graph: IntegerGraph, codes: Tensors, arrays: Arrays, room: Tensors | None = None) -> Tensors:
    """Every tensor, some samples at a time. room: as run_graph() takes it, used where one time is enough."""
    bounds = list(batch_bounds(len(next(iter(codes.values()))), BATCH))
    parts = [
        run_graph(graph, {name: x[start:end] for name, x in codes.items()}, arrays, room if len(bounds) == 1 else None)
        for start, end in bounds
    ]
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _accumulators(graph: IntegerGraph, spec: Any) -> Arrays:
    if spec is None:
        return runtime_accumulators(graph)
    from accelsim.hardware import load_spec

    return accumulation_orders(graph, load_spec(spec))


def _whole(lowered: LoweredOnnx, codes: Tensors, seen: Mapping[str, np.ndarray], spec: Any) -> tuple[str, ...]:
    """Profiles under which the whole network gives the stored outputs."""
    found = []
    for name, other in matching(lowered, {}).items():
        graph = other.lowered.graph
        ours = _in_parts(graph, codes, _accumulators(graph, spec))
        if not any(tensor.differing for tensor in outputs(graph, ours, seen)):
            found.append(name)
    return tuple(found)


def _arrays(x: Any, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if isinstance(x, str | Path):
        return read_arrays(x)
    if isinstance(x, Mapping):
        return {str(k): as_array(v) for k, v in x.items()}
    values = x if isinstance(x, tuple) else (x,)
    if len(values) != len(names):
        raise AccelsimError(f"{len(names)} arrays are needed, not {len(values)}: {', '.join(names)}")
    return {name: as_array(value) for name, value in zip(names, values, strict=True)}


def _batched(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return x[None] if x.shape == shape else x


def _feeds(lowered: LoweredOnnx, codes: Tensors, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The file's inputs in their own types."""
    feeds = {}
    for value in lowered.file.inputs:
        if value.name not in codes:
            continue
        real = given[value.name]
        params = lowered.graph.tensors[value.name].params
        if value.type == "FLOAT":
            real = real if real.dtype.kind == "f" else dequantize(codes[value.name], params)
            feeds[value.name] = _batched(real, lowered.graph.tensors[value.name].shape).astype(np.float32)
        else:
            feeds[value.name] = codes[value.name]
    return feeds
