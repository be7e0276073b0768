"""simulate(graph, x, spec) → Run: every output bit as the accelerator would compute it, and what overflowed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from accelsim import execution
from accelsim.dataflow.accumulation import accumulation_order
from accelsim.errors import AccelsimError
from accelsim.events import LayerEvents
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.ops.base import Computed, Op
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.mac import MacOp
from accelsim.profiles import load_profile
from accelsim.quant import AccumulatorParams, QuantParams, dequantize
from accelsim.shapes import LoopNest

BACKENDS = {"numba": "accelsim_kernels", "reference": "accelsim_kernels.reference"}
BATCH = 64  # samples that are alive at once; bounds the memory, never the result


@dataclass(frozen=True)
class Run:
    """What a simulation computed.

    outputs: output tensor → integer codes (batch first). events: one LayerEvents per MAC layer.
    tensors and accumulators: every tensor and every MAC layer's accumulators, where `keep="all"` asked for them.
    """

    graph: IntegerGraph
    spec: AcceleratorSpec
    backend: str
    outputs: Mapping[str, np.ndarray]
    events: tuple[LayerEvents, ...]
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    accumulators: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def output(self) -> np.ndarray:
        """Codes of the network's only output."""
        if len(self.outputs) != 1:
            raise AccelsimError(f"the network has {len(self.outputs)} outputs: use .outputs[name]")
        return next(iter(self.outputs.values()))

    def real(self, name: str | None = None) -> np.ndarray:
        """float64 values of an output (the only one if no name is given) or of a kept tensor."""
        if name is None:
            return dequantize(self.output, self.graph.tensors[self.graph.outputs[0]].params)
        for table in (self.outputs, self.tensors):
            if name in table:
                return dequantize(table[name], self.graph.tensors[name].params)
        raise AccelsimError(f"tensor {name!r} was not kept; simulate(…, keep='all') keeps every tensor")


