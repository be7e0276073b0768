"""CMSIS-NN's own unit-test vectors, bit for bit."""

from __future__ import annotations

import accelsim_kernels as fast
import accelsim_kernels.reference as slow
import numpy as np
import pytest
from cmsis_cases import INDEX, RUN, expected, load
from shared_material import needs_shared

CASES = [case for case in INDEX if case["op"] in RUN]
SMALL = [case for case in CASES if case["cfg"].get("dst_size", 0) < 300]
pytestmark = needs_shared


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"].removesuffix(".npz"))
def test_bit_exact(case):
    arrays = load(case)
    result, truth = RUN[case["op"]](fast, case, arrays), expected(arrays)
    assert result.dtype == truth.dtype
    np.testing.assert_array_equal(result.reshape(-1), truth.reshape(-1))


@pytest.mark.parametrize("case", SMALL[::3], ids=lambda case: case["file"].removesuffix(".npz"))
def test_bit_exact_in_python_integers(case):
    arrays = load(case)
    result = RUN[case["op"]](slow, case, arrays)
    np.testing.assert_array_equal(result.reshape(-1), expected(arrays).reshape(-1))
