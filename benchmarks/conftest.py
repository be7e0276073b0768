"""Shared pieces of the benchmarks. Run with `make bench`, or `pytest benchmarks --benchmark-only -k matmul`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accelsim import bench
from accelsim.bench.timing import peak_gmacs


@pytest.fixture(scope="session")
def peak() -> float:
    """Billions of MAC per second and core of dot products on registers."""
    return peak_gmacs()


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    from accelsim_kernels import set_threads

    set_threads(request.param)
    yield request.param
    set_threads(None)


def compare(benchmark, problem, contender: str, threads: int, peak: float) -> None:
    """Time one contender of a problem, after every contender's result was checked."""
    runs, left_out = bench.contenders(problem, threads)
    if contender not in runs:
        pytest.skip(left_out.get(contender, "not installed, or not for these dtypes"))
    benchmark.group = f"{problem.name}, {threads} thread(s)"
    benchmark(runs[contender])
    gmacs = problem.macs / benchmark.stats.stats.min / 1e9
    benchmark.extra_info.update(gmacs=gmacs, share_of_peak=gmacs / peak / threads)