def simulate(
    graph: IntegerGraph,
    x: Any,
    spec: str | Path | AcceleratorSpec = "edge-16x16",
    *,
    backend: str = "numba",
    keep: str = "outputs",
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Run an integer network bit for bit.

    x: inputs, batch first, in the layout of the graph's inputs; floats are quantized as the graph's profile does,
        integers are taken as codes. One array, or a tuple / mapping by name where the graph has several inputs.
    spec: preset name, YAML path or AcceleratorSpec; its accumulators are the ones emulated.
    backend: "numba", or "reference" (Python integers, the slow truth). keep: "outputs" or "all".
    progress: called with the number of samples after each batch.
    Raises AccelsimError for inputs of a wrong shape, with NaN, or codes outside their grid.
    """
    spec = load_spec(spec)
    if backend not in BACKENDS:
        raise AccelsimError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    if keep not in ("outputs", "all"):
        raise AccelsimError(f"keep must be 'outputs' or 'all', not {keep!r}")
    kernels = importlib.import_module(BACKENDS[backend])
    codes = input_codes(graph, x, kernels)
    arrays = accumulation_orders(graph, spec)
    parts: dict[str, list[np.ndarray]] = {}
    accumulators: dict[str, list[np.ndarray]] = {}
    events = dict.fromkeys(arrays, 0)
    wanted = set(graph.tensors) if keep == "all" else set(graph.outputs)

    for batch in _batches(codes):
        for name, value in batch.items():
            if name in wanted:
                parts.setdefault(name, []).append(value)
        for op, computed, accumulator in _walk(graph, batch, kernels, arrays, keep == "all"):
            if op.output in wanted:
                parts.setdefault(op.output, []).append(computed.values)
            if accumulator is not None:
                accumulators.setdefault(op.name, []).append(accumulator)
            # a read-only mask is the kernels' proof that there is no event
            if computed.events is not None and computed.events.flags.writeable:
                events[op.name] += int(np.count_nonzero(computed.events))
        if progress:
            progress(len(next(iter(batch.values()))))

    tensors = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    samples = len(next(iter(codes.values())))
    level = spec.array.accumulators
    return Run(
        graph=graph,
        spec=spec,
        backend=backend,
        outputs={name: tensors[name] for name in graph.outputs},
        events=tuple(
            LayerEvents(
                op.name,
                level.overflow,
                level.bits,
                events[op.name],
                samples * graph.tensors[op.output].elements,
            )
            for op in graph.ops
            if op.accumulates
        ),
        tensors=tensors if keep == "all" else {},
        accumulators={name: np.concatenate(chunks) for name, chunks in accumulators.items()},
    )


def accumulation_orders(graph: IntegerGraph, spec: AcceleratorSpec) -> dict[str, dict[str, Any]]:
    """MAC layer → how its sums are walked on this accelerator: all that its outputs depend on besides the graph."""
    kept = graph.__dict__.get("_accumulation_orders")
    if kept is None or kept[0] is not spec:
        nests = {op.name: op.loop_nest(graph.tensors, 1) for op in graph.ops if op.accumulates}
        orders = {name: accumulation_order(nest, spec) for name, nest in nests.items() if isinstance(nest, LoopNest)}
        kept = graph.__dict__["_accumulation_orders"] = spec, orders
    return kept[1]


def input_codes(graph: IntegerGraph, x: Any, kernels: ModuleType) -> dict[str, np.ndarray]:
    """The graph's inputs as codes, checked: shape, finiteness, range."""
    if isinstance(x, Mapping):
        given = dict(x)
    else:
        values = x if isinstance(x, tuple) else (x,)
        if len(values) != len(graph.inputs):
            raise AccelsimError(f"the network takes {len(graph.inputs)} inputs, not {len(values)}")
        given = dict(zip(graph.inputs, values, strict=True))
    if set(given) != set(graph.inputs):
        raise AccelsimError(f"inputs must be {', '.join(graph.inputs)}, not {', '.join(map(str, given))}")
    codes = {name: _codes(graph, name, as_array(given[name]), kernels) for name in graph.inputs}
    lengths = {len(value) for value in codes.values()}
    if len(lengths) > 1:
        raise AccelsimError(f"the inputs have different numbers of samples: {sorted(lengths)}")
    return codes


def as_array(x: Any) -> np.ndarray:
    """An array of whatever holds numbers; torch tensors may require gradients or be bfloat16."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        if "bfloat16" in str(x.dtype):
            x = x.float()
    try:
        array = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise AccelsimError(f"cannot read a {type(x).__name__} as numbers: {error}") from error
    if array.dtype.kind not in "iufb":
        raise AccelsimError(f"real or integer numbers are needed, not {array.dtype}")
    return array


def real_array(x: Any) -> np.ndarray:
    """Real values as float32 or float64: integers are numbers here, not codes."""
    array = as_array(x)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _codes(graph: IntegerGraph, name: str, x: np.ndarray, kernels: ModuleType) -> np.ndarray:
    info = graph.tensors[name]
    if x.ndim != len(info.shape) + 1 or x.shape[1:] != info.shape:
        expected = ", ".join(["N", *map(str, info.shape)])
        raise AccelsimError(f"input {name!r} must have shape ({expected}), not {x.shape}")
    if x.shape[0] == 0:
        raise AccelsimError(f"input {name!r} of shape {x.shape} holds no samples")
    if isinstance(info.params, AccumulatorParams):
        raise AccelsimError(f"input {name!r} has no quantizer")
    if x.dtype.kind in "iu":
        return checked_codes(name, x, info.params)
    if x.dtype.kind == "b":
        raise AccelsimError(f"input {name!r} must be real or integer numbers, not {x.dtype}")
    if not np.all(np.isfinite(x)):
        raise AccelsimError(f"input {name!r} holds NaN or infinite values")
    return quantized_input(real_array(x), info.params, graph.profile, kernels)


def quantized_input(x: np.ndarray, params: QuantParams, profile: str, kernels: ModuleType) -> np.ndarray:
    """Codes of real inputs (float32 or float64, finite) as the profile's runtime quantizes them."""
    return kernels.quantize(
        x,
        arithmetic=load_profile(profile).operator("quantize").arithmetic,
        scale=params.scale,
        zero_point=params.zero_point,
        qmin=params.qmin,
        qmax=params.qmax,
    )


def checked_codes(name: str, x: np.ndarray, params: QuantParams) -> np.ndarray:
    """Integers that an input was given, as codes in the grid's own type; AccelsimError where they are none."""
    low, high = int(x.min()), int(x.max())
    if low < params.qmin or high > params.qmax:
        raise AccelsimError(
            f"input {name!r}: integer codes {low} … {high} do not fit the grid {params.qmin} … {params.qmax}; "
            "give floats to have them quantized"
        )
    return x.astype(params.dtype)


def _batches(codes: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for start, end in batch_bounds(len(next(iter(codes.values()))), BATCH):
        yield {name: value[start:end] for name, value in codes.items()}


def batch_bounds(samples: int, size: int) -> list[tuple[int, int]]:
    """(first sample, one behind the last) of each batch of `size` samples.

    Never one sample alone behind others: a product that is summed in float32 takes another order for a single row.
    """
    starts = [start for start in range(0, samples, size) if start == 0 or samples - start > 1]
    return list(zip(starts, [*starts[1:], samples], strict=True)) if starts else []


def _walk(
    graph: IntegerGraph,
    batch: Mapping[str, np.ndarray],
    kernels: ModuleType,
    arrays: Mapping[str, Mapping[str, Any]],
    with_accumulators: bool,
) -> Iterator[tuple[Op, Computed, np.ndarray | None]]:
    """Operators in order with what each computed; tensors are dropped after their last reader.

    Of operators that run as one call, only what is read elsewhere appears.
    """
    last_reader = {name: op.name for op in graph.ops for name in op.inputs}
    alive = dict(batch)
    samples = len(next(iter(batch.values())))
    together = kernels.__name__ == BACKENDS["numba"] and not with_accumulators
    for part in execution.parts(graph, arrays, samples) if together else graph.ops:
        if isinstance(part, execution.Stretch) and part.accepts(alive, samples):
            outputs = part.run(alive, arrays)
            alive.update(outputs)
            computed_ops = [(op, Computed(outputs[op.output])) for op in part.ops if op.output in outputs]
            yield from ((op, computed, None) for op, computed in computed_ops)
            _drop(alive, part.ops, last_reader)
            continue
        for op in part.ops if isinstance(part, execution.Stretch) else (part,):
            computed, accumulator = _compute(op, alive, kernels, arrays, with_accumulators)
            alive[op.output] = computed.values
            yield op, computed, accumulator
            _drop(alive, (op,), last_reader)


def _drop(alive: dict[str, np.ndarray], ops: Iterable[Op], last_reader: Mapping[str, str]) -> None:
    """Forget the tensors that nobody reads after these operators."""
    for op in ops:
        for name in op.inputs:
            if last_reader[name] == op.name:
                alive.pop(name, None)


def _compute(
    op: Op,
    alive: Mapping[str, np.ndarray],
    kernels: ModuleType,
    arrays: Mapping[str, Mapping[str, Any]],
    with_accumulators: bool,
) -> tuple[Computed, np.ndarray | None]:
    inputs = [alive[name] for name in op.inputs]
    try:
        if with_accumulators and isinstance(op, (MacOp, BatchMatMul)):
            accumulator, events = op.accumulate(inputs, kernels, arrays[op.name])
            return Computed(op.codes(inputs, accumulator, events, kernels), events), accumulator
        computed = op.run(inputs, kernels, arrays.get(op.name, {}))
        if not inputs:  # a constant: the same for every sample
            computed = Computed(np.repeat(computed.values, len(next(iter(alive.values()))), axis=0))
        return computed, None
    except OverflowError as error:
        raise AccelsimError(f"layer {op.name!r}: the accumulator overflowed: {error}") from error
    except ValueError as error:
        raise AccelsimError(f"layer {op.name!r}: {error}") from error
