"""A .tflite file that is read, lowered and prepared once, and replayed with any number of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers import litert
from accelsim.importers.replay_comparison import Compared, all_equal, details, equal_throughout, merged
from accelsim.importers.replay_data import Inputs, known_tensors, read_arrays, stored_tensors
from accelsim.importers.replay_report import Replay
from accelsim.importers.replay_steps import Tensors, run_graph, runtime_accumulators
from accelsim.importers.stages import Stages
from accelsim.importers.tflite import DEFAULT_PROFILE, RUNTIMES, LoweredFile, lower_tflite
from accelsim.importers.tflite_file import read_tflite
from accelsim.simulator import accumulation_orders
from accelsim.versions import versions

Accumulators = Mapping[str, Mapping[str, Any]]
#: elements of one side's tensors that are alive at once
_ALIVE = 1 << 27


class Replayer:
    """A .tflite file beside a runtime, ready to be replayed again and again.

    runtime: "litert", "litert-ruy", "litert-ref", or None: then calls compare with stored outputs or with nothing.
    profile, spec: as replay() takes them. What is prepared (weights, the runtime's interpreter, room for every tensor)
    is prepared by the first call and kept. Raises what replay() raises for the file.
    """

    def __init__(
        self, model: str | Path, runtime: str | None = None, *, profile: str | None = None, spec: Any = None
    ) -> None:
        if runtime is not None and runtime not in litert.RESOLVERS:
            raise AccelsimError(f"runtime {runtime!r} is none of {', '.join(litert.RESOLVERS)}")
        self.model, self.runtime, self.spec = model, runtime, spec
        self._opening = Stages()  # what the first call has paid
        with self._opening.of("read"):
            file = read_tflite(model)
        with self._opening.of("lower"):
            self.lowered = lower_tflite(file, profile or RUNTIMES.get(runtime or "", DEFAULT_PROFILE))
        self._settled = profile is not None or runtime is not None
        self._arrays = _accumulators(self.lowered, spec)
        self._session: litert.Session | None = None
        self._rooms: list[Tensors] = []

    def is_current(self) -> bool:
        """Whether files that hold values for this one are as they were: a .tflite file holds its own."""
        return True

    def __call__(
        self, x: Any, stored: str | Path | Mapping[str, np.ndarray] | None = None, *, detect: bool = False
    ) -> Replay:
        """Replay with inputs x, beside the runtime or stored outputs; x, stored and detect as replay() takes them."""
        start = perf_counter()
        stages, self._opening = self._opening, Stages()
        begun = sum(stages.seconds.values())
        with stages.of("inputs"):
            inputs = Inputs(self.lowered, read_arrays(x) if isinstance(x, (str, Path)) else x)
            tensors = None if stored is None else stored_tensors(self.lowered, stored)
        if tensors is not None:
            _check_samples(tensors, inputs.samples)
        found = dict(versions())
        if self.runtime is not None:
            found["ai-edge-litert"] = litert.version()
            if self._session is None:
                with stages.of("start runtime"):
                    self._session = litert.Session(self.lowered.file, self.runtime, self.lowered.batch)
        lowered = self.lowered
        compared = self._compared(lowered, self._arrays, inputs, tensors, stages, detect)
        matching = {row.index: row.matching or () for row in compared.operators}
        explained = _common(matching) if detect else None
        if explained and not self._settled and explained[0] != lowered.graph.profile:
            lowered = lower_tflite(lowered.file, explained[0])
            arrays = _accumulators(lowered, self.spec)
            compared = self._compared(lowered, arrays, inputs, tensors, stages, False, matching)
        graph = lowered.graph
        other = "arrays" if isinstance(stored, Mapping) else None if stored is None else str(stored)
        return Replay(
            model=str(self.model),
            profile=graph.profile,
            against=self.runtime or other,
            samples=inputs.samples,
            outputs=compared.outputs,
            compared=compared.compared,
            operators=compared.operators,
            detected=explained,
            versions=found,
            notes=() if self._settled or explained else graph.notes,
            seconds={**stages.seconds, "total": begun + perf_counter() - start},
        )

    def _compared(
        self,
        lowered: LoweredFile,
        arrays: Accumulators,
        inputs: Inputs,
        stored: Tensors | None,
        stages: Stages,
        detect: bool,
        matching: Mapping[int, tuple[str, ...]] | None = None,
    ) -> Compared:
        """Run and compare some samples at a time: every tensor of both sides is alive at once."""
        elements = sum(info.elements for info in lowered.graph.tensors.values())
        step = max(_ALIVE // elements // lowered.batch, 1) * lowered.batch
        given = inputs.for_runtime() if self._session is not None else {}
        whole: Compared | None = None
        for start in range(0, inputs.samples, step):
            part = slice(start, min(start + step, inputs.samples))
            codes = {name: values[part] for name, values in inputs.codes.items()}
            fed = {index: values[part] for index, values in given.items()}
            room = self._rooms.pop() if self._rooms else {}
            with stages.of("simulate"):
                ours = run_graph(lowered.graph, codes, arrays, room)
            outputs = {name: ours[name].copy() for name in lowered.graph.outputs}
            new = None
            if self._session is not None:
                by_index = {index: ours[name] for index, name in lowered.names.items() if name in ours}
                litert.check_softmax(lowered.file, self._session.kind, by_index)
            if self._session is not None and not detect and matching is None:
                new = self._equal(lowered, ours, fed, outputs, stages)
            if new is None:
                seen: Tensors = {}
                if self._session is not None:
                    seen = known_tensors(lowered, self._session.tensors(fed, stages))
                elif stored is not None:
                    seen = {name: values[part] for name, values in stored.items()}
                with stages.of("detect" if detect else "compare"):
                    new = details(lowered, {**ours, **outputs}, seen, codes, matching, detect)
            self._rooms.append(room)
            whole = new if whole is None else merged(whole, new)
        assert whole is not None  # input_codes() refuses empty inputs
        return whole

    def _equal(
        self, lowered: LoweredFile, ours: Tensors, fed: Mapping[int, np.ndarray], outputs: Tensors, stages: Stages
    ) -> Compared | None:
        """What is to be said where the runtime shows nothing but equal tensors; None at the first that is not."""
        session = self._session
        assert session is not None
        names = {index: lowered.names[index] for index in session.shown if index in lowered.names}
        real = {index for index in names if lowered.file.tensors[index].type == "FLOAT32"}
        in_codes = {name for index, name in names.items() if index not in real}
        names = {index: name for index, name in names.items() if index not in real or name not in in_codes}

        def agrees(part: slice, shown: Mapping[int, np.ndarray]) -> bool:
            with stages.of("compare"):
                for index, name in names.items():
                    values = known_tensors(lowered, {index: shown[index]})[name] if index in real else shown[index]
                    if not equal_throughout(
                        ours[name][part], values.reshape(lowered.batch, -1)[: part.stop - part.start]
                    ):
                        return False
            return True

        if not session.run(fed, agrees, stages):
            return None
        return all_equal(lowered, set(names.values()), len(next(iter(fed.values()))), outputs)


def _common(matching: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    """Profiles that explain every operator."""
    first = next(iter(matching.values()), ())
    return tuple(name for name in first if all(name in names for names in matching.values()))


def _check_samples(seen: Tensors, samples: int) -> None:
    for name, values in seen.items():
        if len(values) != samples:
            raise AccelsimError(f"tensor {name!r} was stored for {len(values)} samples, the inputs have {samples}")


def _accumulators(lowered: LoweredFile, spec: Any) -> Accumulators:
    if spec is None:
        return runtime_accumulators(lowered.graph)
    from accelsim.hardware import load_spec

    return accumulation_orders(lowered.graph, load_spec(spec))
