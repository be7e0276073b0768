"""Compile time and warm start of a process, each in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ONE_CONV = """
import numpy as np
from accelsim_kernels import conv2d
conv2d(np.zeros((1, 8, 8, 16), np.uint8), np.zeros((16, 3, 3, 16), np.int8), padding=((1, 1), (1, 1)))
"""
NETWORKS = """
from accelsim import bench
for problem in bench.problems("layers"):
    problem.ours()
"""


def start(code: str, cache: str) -> None:
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        env={**os.environ, "ACCELSIM_KERNEL_CACHE": cache},
    )


@pytest.mark.benchmark(group="start")
def test_warm_start_of_one_conv2d(benchmark, tmp_path) -> None:
    start(ONE_CONV, str(tmp_path))
    benchmark.pedantic(start, args=(ONE_CONV, str(tmp_path)), rounds=5)


@pytest.mark.benchmark(group="start")
def test_cold_compile_of_two_networks(benchmark, tmp_path) -> None:
    benchmark.pedantic(start, args=(NETWORKS, str(tmp_path)), rounds=1)
