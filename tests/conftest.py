"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accelsim.cachedir import cache_dir


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels_stay() -> Iterator[None]:
    """Tests that take a cache folder of their own do not compile every kernel anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELSIM_KERNEL_CACHE", str(cache_dir()))
        yield
