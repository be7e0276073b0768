"""assert_bit_exact: passes on equal integers, and says why they differ where they do; the pytest plugin."""

from __future__ import annotations

import numpy as np
import pytest
from accelsim_kernels import requantize

import accelsim as acs

PARAMS = {"multiplier": 1518500250, "shift": -7, "zero_point": 3}
ACC = np.arange(-4000, 4000, dtype=np.int32).reshape(-1, 8)


def codes(scheme: str) -> np.ndarray:
    return requantize(ACC, scheme, qmin=-128, qmax=127, **PARAMS)


def failure(*args, **kwargs) -> str:
    with pytest.raises(AssertionError) as caught:
        acs.assert_bit_exact(*args, **kwargs)
    return str(caught.value)


def test_equal_integers_of_any_width_pass():
    golden = codes("tflite-double")
    acs.assert_bit_exact(golden, golden.astype(np.int64))
    acs.assert_bit_exact(golden, golden, accumulators=ACC, scheme="tflite-double", **PARAMS)
    acs.assert_bit_exact(np.int8(3), 3)


def test_one_changed_element_is_counted_and_shown():
    golden = codes("tflite-double")
    got = golden.copy()
    got[10, 5] += 1
    text = failure(got, golden)
    assert "1 of 8000 elements differ" in text and f"at (10, 5): got {got[10, 5]}, golden {golden[10, 5]}" in text
    assert "give accumulators= and scheme= to see" in text
    assert "give accumulators= to see" in failure(got, golden, scheme="tflite-double", **PARAMS)


def test_the_scheme_that_would_have_matched_is_named():
    golden, got = codes("tflite-double"), codes("tflite-ruy")
    text = failure(got, golden, accumulators=ACC, scheme="tflite-double", show=2, **PARAMS)
    lines = text.splitlines()
    assert any(line.startswith("got is what tflite-ruy") for line in lines)
    assert any(line.startswith("golden is what tflite-double") for line in lines)
    for place in np.argwhere(got != golden)[:2].tolist():
        assert f"golden arithmetic at {tuple(place)} (tflite-double):" in text
    assert text.count("golden arithmetic") == 2
    assert "high half" in text and "clamped" in text and "more" in text


def test_a_requantizer_may_be_given_and_channels_are_told_apart():
    requantizer = acs.Requantizer(
        "tflite-double", {"multiplier": np.arange(8) + 2**30, "shift": np.full(8, -6)}, 0, -128, 127
    )
    golden = requantize(ACC, **requantizer.kwargs())
    got = golden.copy()
    got[7, 6] ^= 1
    text = failure(got, golden, accumulators=ACC, scheme=requantizer)
    assert "golden arithmetic at (7, 6)" in text and f"{ACC[7, 6]} * {2**30 + 6}" in text
    assert "no known scheme gives got" in text and "golden is what tflite-double" in text


def test_no_scheme_fits_noise():
    golden = codes("tflite-double")
    noise = np.random.default_rng(0).integers(-128, 128, golden.shape)
    assert "no known scheme gives got" in failure(noise, golden, accumulators=ACC, scheme="tflite-double", **PARAMS)


def test_wrong_arguments_are_refused():
    golden = codes("tflite-double")
    assert "shapes differ: got (8000,), golden (1000, 8)" in failure(golden.ravel(), golden)
    with pytest.raises(acs.AccelsimError, match="got must hold integers, not float64"):
        acs.assert_bit_exact(golden.astype(float), golden)
    with pytest.raises(acs.AccelsimError, match=r"accumulators have shape \(3,\)"):
        acs.assert_bit_exact(golden, golden, accumulators=[1, 2, 3])
    with pytest.raises(acs.AccelsimError, match="multiplier belong to a scheme"):
        acs.assert_bit_exact(golden, golden, multiplier=3)


pytest_plugins = ["pytester"]


def test_the_plugin_gives_the_fixture(pytester):
    pytester.makepyfile(
        """
        import numpy as np

        def test_same(assert_bit_exact):
            assert_bit_exact(np.arange(3), np.arange(3))

        def test_other(assert_bit_exact):
            assert_bit_exact(np.arange(3), np.array([0, 1, 3]))
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:accelsim", "-p", "accelsim.pytest_plugin")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*1 of 3 elements differ, got - golden from -1 to -1*", "*at (2,): got 2, golden 3*"])
