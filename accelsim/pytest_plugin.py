"""The pytest plugin: the fixture `assert_bit_exact`, for the test suites of accelsim's users.

pytest loads this file in every run where accelsim is installed: it imports nothing else until the fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def assert_bit_exact() -> Callable[..., None]:
    """accelsim.assert_bit_exact(got, golden, *, accumulators=None, scheme=None, show=5, **params)."""
    from accelsim.proof.assertion import assert_bit_exact

    return assert_bit_exact
