"""Random files of one operator against the installed LiteRT: reference kernels, built-in optimized ones, XNNPACK."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from litert_runtime import PROFILES, litert, ours
from single_operators import SINGLE

from accelsim.errors import AccelsimError
from accelsim.importers.tflite import lower_tflite
from accelsim.importers.tflite_file import parse_tflite

pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the optimized kernels round otherwise on other processors"
)

#: what LiteRT 2.3 has no kernel for, or one that is plainly wrong (its reference SUM has no multiplier)
ABSENT = {("elu", "tflite-reference"), ("sum", "tflite-reference"), ("sum_int16", "tflite-reference")}


def compare(name: str, profile: str, seeds: range) -> int:
    """Elements that differ over some random files."""
    differing = 0
    for seed in seeds:
        model, inputs = SINGLE[name](np.random.default_rng([seed, sum(map(ord, name))]))
        truth = litert(model, inputs, profile)
        try:
            lowered = lower_tflite(parse_tflite(model), profile)
        except AccelsimError as error:
            assert "not modeled" in str(error)
            continue
        found = ours(lowered, inputs)
        differing += sum(int((a.reshape(b.shape) != b).sum()) for a, b in zip(found, truth, strict=True))
    return differing


CASES = [(name, profile) for name in SINGLE for profile in PROFILES if (name, profile) not in ABSENT]


@pytest.mark.parametrize(("name", "profile"), CASES)
def test_operator(name: str, profile: str) -> None:
    assert compare(name, profile, range(3)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "profile"), CASES)
def test_operator_at_length(name: str, profile: str) -> None:
    assert compare(name, profile, range(3, 150)) == 0
