"""What narrow accumulators, events and activity cost, beside the exact product."""

from __future__ import annotations

import numpy as np
import pytest
from accelsim_kernels import matmul, pack

from accelsim.bench import problems
from accelsim.bench.problems import MatmulProblem
from accelsim.bench.shapes import Matmul

ACCUMULATORS = {
    "exact": {},
    **{f"saturate {bits}": {"accumulator_bits": bits, "overflow": "saturate"} for bits in (12, 16, 17, 20, 24)},
    "saturate 16 events": {"accumulator_bits": 16, "overflow": "saturate", "return_events": True},
    "wrap 20 events": {"accumulator_bits": 20, "return_events": True},
    "tree:4 20": {"accumulator_bits": 20, "overflow": "saturate", "order": "tree:4"},
    "16 then 32": {"levels": [(16, "saturate", 64), (32, "wrap", None)]},
}


def relu_fed(rows: int, depth: int) -> np.ndarray:
    """Activations as after a ReLU: half zeros, the rest half of a normal distribution."""
    rng = np.random.default_rng(1)
    values = np.abs(rng.normal(0, 40, (rows, depth))) * (rng.random((rows, depth)) < 0.5)
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.benchmark(group="accumulators, uniform 512x512x512")
@pytest.mark.parametrize("name", ACCUMULATORS)
def test_uniform(benchmark, name, peak) -> None:
    problem = MatmulProblem(Matmul(512, 512, 512), "uint8")
    benchmark(matmul, problem.a, problem.packed, **ACCUMULATORS[name])
    benchmark.extra_info["gmacs"] = problem.shape.macs / benchmark.stats.stats.min / 1e9


@pytest.mark.benchmark(group="accumulators, after a ReLU 784x1152x128")
@pytest.mark.parametrize("name", ACCUMULATORS)
def test_relu_fed(benchmark, name, peak) -> None:
    rng = np.random.default_rng(2)
    packed = pack(np.clip(rng.normal(0, 30, (1152, 128)), -127, 127).astype(np.int8))
    benchmark(matmul, relu_fed(784, 1152), packed, **ACCUMULATORS[name])
    benchmark.extra_info["gmacs"] = 784 * 1152 * 128 / benchmark.stats.stats.min / 1e9


@pytest.mark.parametrize("contender", ["accelsim", "the layer"])
@pytest.mark.parametrize("problem", problems("activity"), ids=lambda problem: problem.name)
def test_activity(benchmark, problem, contender, threads) -> None:
    benchmark.group = f"{problem.name}, {threads} thread(s)"
    benchmark(problem.contenders()[contender])
