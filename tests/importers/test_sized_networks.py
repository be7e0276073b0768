"""MobileNetV2 and ResNet-18 beside LiteRT: every tensor of every layer, under its three kinds of kernels."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from sized_networks import NETWORKS
from tflite_writer import Model

import accelsim as acs

pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the optimized kernels round otherwise on other processors"
)
RUNTIMES = ("litert-ref", "litert-ruy", "litert")


def equal(tmp_path, name: str, side: int, seed: int, samples: int = 1) -> None:
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(NETWORKS[name](side, classes=100, seed=seed))
    x = np.random.default_rng(seed).integers(-128, 128, (samples, side, side, 3)).astype(np.int8)
    for runtime in RUNTIMES:
        found = acs.replay(path, x, runtime)
        assert found.equal, str(found)
        assert len(found.operators) > 30
        assert all(op.tensors for op in found.operators)


@pytest.mark.parametrize("name", NETWORKS)
def test_small_images(name, tmp_path) -> None:
    equal(tmp_path, name, 32, 1, samples=2)


def test_what_would_end_the_process_is_refused(tmp_path) -> None:
    """Flat logits of many classes: an assertion in LiteRT's reference softmax."""
    path = tmp_path / "flat.tflite"
    m = Model()
    x, y = m.tensor("x", [1, 600], scale=0.01), m.tensor("y", [1, 600], scale=1 / 256, zero_point=-128)
    m.operator("SOFTMAX", [x], [y], "SoftmaxOptions", Beta=1.0)
    path.write_bytes(m.build([x], [y]))
    flat = np.zeros((2, 600), np.int8)
    assert acs.replay(path, flat, "litert-ruy").equal
    with pytest.raises(acs.AccelsimError, match="ends the process"):
        acs.replay(path, flat, "litert-ref")
    flat[:, 0] = 127
    flat[:, 1:] = -128
    assert acs.replay(path, flat, "litert-ref").equal


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("side", [96, 161, 224])
@pytest.mark.parametrize("name", NETWORKS)
def test_images_of_any_size(name, side, seed, tmp_path) -> None:
    equal(tmp_path, name, side, seed)
