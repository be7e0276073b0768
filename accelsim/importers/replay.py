"""replay(model, x, against): a file run bit for bit beside its runtime, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers import litert
from accelsim.importers.detection import Detective
from accelsim.importers.replay_data import Inputs, known_tensors, match, read_arrays
from accelsim.importers.replay_report import OperatorReplay, Replay, TensorComparison
from accelsim.importers.replay_steps import Tensors, in_batches, runtime_accumulators, scheme_of
from accelsim.importers.tflite import DEFAULT_PROFILE, RUNTIMES, LoweredFile, lower_tflite
from accelsim.importers.tflite_file import read_tflite
from accelsim.simulator import accumulation_orders
from accelsim.versions import versions

#: elements of one side's tensors that are alive at once
_ALIVE = 1 << 27


def replay(
    model: str | Path,
    x: Any,
    against: str | Path | Mapping[str, np.ndarray] | None = None,
    *,
    profile: str | None = None,
    detect: bool = False,
    spec: Any = None,
) -> Replay:
    """Run a .tflite or .onnx file bit for bit and compare every tensor that the other side can show.

    x: the inputs, batch first: an array, a tuple, a mapping by tensor name, or an .npz file; reals are quantized.
    against: "litert" (its default delegate XNNPACK), "litert-ruy", "litert-ref", stored outputs (an .npz file, with
        ":name" behind it the array of that name; or a mapping by tensor name), or None. For .onnx files "onnxruntime"
        and, by level of optimisation, onnxruntime-disable-all, -basic, -extended, -all.
    profile: whose rounding to follow; by default that of `against`, with detect the first that explains everything,
        else what from_tflite takes.
    detect: find for every operator the profiles that give what was seen, from inputs and outputs alone.
    spec: an accelerator whose accumulators are emulated; by default the runtime's own (32 bits that wrap, 64 for
        16-bit activations).
    Raises AccelsimError for files and inputs that do not fit, ModuleNotFoundError where the runtime is missing.
    """
    if detect and against is None:
        raise AccelsimError("detect needs something to compare with: say against=…")
    if Path(model).suffix == ".onnx":
        from accelsim.importers.onnx_replay import replay_onnx

        if detect or spec is not None:
            raise AccelsimError("detect and spec are for .tflite files; an .onnx file says which kernels it means")
        return replay_onnx(model, x, against, profile=profile)
    file = read_tflite(model)
    runtime = against if isinstance(against, str) and against in litert.RESOLVERS else None
    chosen = profile or RUNTIMES.get(runtime or "", DEFAULT_PROFILE)
    lowered = lower_tflite(file, chosen)
    settled = profile is not None or runtime is not None
    inputs = Inputs(lowered, read_arrays(x) if isinstance(x, (str, Path)) else x)
    samples = len(next(iter(inputs.codes.values())))
    found = dict(versions())
    stored: Tensors = {}
    given: Mapping[int, np.ndarray] = {}
    if runtime is not None:
        found["ai-edge-litert"] = litert.version()
        given = inputs.for_runtime()
    elif against is not None:
        stored = _stored(lowered, against)
        _check_samples(stored, samples)

    def seen_of(part: slice) -> Tensors:
        if runtime is None:
            return {name: values[part] for name, values in stored.items()}
        return known_tensors(lowered, litert.run(file, runtime, {i: values[part] for i, values in given.items()}))

    parts = _parts(lowered, inputs.codes, seen_of, spec, detect)
    matching = {row.index: row.matching or () for row in parts.operators}
    explained = _common(matching) if detect else None
    if explained and not settled and explained[0] != lowered.graph.profile:
        lowered = lower_tflite(file, explained[0])
        parts = _parts(lowered, inputs.codes, seen_of, spec, False, matching)
    graph = lowered.graph
    other = "arrays" if isinstance(against, Mapping) else str(against)
    return Replay(
        model=str(model),
        profile=graph.profile,
        against=None if against is None else runtime or other,
        samples=samples,
        outputs=parts.outputs,
        compared=parts.compared,
        operators=parts.operators,
        detected=explained,
        versions=found,
        notes=() if settled or explained else graph.notes,
    )


@dataclass(frozen=True)
class _Compared:
    outputs: Tensors
    compared: tuple[TensorComparison, ...]
    operators: tuple[OperatorReplay, ...]


def _parts(
    lowered: LoweredFile,
    codes: Tensors,
    seen_of: Callable[[slice], Tensors],
    spec: Any,
    detect: bool,
    matching: Mapping[int, tuple[str, ...]] | None = None,
) -> _Compared:
    """Run and compare some samples at a time: every tensor of both sides is alive at once.

    matching: profiles of the operators where they are known already.
    """
    graph = lowered.graph
    arrays = runtime_accumulators(graph) if spec is None else _accumulators(graph, spec)
    samples = len(next(iter(codes.values())))
    step = max(1, _ALIVE // sum(info.elements for info in graph.tensors.values()))
    merged: _Compared | None = None
    for start in range(0, samples, step):
        part = slice(start, start + step)
        some = {name: values[part] for name, values in codes.items()}
        seen = seen_of(part)
        detective = Detective(lowered, {**seen, **some})
        found = _detected(detective) if detect else matching or {}
        ours = in_batches(graph.ops, some, arrays)
        new = _Compared(
            {name: ours[name] for name in graph.outputs},
            tuple(_compare(name, ours[name], seen[name]) for name in graph.outputs if name in seen),
            tuple(_row(i, lowered, ours, seen, detective, found.get(i)) for i in detective.indices),
        )
        merged = new if merged is None else _merged(merged, new)
    assert merged is not None  # input_codes() refuses empty inputs
    return merged


def _merged(a: _Compared, b: _Compared) -> _Compared:
    return _Compared(
        {name: np.concatenate([values, b.outputs[name]]) for name, values in a.outputs.items()},
        tuple(map(TensorComparison.plus, a.compared, b.compared)),
        tuple(map(OperatorReplay.plus, a.operators, b.operators)),
    )


def _detected(detective: Detective) -> dict[int, tuple[str, ...]]:
    """For every operator from its own operands where they are known, else from the whole."""
    local = {index: detective.local(index) for index in detective.indices}
    if all(found is not None for found in local.values()):
        return {index: found or () for index, found in local.items()}
    whole = detective.by_substitution()
    return {index: whole[index] if found is None else found for index, found in local.items()}


def _common(matching: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    """Profiles that explain every operator."""
    first = next(iter(matching.values()), ())
    return tuple(name for name in first if all(name in names for names in matching.values()))


def _row(
    index: int,
    lowered: LoweredFile,
    ours: Tensors,
    seen: Tensors,
    detective: Detective,
    matching: tuple[str, ...] | None,
) -> OperatorReplay:
    op = lowered.file.operators[index]
    names = [lowered.names[i] for i in op.outputs if i in lowered.names]
    shown = [name for name in names if name in seen]
    tensors = tuple(_compare(name, ours[name], seen[name]) for name in shown)
    alone = None
    if any(t.differing for t in tensors):
        matching = detective.local(index) if matching is None else matching
        operands = [i for i in dict.fromkeys(op.inputs) if lowered.names.get(i) in detective.known]
        given = {i: detective.known[lowered.names[i]] for i in operands}
        needed = [i for i in op.inputs if i >= 0 and lowered.file.tensors[i].constant is None]
        if set(needed) <= set(given):
            outputs = detective.variants.run(index, lowered.graph.profile, given) or {}
            parts = [_compare(lowered.names[i], y, seen[lowered.names[i]]) for i, y in outputs.items()
                     if lowered.names.get(i) in shown]  # fmt: skip
            alone = TensorComparison(
                ", ".join(p.tensor for p in parts), sum(p.elements for p in parts), sum(p.differing for p in parts),
                max((p.largest for p in parts), default=0),
            )  # fmt: skip
    return OperatorReplay(index, op.kind, tensors, alone, scheme_of(lowered, index), matching)


def _compare(name: str, a: np.ndarray, b: np.ndarray) -> TensorComparison:
    if np.array_equal(a, b):
        return TensorComparison(name, a.size, 0, 0)
    distance = np.abs(a.astype(np.int64) - b.astype(np.int64))
    return TensorComparison(name, a.size, int(np.count_nonzero(distance)), int(distance.max()))


def _stored(lowered: LoweredFile, against: str | Path | Mapping[str, np.ndarray]) -> Tensors:
    """Stored tensors: the outputs at least."""
    names = [lowered.file.tensors[index].name for index in lowered.file.outputs]
    if isinstance(against, Mapping):
        arrays = {str(k): np.asarray(v) for k, v in against.items()}
    else:
        path, colon, key = str(against).rpartition(":")
        if not colon or not path.endswith(".npz"):
            path, key = str(against), ""
        if not path.endswith(".npz"):
            known = ", ".join(litert.RESOLVERS)
            raise AccelsimError(f"against {str(against)!r} is no .npz file and none of {known}")
        arrays = read_arrays(path)
        if key:
            if key not in arrays:
                raise AccelsimError(f"{path} holds no array {key!r}, but {', '.join(sorted(arrays))}")
            arrays = {"output": arrays[key]}
    found = match(arrays, names, "output")
    for tensor in lowered.file.tensors:  # intermediate tensors, by their own name
        if tensor.index in lowered.names and tensor.name in arrays:
            found[tensor.name] = arrays[tensor.name]
    by_index = {t.index: found[t.name] for t in lowered.file.tensors if t.name in found and t.index in lowered.names}
    return known_tensors(lowered, by_index)


def _check_samples(seen: Tensors, samples: int) -> None:
    for name, values in seen.items():
        if len(values) != samples:
            raise AccelsimError(f"tensor {name!r} was stored for {len(values)} samples, the inputs have {samples}")


def _accumulators(graph: Any, spec: Any) -> Mapping[str, Mapping[str, Any]]:
    from accelsim.hardware import load_spec

    return accumulation_orders(graph, load_spec(spec))
