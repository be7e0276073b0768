"""A graph prepared for the fast kernels: as many operators as can be follow one another without the interpreter."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.graph import IntegerGraph
from accelsim.ops.base import Op
from accelsim.ops.mac import Linear
from accelsim.ops.shape import Reshape
from accelsim.quant import QuantParams

if TYPE_CHECKING:
    from accelsim_kernels.program import Program
    from accelsim_kernels.step import Step

#: preparations that are kept for a graph: specs, thread counts, one sample or several
_KEPT = 8
_prepared: weakref.WeakKeyDictionary[IntegerGraph, list[tuple[object, tuple, list[Part]]]] = weakref.WeakKeyDictionary()


def parts(
    graph: IntegerGraph, arrays: Mapping[str, Mapping[str, Any]], samples: int, every_tensor: bool = False
) -> list[Part]:
    """The graph's operators in order: stretches that run as one call, and operators by themselves.

    arrays: MAC layer -> its accumulator; kept preparations are found by this very object. Only whether there is more
    than one sample matters. every_tensor: a stretch then gives what each of its operators defines.
    """
    from accelsim_kernels.mac_route import setting

    how = (*setting(), samples > 1, every_tensor)
    kept = _prepared.setdefault(graph, [])
    for one, other, ready in kept:
        if one is arrays and other == how:
            return ready
    ready = list(_parts(graph, arrays, how[1], samples > 1, every_tensor))
    kept[:] = [*kept[-_KEPT + 1 :], (arrays, how, ready)]
    return ready


class Stretch:
    """Operators that one call computes, none of whose accumulators can have an event."""

    def __init__(
        self,
        ops: Sequence[Op],
        steps: Sequence[Step | None],
        dtypes: Mapping[str, np.dtype],
        graph: IntegerGraph,
        threads: int,
        every_tensor: bool = False,
    ) -> None:
        self.ops = ops
        self._steps, self._dtypes, self._graph, self._threads = steps, dtypes, graph, threads
        #: names of one tensor, by the operators that only reshape
        self._root: dict[str, str] = {}
        for op in ops:
            if isinstance(op, Reshape):
                self._root[op.output] = self._root.get(op.inputs[0], op.inputs[0])
        inside = {op.output for op in ops}
        self.inputs = tuple(dict.fromkeys(name for op in ops for name in op.inputs if name not in inside))
        after = {name for op in graph.ops if op not in ops for name in op.inputs} | set(graph.outputs)
        self.outputs = tuple(op.output for op in ops if every_tensor or op.output in after)
        self._programs: dict[int, Program] = {}

    def root(self, name: str) -> str:
        return self._root.get(name, name)

    def accepts(self, tensors: Mapping[str, np.ndarray], samples: int) -> bool:
        """Whether the inputs have the dtypes that it was prepared for, and every sample its own."""
        given = [(tensors[name], self._dtypes[name]) for name in self.inputs]
        return all(x.dtype == dtype and len(x) == samples for x, dtype in given)

    def run(
        self,
        tensors: Mapping[str, np.ndarray],
        arrays: Mapping[str, Mapping[str, Any]],
        room: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs, from arrays that hold the inputs, batch first.

        room: arrays by tensor that outputs may be written to; it keeps those that are made here.
        """
        given = {name: np.ascontiguousarray(tensors[name]) for name in self.inputs}
        samples = len(given[self.inputs[0]])
        outputs = {self.root(name) for name in self.outputs}
        for name in outputs - set(given):
            shape, dtype = (samples, *self._graph.tensors[name].shape), self._dtypes[name]
            kept = None if room is None else room.get(name)
            fits = kept is not None and kept.shape == shape and kept.dtype == dtype
            given[name] = kept if fits else np.empty(shape, dtype)
            if room is not None:
                room[name] = given[name]
        # whole samples to every thread; the rest together
        alone = samples - samples % self._threads
        if alone:
            self._program(1, arrays).run(given, 0, alone)
        if alone < samples:
            self._program(self._threads, arrays).run(given, alone, samples)
        return {
            name: given[self.root(name)].reshape(samples, *self._graph.tensors[name].shape) for name in self.outputs
        }

    def _program(self, workers: int, arrays: Mapping[str, Mapping[str, Any]]) -> Program:
        from accelsim_kernels.program import Program, Wired

        if workers not in self._programs:
            tensors, wired = self._graph.tensors, []
            for op, step in zip(self.ops, self._steps, strict=True):
                if step is None:
                    continue
                if workers > 1:
                    step = _step(op, self._graph, arrays, self._dtypes, workers)
                wired.append(Wired(step, tuple([self.root(name) for name in op.inputs]), op.output))
            inputs = {name: tensors[name].elements * self._dtypes[name].itemsize for name in self.inputs}
            self._programs[workers] = Program(wired, inputs, [self.root(name) for name in self.outputs], workers)
        return self._programs[workers]


Part = Op | Stretch


def _parts(
    graph: IntegerGraph, arrays: Mapping[str, Mapping[str, Any]], threads: int, several: bool, every_tensor: bool
) -> Iterator[Part]:
    ops: list[Op] = []
    steps: list[Step | None] = []
    # what operators by themselves give is not known for certain before they run: see Stretch.accepts
    dtypes = {name: np.dtype(t.params.dtype) for name, t in graph.tensors.items() if isinstance(t.params, QuantParams)}
    for op in graph.ops:
        # a fully connected layer reads its weights once for all samples
        step = None if several and isinstance(op, Linear) else _step(op, graph, arrays, dtypes, 1)
        if step is not None or (isinstance(op, Reshape) and ops):
            ops.append(op)
            steps.append(step)
            dtypes[op.output] = dtypes[op.inputs[0]] if step is None else step.dtype
            continue
        if ops:
            yield Stretch(ops, steps, dtypes, graph, threads, every_tensor)
            ops, steps = [], []
        yield op
    if ops:
        yield Stretch(ops, steps, dtypes, graph, threads, every_tensor)


def _step(
    op: Op,
    graph: IntegerGraph,
    arrays: Mapping[str, Mapping[str, Any]],
    dtypes: Mapping[str, np.dtype],
    workers: int,
) -> Step | None:
    """The operator on one sample as a step; None where it has none."""
    if any(name not in dtypes for name in op.inputs):
        return None
    shapes = [(1, *graph.tensors[name].shape) for name in op.inputs]
    try:
        return op.step(shapes, [dtypes[name] for name in op.inputs], arrays.get(op.name, {}), workers)
    except ValueError:  # run() says what is wrong
        return None
