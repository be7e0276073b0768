"""Whole networks of real structure: bit for bit as the reference, and as ONNX Runtime where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import accelsim as acs
from accelsim.bench.networks import NETWORKS, NetworkProblem, network_peers

SIDE = 32


@pytest.mark.slow
def test_mobilenet_equals_the_reference() -> None:
    problem = NetworkProblem("mobilenet_v2", 1, SIDE)
    expected = acs.simulate(problem.graph, problem.codes, backend="reference", keep="all")
    got = acs.simulate(problem.graph, problem.codes, keep="all")
    for name, values in expected.tensors.items():
        np.testing.assert_array_equal(got.tensors[name], values, err_msg=name)
    assert got.events == expected.events
    np.testing.assert_array_equal(problem.ours(), expected.output)


@pytest.mark.slow
def test_resnet_equals_the_reference() -> None:
    problem = NetworkProblem("resnet18", 1, SIDE)
    np.testing.assert_array_equal(
        problem.ours(), acs.simulate(problem.graph, problem.codes, backend="reference").output
    )


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[pytest.mark.slow] * (name == "resnet18")) for name in NETWORKS]
)
def test_onnx_runtime_gives_the_same_integers(network: str) -> None:
    """From another implementation: every code of two images, all convolutions as QLinearConv."""
    pytest.importorskip("onnxruntime")
    problem = NetworkProblem(network, 2, 64)
    expected = problem.ours()
    assert len(np.unique(expected)) > 500
    np.testing.assert_array_equal(network_peers(problem, 1)["onnxruntime"](), expected)
