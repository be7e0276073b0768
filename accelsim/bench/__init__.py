"""Kernels against other libraries on the same operands: checked equal, then timed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from accelsim.bench.activity import DATAFLOWS, ActivityProblem
from accelsim.bench.limits import limit_peers, why_unlimited
from accelsim.bench.networks import BATCHES, NETWORKS, NetworkProblem, network_peers
from accelsim.bench.peers import conv_peers, matmul_peers
from accelsim.bench.problems import ConvProblem, MatmulProblem
from accelsim.bench.saturation import FED, FED_BITS, SERIAL_BITS, FedProblem, SerialProblem
from accelsim.bench.shapes import CONVS, MATMULS, SIX
from accelsim.bench.timing import peak_gmacs, side_by_side
from accelsim.errors import AccelsimError

SUITES = ("matmul", "conv", "layers", "networks", "saturation", "activity", "all")
OwnProblem = SerialProblem | FedProblem | ActivityProblem
Problem = MatmulProblem | ConvProblem | NetworkProblem | OwnProblem
KINDS = {
    MatmulProblem: "matmul",
    ConvProblem: "conv",
    NetworkProblem: "network",
    SerialProblem: "serial saturation",
    FedProblem: "saturation on real activations",
    ActivityProblem: "activity",
}
#: outputs of a peer that may differ: it rounds in another order, or saturates 16-bit sums
_DIFFERENT = 0.01


def weight_bits() -> int:
    """Bits of the weights of products and convolutions: 7 where some peers saturate sums of two products to 16 bits."""
    from accelsim_kernels import simd

    return 8 if simd.current() == "avx512vnni" else 7


def problems(suite: str) -> list[Problem]:
    """The problems of a suite: products, six convolutions, all of two networks, the networks whole, or all of these.

    Two have no peers: "saturation" times saturating accumulators and "activity" the counting of toggles, beside our
    own exact product.
    Weights of single layers have weight_bits().
    """
    bits = weight_bits()
    if suite == "matmul":
        return [MatmulProblem(shape, dtype, bits) for shape in MATMULS for dtype in ("uint8", "int8")]
    if suite in ("conv", "layers"):
        return [ConvProblem(shape, bits) for shape in (SIX if suite == "conv" else CONVS)]
    if suite == "networks":
        return [NetworkProblem(network, batch) for network in NETWORKS for batch in BATCHES]
    if suite == "saturation":
        fed: list[Problem] = [FedProblem(network, bits) for network in FED for bits in FED_BITS]
        return [SerialProblem(bits) for bits in SERIAL_BITS] + fed
    if suite == "activity":
        whole: list[Problem] = [ActivityProblem(f"all {len(CONVS)} layers", CONVS, dataflow) for dataflow in DATAFLOWS]
        return whole + [ActivityProblem(shape.name, (shape,), DATAFLOWS[0]) for shape in CONVS]
    if suite == "all":
        return problems("matmul") + problems("layers") + problems("networks")
    raise AccelsimError(f"unknown suite {suite!r}: choose from {', '.join(SUITES)}")


def contenders(
    problem: Problem,
    threads: int,
    own: Callable[..., np.ndarray] | None = None,
) -> tuple[dict[str, Callable[[], np.ndarray]], dict[str, str]]:
    """Functions to time by name, ours first, and by name why a peer is left out.

    own: a user's kernel, called as own(a, b) or own(x, w, **keywords of conv2d); AccelsimError if it differs.
    """
    if isinstance(problem, OwnProblem):
        return problem.contenders(), {}
    expected = problem.ours()
    limit_peers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(problem, MatmulProblem):
            peers = matmul_peers(problem, threads)
        elif isinstance(problem, ConvProblem):
            peers = conv_peers(problem, threads)
        else:
            peers = network_peers(problem, threads)
    runs: dict[str, Callable[[], np.ndarray]] = {"accelsim": problem.ours}
    left_out = {}
    for name, run in peers.items():
        unlimited = why_unlimited(name)
        if unlimited:
            left_out[name] = unlimited
            continue
        # one code that a peer rounds otherwise reaches every output of a network, a little
        slack = float(np.ptp(expected)) / 100 if isinstance(problem, NetworkProblem) else 0.0
        differs = float(np.mean(np.abs(run().astype(np.int64) - expected) > slack))
        if differs > _DIFFERENT:
            left_out[name] = f"{differs:.1%} of its outputs differ"
        else:
            runs[name] = run
    if own is not None and not isinstance(problem, NetworkProblem):
        run = _bound(problem, own)
        if not np.array_equal(run(), expected):
            raise AccelsimError(f"{problem.name}: the result of your kernel differs from the exact one")
        runs["yours"] = run
    return runs, left_out


def _bound(problem: Problem, own: Callable[..., np.ndarray]) -> Callable[[], np.ndarray]:
    if isinstance(problem, MatmulProblem):
        return lambda: own(problem.a, problem.b)
    if isinstance(problem, ConvProblem):
        return lambda: own(problem.x, problem.w, **problem.keywords)
    raise AccelsimError(f"{problem.name}: a kernel of your own computes products or convolutions; choose such a suite")


def load_kernel(name: str) -> Callable[..., np.ndarray]:
    """The function that "module:function" names."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise AccelsimError(f"--kernel {name!r}: give module:function, importable from here ({error})") from error


def measure(
    suite: str,
    threads: int = 1,
    own: Callable[..., np.ndarray] | None = None,
    rounds: int = 12,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> dict[str, Any]:
    """Time a suite: machine, peak and one row per problem, with milliseconds and GMAC/s by contender."""
    from accelsim_kernels import set_threads, simd

    set_threads(threads)
    try:
        peak = peak_gmacs()
        rows = list(_rows(problems(suite), threads, own, rounds, peak, progress))
    finally:
        set_threads(None)
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    return {
        "suite": suite,
        "isa": simd.current(),
        "threads": threads,
        "weight_bits": weight_bits(),
        "peak_gmacs_per_core": peak,
        "rows": rows,
        "geometric_mean_ratio": _geometric_mean(ratios) if ratios else None,
        "kinds": _by_kind(rows),
    }


def _geometric_mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def _by_kind(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For products, convolutions and networks: the mean ratio, and the case where we are slowest."""
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind and row["ratio"] is not None]
        if own:
            lowest = min(own, key=lambda row: row["ratio"])
            mean = _geometric_mean([row["ratio"] for row in own])
            found[kind] = {"geometric_mean_ratio": mean, "lowest_ratio": lowest["ratio"], "lowest": lowest["case"]}
    return found


def _rows(
    suite: list[Problem],
    threads: int,
    own: Callable[..., np.ndarray] | None,
    rounds: int,
    peak: float,
    progress: Callable[[int, int], None],
) -> Iterable[dict[str, Any]]:
    for number, problem in enumerate(suite):
        progress(number, len(suite))
        runs, left_out = contenders(problem, threads, own)
        times, medians = side_by_side(runs, rounds, threads)
        ours = times["accelsim"]
        others = [seconds for name, seconds in times.items() if name not in ("accelsim", "yours")]
        yield {
            "case": problem.name,
            "kind": KINDS[type(problem)],
            "macs": problem.macs,
            "milliseconds": {name: 1e3 * seconds for name, seconds in times.items()},
            "median_milliseconds": {name: 1e3 * seconds for name, seconds in medians.items()},
            "gmacs": {name: problem.macs / seconds / 1e9 for name, seconds in times.items()},
            "share_of_peak": problem.macs / ours / 1e9 / peak / threads,
            "ratio": min(others) / ours if others else None,
            "left_out": left_out,
        }
    progress(len(suite), len(suite))
