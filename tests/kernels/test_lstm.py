"""The LSTM step: fast equals reference from one step to the next; the sigmoid's table; what is refused."""

from __future__ import annotations

import zlib

import accelsim_kernels as fast
import accelsim_kernels.reference as slow
import numpy as np
import pytest
from accelsim_kernels.reference.activations import _sigmoid_point
from accelsim_kernels.tables import SIGMOID
from hypothesis import given, settings
from hypothesis import strategies as st

GATES = ("input", "forget", "cell", "output")


def layer(rng, dtype, units=3, size=5) -> dict:
    def scaling(shift):
        scheme = "cmsis-nn" if dtype == np.int8 else "cmsis-nn-s64"
        top = 2**31 if dtype == np.int8 else 2**15
        return {"scheme": scheme, "multiplier": int(rng.integers(top // 2, top)), "shift": shift}

    narrow = {"scheme": "cmsis-nn", "multiplier": int(rng.integers(2**30, 2**31))}
    bits = 8 * np.dtype(dtype).itemsize
    shift = -3 if dtype == np.int8 else -9
    return {
        "gates": {
            g: {"input_weights": rng.integers(-128, 128, (units, size)).astype(np.int8),
                "hidden_weights": rng.integers(-128, 128, (units, units)).astype(np.int8),
                "bias": rng.integers(-(2**12), 2**12, units), "input": scaling(shift), "hidden": scaling(shift)}
            for g in GATES
        },
        "x_zero_point": int(rng.integers(-20, 20)) if dtype == np.int8 else 0,
        "forget_to_cell": {**narrow, "shift": -14},
        "input_to_cell": {**narrow, "shift": int(rng.integers(-20, -13))},
        "output": {**narrow, "shift": -21 if dtype == np.int8 else -15, "zero_point": 7 if dtype == np.int8 else 0,
                   "qmin": -(2 ** (bits - 1)), "qmax": 2 ** (bits - 1) - 1},
        "cell_shift": int(rng.integers(-3, 4)),
        "cell_clip": int(rng.choice([2**15 - 1, 9000])),
    }  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from([np.int8, np.int16]))
def test_steps_equal_the_reference(seed, dtype):
    rng = np.random.default_rng(seed)
    how = layer(rng, dtype)
    info = np.iinfo(dtype)
    hidden, cell = np.full((2, 3), how["output"]["zero_point"], dtype), np.zeros((2, 3), np.int16)
    for step in range(4):
        x = rng.integers(info.min, info.max + 1, (2, 5)).astype(dtype)
        x[step % 2] = rng.choice([info.min, info.max])
        found, truth = fast.lstm(x, hidden, cell, **how), slow.lstm(x, hidden, cell, **how)
        for a, b in zip(found, truth, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        hidden, cell = found
    assert (np.abs(cell.astype(int)) <= how["cell_clip"]).all()


def test_the_sigmoid_table_is_the_runtimes():
    # checksum of TensorFlow Lite's table; plain rounding of the sigmoid differs from it at entries 4, 8, 14, …
    assert zlib.crc32(SIGMOID.astype("<u2").tobytes()) == 3092212404
    assert SIGMOID[[0, 4, 8, 254, 255]].tolist() == [32768, 35493, 38180, 65534, 65535]
    assert [_sigmoid_point(i) for i in range(256)] == SIGMOID.tolist()


def test_wrong_use():
    how = layer(np.random.default_rng(0), np.int8)
    x, hidden, cell = np.zeros((2, 5), np.int8), np.zeros((2, 3), np.int8), np.zeros((2, 3), np.int16)
    gates = how["gates"]
    short = {**gates, "cell": {**gates["cell"], "hidden_weights": np.zeros((3, 2), np.int8)}}
    for words, arguments, changes in (
        ("gates must be input, forget, cell, output", (x, hidden, cell), {"gates": {"input": {}}}),
        ("must both be int8 or int16", (x, hidden.astype(np.int16), cell), {}),
        ("cell int16", (x, hidden, cell.astype(np.int32)), {}),
        (r"states of shape \(2, 3\)", (x[:1], hidden, cell), {}),
        (r"hidden_weights of gate cell has shape \(3, 2\), not \(3, 3\)", (x, hidden, cell), {"gates": short}),
    ):
        for kernels in (fast, slow):
            with pytest.raises(ValueError, match=words):
                kernels.lstm(*arguments, **{**how, **changes})
