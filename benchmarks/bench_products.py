"""Matrix products, convolutions and whole networks beside other libraries."""

from __future__ import annotations

import pytest
from conftest import compare

from accelsim import bench

MATMUL = ("accelsim", "onnxruntime MatMulInteger", "torch _int_mm")
CONV = ("accelsim", "onnxruntime QLinearConv", "torch onednn", "torch fbgemm")


@pytest.mark.parametrize("contender", MATMUL)
@pytest.mark.parametrize("problem", bench.problems("matmul"), ids=lambda problem: problem.name)
def test_matmul(benchmark, problem, contender, threads, peak) -> None:
    compare(benchmark, problem, contender, threads, peak)


@pytest.mark.parametrize("contender", CONV)
@pytest.mark.parametrize("problem", bench.problems("layers"), ids=lambda problem: problem.name)
def test_conv(benchmark, problem, contender, threads, peak) -> None:
    compare(benchmark, problem, contender, threads, peak)


@pytest.mark.parametrize("contender", ("accelsim", "onnxruntime"))
@pytest.mark.parametrize("problem", bench.problems("networks"), ids=lambda problem: problem.name)
def test_network(benchmark, problem, contender, threads, peak) -> None:
    compare(benchmark, problem, contender, threads, peak)
