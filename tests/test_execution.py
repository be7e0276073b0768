"""Operators that run as one call: the same outputs and events as one by one, whatever is mixed in between."""

from __future__ import annotations

import threading

import accelsim_kernels as kernels
import numpy as np
import pytest
from small_networks import everything

import accelsim as acs
from accelsim import execution
from accelsim.graph import IntegerGraph
from accelsim.ops.base import TensorInfo
from accelsim.ops.shape import Reshape, Transpose
from accelsim.simulator import accumulation_orders

EDGE = acs.load_spec("edge-16x16")


@pytest.fixture(scope="module", params=["onnxruntime", "tflm"])
def network(request: pytest.FixtureRequest):
    model, x = everything()
    return acs.from_torch(model, x, profile=request.param), x.numpy()


@pytest.fixture(autouse=True)
def default_threads():
    yield
    kernels.set_threads(None)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_stretches_equal_operators(network, threads: int, samples: int) -> None:
    graph, x = network
    kernels.set_threads(threads)
    apart = acs.simulate(graph, x[:samples], keep="all")
    for _ in range(3):
        together = acs.simulate(graph, x[:samples])
        np.testing.assert_array_equal(together.output, apart.output)
        assert together.events == apart.events
    parts = execution.parts(graph, accumulation_orders(graph, EDGE), samples)
    assert max(len(part.ops) for part in parts if isinstance(part, execution.Stretch)) >= 4
    assert parts is execution.parts(graph, accumulation_orders(graph, EDGE), samples)


def test_layers_that_may_overflow_run_by_themselves(network) -> None:
    graph, x = network
    spec = EDGE.replace(**{"array.accumulators.bits": 14, "array.accumulators.overflow": "saturate"})
    apart, together = acs.simulate(graph, x[:2], spec, keep="all"), acs.simulate(graph, x[:2], spec)
    np.testing.assert_array_equal(together.output, apart.output)
    assert together.events == apart.events and any(event.outputs_with_events for event in together.events)


def test_several_python_threads(network) -> None:
    graph, x = network
    kernels.set_threads(2)
    expected = acs.simulate(graph, x, keep="all").output
    wrong: list[int] = []

    def repeat(sample: int) -> None:
        for _ in range(10):
            if not np.array_equal(acs.simulate(graph, x[sample : sample + 1]).output[0], expected[sample]):
                wrong.append(sample)

    callers = [threading.Thread(target=repeat, args=(sample,)) for sample in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_results_are_not_overwritten_by_the_next_call(network) -> None:
    graph, x = network
    first = acs.simulate(graph, x[:1]).output
    kept = first.copy()
    acs.simulate(graph, x[1:2])
    np.testing.assert_array_equal(first, kept)


def test_outputs_that_share_memory() -> None:
    """A tensor and its other shape, both wanted; and an operator alone in front of a reshape."""
    params = acs.QuantParams(0.1, 0, 8, True, None)
    tensors = {
        name: TensorInfo(shape, params)
        for name, shape in {"x": (3, 4, 5), "y": (4, 5, 3), "z": (60,), "u": (2, 30)}.items()
    }
    ops = (
        Transpose("move", ("x",), "y", (1, 2, 0)),
        Reshape("flat", ("y",), "z", (60,)),
        Reshape("two", ("z",), "u", (2, 30)),
    )
    graph = IntegerGraph(ops, ("x",), ("y", "u", "z"), tensors, "tflm")
    x = np.arange(-120, 120).astype(np.int8).reshape(4, 3, 4, 5)
    run = acs.simulate(graph, x)
    moved = x.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(run.outputs["y"], moved)
    np.testing.assert_array_equal(run.outputs["z"], moved.reshape(4, 60))
    np.testing.assert_array_equal(run.outputs["u"], moved.reshape(4, 2, 30))
