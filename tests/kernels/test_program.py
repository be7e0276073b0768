"""Steps that follow one another without the interpreter give what the functions give one by one."""

from __future__ import annotations

import threading

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import program, simd, steps
from accelsim_kernels.program import Program, Wired
from accelsim_kernels.step import Step
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_cases import operand

BYTE = np.dtype(np.int8)
SIDE, CHANNELS, SAMPLES = 12, 24, 5
ADD = {"arithmetic": "float32", "a_scale": 0.1, "b_scale": 0.07, "scale": 0.11, "a_zero_point": 3, "zero_point": -4}


@pytest.fixture(params=simd.available())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Every instruction set of this machine in turn."""
    monkeypatch.setenv("ACCELSIM_ISA", request.param)
    simd.current.cache_clear()
    yield request.param
    simd.current.cache_clear()
    fast.set_threads(None)


def requantizer(zero_point: int, scale: float) -> dict:
    return {"scheme": "onnx-float", "scale": np.float32(scale), "zero_point": zero_point, "qmin": -128, "qmax": 127}


class Net:
    """Image to rows of channels, two convolutions, an addition, a pool, a mean and a product."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.x = operand(rng, (SAMPLES, 3, SIDE, SIDE), "int8")
        same = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "w_zero_point": 0}
        self.stem_w = fast.pack_conv2d(operand(rng, (CHANNELS, 3, 3, 3), "int8"))
        bias = rng.integers(-3000, 3000, CHANNELS)
        stem = {"x_zero_point": 3, "bias": bias, "requantize": requantizer(-4, 2**-10)}
        self.stem = {**same, "groups": 1, **stem}
        self.deep_w = fast.pack_conv2d(operand(rng, (CHANNELS, 3, 3, 1), "int8"), groups=CHANNELS)
        self.deep = {**same, "groups": CHANNELS, "x_zero_point": -4, "bias": bias, "requantize": requantizer(5, 2**-8)}
        self.pool = (3, 3), (2, 2), ((1, 1), (0, 1))
        self.mean = -4, requantizer(1, 1 / 40)
        self.head_w = fast.pack(operand(rng, (CHANNELS, 7), "int8"))
        self.head = {"a_zero_point": 1, "b_zero_point": 0, "bias": rng.integers(-50, 50, 7)}

    def one_by_one(self) -> dict[str, np.ndarray]:
        x = np.ascontiguousarray(self.x.transpose(0, 2, 3, 1))
        stem = fast.conv2d(x, self.stem_w, **self.stem)
        deep = fast.conv2d(stem, self.deep_w, **self.deep)
        both = fast.add(deep, stem, **ADD)
        pooled = fast.max_pool2d(both, window=self.pool[0], stride=self.pool[1], padding=self.pool[2])
        mean = fast.mean(pooled, arithmetic="requantize", x_zero_point=self.mean[0], requantize=self.mean[1])
        return {"both": both, "y": fast.matmul(mean.reshape(SAMPLES, CHANNELS), self.head_w, **self.head)}

    def program(self, workers: int) -> Program:
        image, shape = (1, SIDE, SIDE, 3), (1, SIDE, SIDE, CHANNELS)
        half = SIDE // 2
        window, stride, padding = self.pool
        wired = [
            (steps.interleave((1, 3, SIDE, SIDE), BYTE), ("x",), "image"),
            (steps.conv2d(image, BYTE, self.stem_w, workers, **self.stem), ("image",), "stem"),
            (steps.conv2d(shape, BYTE, self.deep_w, workers, **self.deep), ("stem",), "deep"),
            (steps.add(shape, BYTE, BYTE, **ADD), ("deep", "stem"), "both"),
            (steps.max_pool2d(shape, BYTE, (half, half), window, stride, padding, (1, 1)), ("both",), "pooled"),
            (steps.mean((1, half, half, CHANNELS), BYTE, *self.mean), ("pooled",), "mean"),
            (steps.matmul((1, CHANNELS), BYTE, self.head_w, workers, requantize=None, **self.head), ("mean",), "y"),
        ]
        whole = [Wired(*one) for one in wired]
        return Program(whole, {"x": self.x[0].nbytes}, ("both", "y"), workers)

    def tensors(self) -> dict[str, np.ndarray]:
        both = np.zeros((SAMPLES, SIDE, SIDE, CHANNELS), np.int8)
        return {"x": self.x, "both": both, "y": np.zeros((SAMPLES, 7), np.int32)}


