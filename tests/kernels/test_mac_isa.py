"""Every instruction set and any number of threads give the same bits."""

from __future__ import annotations

import os
import threading
import time

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import _threads, simd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mac_cases import DTYPES, accumulators, biases, geometries, operand, same, zero_points


def use(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("ACCELSIM_ISA", isa)
    simd.current.cache_clear()


@pytest.fixture(autouse=True)
def restored():
    yield
    simd.current.cache_clear()
    fast.set_threads(None)


@pytest.mark.parametrize("isa", [isa for isa in simd.available() if isa != simd.available()[0]])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_slower_paths_equal_the_reference(monkeypatch: pytest.MonkeyPatch, isa: str, data: st.DataObject) -> None:
    use(monkeypatch, isa)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x_shape, w_shape, keywords = data.draw(geometries())
    x_dtype, w_dtype = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    same(
        "conv2d",
        operand(rng, x_shape, x_dtype),
        operand(rng, w_shape, w_dtype),
        x_zero_point=zero_points(data.draw, rng, x_dtype, None),
        w_zero_point=zero_points(data.draw, rng, w_dtype, w_shape[0]),
        bias=biases(data.draw, rng, w_shape[0]),
        **keywords,
        **data.draw(accumulators()),
    )


def test_unknown_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "sse9")
    with pytest.raises(ValueError, match="ACCELSIM_ISA='sse9': this machine has"):
        fast.matmul(np.zeros((1, 1), np.int8), np.zeros((1, 1), np.int8))


LAYERS = [
    ((1, 30, 30, 32), (70, 3, 3, 32), {"padding": ((1, 1), (1, 1))}),
    ((2, 30, 30, 48), (48, 3, 3, 1), {"groups": 48}),
    ((1, 7, 7, 256), (300, 1, 1, 256), {}),
]


@pytest.mark.parametrize("x_shape, w_shape, keywords", LAYERS)
@pytest.mark.parametrize(
    "accumulator",
    [
        {},
        {"accumulator_bits": 16, "overflow": "saturate", "return_events": True},
        {"accumulator_bits": 18, "overflow": "saturate", "return_events": True},
        {"levels": [(14, "wrap", 8), (20, "saturate", None)]},
    ],
)
def test_threads_do_not_matter(x_shape: tuple, w_shape: tuple, keywords: dict, accumulator: dict) -> None:
    rng = np.random.default_rng(7)
    x, w = operand(rng, x_shape, "uint8"), operand(rng, w_shape, "int8")
    results = []
    for threads in (1, 2, 3, 7):
        fast.set_threads(threads)
        results.append(fast.conv2d(x, w, **keywords, **accumulator))
    for other in results[1:]:
        np.testing.assert_equal(other, results[0])


def test_many_python_threads_at_once() -> None:
    fast.set_threads(3)
    rng = np.random.default_rng(8)
    problems = []
    for m in (40, 90, 200, 300):
        a, b = operand(rng, (m, 256), "uint8"), operand(rng, (256, 200), "int8")
        problems.append((a, fast.pack(b), a.astype(np.int32) @ b.astype(np.int32)))
    wrong: list[int] = []

    def work(number: int) -> None:
        a, packed, expected = problems[number % len(problems)]
        for _ in range(60):
            if not np.array_equal(fast.matmul(a, packed), expected):
                wrong.append(number)

    team = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert wrong == []


def test_shares_that_no_helper_takes() -> None:
    """The general walk cuts its rows beforehand: with all helpers busy elsewhere, every share must still be run."""
    fast.set_threads(9)
    rng = np.random.default_rng(11)
    b = fast.pack(operand(rng, (128, 64), "int8"))
    levels = [(14, "saturate", 8), (20, "saturate", None)]
    # results differ from call to call, so that what an earlier one left in memory is not taken for an answer
    inputs = [operand(rng, (40, 128), "uint8") for _ in range(5)]
    expected = [fast.matmul(a, b, levels=levels) for a in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(15):
            which = (number + turn) % len(inputs)
            if not np.array_equal(fast.matmul(inputs[which], b, levels=levels), expected[which]):
                wrong.append(number)

    team = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="needs two cores")
def test_helpers_wake_away_from_the_core_of_their_caller() -> None:
    a, b = np.ones((256, 256), np.int8), np.ones((256, 256), np.int8)
    fast.set_threads(2)
    for _ in range(3):
        fast.matmul(a, b)
        time.sleep(0.02)  # the helper falls asleep
    (helper,) = [thread for thread in threading.enumerate() if thread.name == "accelsim-kernel-0"]
    assert len(os.sched_getaffinity(helper.native_id)) == len(os.sched_getaffinity(0)) - 1


def test_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="threads must lie in"):
        fast.set_threads(0)
    fast.set_threads(5)
    assert _threads.count() == 5
    fast.set_threads(None)
    monkeypatch.setenv("ACCELSIM_THREADS", "many")
    _threads._default.cache_clear()
    with pytest.raises(ValueError, match="ACCELSIM_THREADS must be a number"):
        _threads.count()
    monkeypatch.undo()
    _threads._default.cache_clear()
