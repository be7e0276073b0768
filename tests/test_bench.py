"""What `accelsim bench` compares: results are checked before anything is timed, and limits hold or are named."""

from __future__ import annotations

import os
import sys

import accelsim_kernels
import numpy as np
import pytest
from accelsim_kernels import simd
from accelsim_kernels._jit import address, kernel
from accelsim_kernels.simd_peak import shape

from accelsim import bench
from accelsim.bench import limits
from accelsim.bench.problems import ConvProblem, MatmulProblem
from accelsim.bench.shapes import Conv, Matmul
from accelsim.errors import AccelsimError

PRODUCT = MatmulProblem(Matmul(6, 20, 17), "uint8")
LAYER = ConvProblem(Conv(6, 8, 5, 3, 2))


def one_more(*operands: np.ndarray, **keywords: object) -> np.ndarray:
    run = accelsim_kernels.matmul if operands[0].ndim == 2 else accelsim_kernels.conv2d
    return run(*operands, **keywords) + np.uint8(1)


@pytest.mark.parametrize("problem", [PRODUCT, LAYER], ids=["product", "layer"])
def test_a_kernel_of_ones_own_is_checked_before_it_is_timed(problem) -> None:
    own = accelsim_kernels.matmul if problem is PRODUCT else accelsim_kernels.conv2d
    runs, _ = bench.contenders(problem, 1, own)
    np.testing.assert_array_equal(runs["yours"](), runs["accelsim"]())
    with pytest.raises(AccelsimError, match="result of your kernel differs"):
        bench.contenders(problem, 1, one_more)


@pytest.mark.parametrize("problem", [PRODUCT, LAYER], ids=["product", "layer"])
def test_peers_that_differ_are_left_out(problem, monkeypatch) -> None:
    def peers(problem: object, threads: int) -> dict:
        return {"good": problem.ours, "bad": lambda: problem.ours() + np.uint8(1)}

    monkeypatch.setattr(bench, "matmul_peers", peers)
    monkeypatch.setattr(bench, "conv_peers", peers)
    runs, left_out = bench.contenders(problem, 1)
    assert set(runs) == {"accelsim", "good"}
    assert left_out == {"bad": "100.0% of its outputs differ"}


@pytest.mark.parametrize("name", ["nowhere:f", "json:nothing", "json", ":"])
def test_kernels_that_are_not_there_are_named(name: str) -> None:
    with pytest.raises(AccelsimError, match=f"--kernel '{name}'"):
        bench.load_kernel(name)


def test_peers_keep_to_the_limit_or_are_left_out(monkeypatch) -> None:
    monkeypatch.setattr(simd, "available", lambda: ("avx512vnni", "avx2", "portable"))
    monkeypatch.setattr(simd, "current", lambda: "avx512vnni")
    assert bench.weight_bits() == 8
    assert limits.why_unlimited("onnxruntime MatMulInteger") is None
    monkeypatch.setattr(simd, "current", lambda: "avx2")
    assert bench.weight_bits() == 7
    assert limits.why_unlimited("onnxruntime MatMulInteger") == "it cannot be limited to avx2"
    monkeypatch.setattr(os, "environ", {})
    assert limits.why_unlimited("torch _int_mm") == "torch was loaded before it could be limited to avx2"
    monkeypatch.setitem(sys.modules, "torch", None)
    limits.limit_peers()
    assert os.environ == {}
    monkeypatch.delitem(sys.modules, "torch")
    limits.limit_peers()
    assert limits.why_unlimited("torch _int_mm") is None
    monkeypatch.setattr(simd, "current", lambda: "portable")
    assert limits.why_unlimited("torch _int_mm") == "it cannot be limited to portable"


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("isa", simd.available())
def test_the_peak_does_the_products_that_it_counts(isa: str, narrow: bool) -> None:
    engine, steps = simd.engine(isa, narrow), 7
    rows, columns = shape(engine)
    operands = np.arange(1, 1 + (rows + columns) * engine.lanes, dtype=np.int32).reshape(rows + columns, engine.lanes)
    given = operands.copy()
    kernel("simd_peak", "peak", engine.name).call(steps, address(given), 0)
    parts = [operands.view(kind).reshape(rows + columns, engine.lanes, -1).astype(np.int64)
             for kind in ((np.uint8, np.int8) if engine.item_bytes == 1 else (np.int16, np.int16))]  # fmt: skip
    found = np.zeros(engine.lanes, np.int64)
    for index, (i, j) in enumerate((i, j) for i in range(rows) for j in range(rows, rows + columns)):
        found ^= steps * (parts[0][i] * parts[1][j]).sum(axis=1) + index
    np.testing.assert_array_equal(given[0], found)
    np.testing.assert_array_equal(given[1:], operands[1:])