@pytest.fixture(scope="module")
def net() -> Net:
    return Net()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_programs_equal_functions(isa: str, net: Net, workers: int) -> None:
    """Samples shared out to threads (steps cut for one), and steps shared out; outputs inside and at the end."""
    fast.set_threads(1)
    expected = net.one_by_one()
    compiled = net.program(workers)
    for threads in (1, 3) if workers == 1 else (workers,):
        fast.set_threads(threads)
        for first, end in ((0, SAMPLES), (1, 3), (4, 5)):
            got = net.tensors()
            compiled.run(got, first, end)
            for name, values in expected.items():
                np.testing.assert_array_equal(got[name][first:end], values[first:end], err_msg=name)
                assert not got[name][:first].any() and not got[name][end:].any(), "samples that were not asked for"


def test_one_program_in_several_python_threads(net: Net) -> None:
    fast.set_threads(2)
    expected, compiled = net.one_by_one(), net.program(2)
    wrong: list[str] = []

    def repeat() -> None:
        for _ in range(20):
            got = net.tensors()
            compiled.run(got, 0, SAMPLES)
            wrong.extend(name for name, values in expected.items() if not np.array_equal(got[name], values))

    callers = [threading.Thread(target=repeat) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    fast.set_threads(None)
    assert not wrong


def test_steps_are_none_where_a_function_does_more() -> None:
    rng = np.random.default_rng(1)
    w = fast.pack_conv2d(operand(rng, (4, 1, 1, 64), "int8"))
    keywords = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1, "w_zero_point": 0}
    keywords |= {"x_zero_point": 0, "bias": None, "requantize": None}
    assert isinstance(steps.conv2d((1, 4, 4, 64), BYTE, w, 1, **keywords), Step)
    for accumulator in ({"accumulator_bits": 16}, {"accumulator_bits": 16, "overflow": "saturate"}):
        assert steps.conv2d((1, 4, 4, 64), BYTE, w, 1, **keywords, **accumulator) is None, "it may have events"
    assert steps.conv2d((1, 4, 4, 64), BYTE, w, 1, **keywords, accumulator_bits=40) is None, "int64 results"
    assert steps.max_pool2d((1, 4, 4, 8), np.dtype(np.int16), (2, 2), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)) is None
    assert steps.interleave((1, 5, 4, 4), BYTE) is None
    with pytest.raises(ValueError, match="do not match"):
        steps.conv2d((1, 4, 4, 63), BYTE, w, 1, **keywords)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_tensors_that_live_together_lie_apart(data: st.DataObject) -> None:
    """Memory is used again, but never that of a tensor which is still to be read."""
    wired, names = [], ["x"]
    for number in range(data.draw(st.integers(1, 12))):
        sources = tuple(data.draw(st.lists(st.sampled_from(names[-4:]), min_size=1, max_size=2)))
        size = data.draw(st.integers(1, 300))
        step = Step(None, np.zeros(4, np.int64), (), 3, (size,), BYTE)  # type: ignore[arg-type]
        names.append(f"t{number}")
        wired.append(Wired(step, sources, names[-1]))
    outside = {"x": 1, names[-1]: 1}
    places, size = program._arrange(wired, outside)
    assert set(places) == set(names[1:-1])
    born = {one.output: number for number, one in enumerate(wired)}
    last = {name: max([born[name], *(n for n, one in enumerate(wired) if name in one.inputs)]) for name in places}
    for a in places:
        assert places[a] + wired[born[a]].step.out_bytes <= size
        for b in places:
            if a < b and born[a] <= last[b] and born[b] <= last[a]:
                ends = [places[name] + wired[born[name]].step.out_bytes for name in (a, b)]
                assert ends[0] <= places[b] or ends[1] <= places[a], (a, b)
