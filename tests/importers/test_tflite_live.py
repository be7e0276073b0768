"""Random files of one operator against the installed LiteRT: reference kernels, built-in optimized ones, XNNPACK."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from litert_runtime import PROFILES, litert, ours
from single_operators import SINGLE
from tflite_writer import Model

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


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
@pytest.mark.parametrize("other", [(1, 5, 7, 29), (1, 1, 1, 1), (1, 5, 7, 1), (1, 1, 1, 29), (1, 5, 1, 29)])
def test_additions_whose_sums_nearly_tie(other, kind) -> None:
    """Scales a float32 step from simple ratios: where an operand is rounded, and how, decides the last bit."""
    rng = np.random.default_rng(0)
    unit = 1 if kind == "INT8" else 1 / 256
    for scales in ((48, 64, 48), (64, 48, 48), (48, 80, 96), (112, 48, 96), (48, 768, 48)):
        m = Model()
        a, b = (
            m.tensor(n, s, kind, scale=unit / c)
            for n, s, c in (("a", (1, 5, 7, 29), scales[0]), ("b", other, scales[1]))
        )
        y = m.tensor("y", (1, 5, 7, 29), kind, scale=2 * unit / scales[2])
        m.operator("ADD", [a, b], [y], "AddOptions", PotScaleInt16=False)
        model, info = m.build([a, b], [y]), np.iinfo(kind.lower())
        lowered = {profile: lower_tflite(parse_tflite(model), profile) for profile in PROFILES}
        for _ in range(6):
            inputs = [rng.integers(info.min, info.max + 1, s).astype(info.dtype) for s in ((1, 5, 7, 29), other)]
            for profile, file in lowered.items():
                (found,), (truth,) = ours(file, inputs), litert(model, inputs, profile)
                assert np.array_equal(found.reshape(truth.shape), truth), (scales, profile)


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
def test_an_operand_of_lower_rank_whose_first_axis_is_as_long_as_the_batch(kind) -> None:
    """(2, 5) beside (2, 2, 5): its rows belong to the second axis, not to the samples."""
    rng = np.random.default_rng(0)
    m = Model()
    a, b = m.tensor("a", (2, 2, 5), scale=0.05), m.tensor("b", (2, 5), scale=0.03)
    y = m.tensor("y", (2, 2, 5), scale=0.06)
    m.operator(kind, [a, b], [y], f"{kind.capitalize()}Options")
    model = m.build([a, b], [y])
    inputs = [rng.integers(-128, 128, s).astype(np.int8) for s in ((2, 2, 5), (2, 5))]
    for profile in PROFILES:
        (found,), (truth,) = ours(lower_tflite(parse_tflite(model), profile), inputs), litert(model, inputs, profile)
        assert np.array_equal(found.reshape(truth.shape), truth), profile


@pytest.mark.parametrize("per_channel", [False, True])
def test_dense_layers_of_wide_codes_with_wide_biases(per_channel) -> None:
    """The float64 product of the scales, with ruy too: sums large enough to tell it from a float32 one."""
    rng = np.random.default_rng(1)
    for _ in range(12):
        m = Model()
        step = np.float32(rng.uniform(1, 2) * 1e-4)
        x = m.tensor("x", (100, 64), "INT16", scale=step)
        scale = np.float32(rng.uniform(1, 2, 32 if per_channel else 1) / 128)
        w = m.tensor("w", (32, 64), scale=scale, data=rng.integers(-127, 128, (32, 64)))
        b = m.tensor("b", (32,), "INT64", scale=step * scale, data=rng.integers(-(10**6), 10**6, 32))
        y = m.tensor("y", (100, 32), "INT16", scale=np.float32(rng.uniform(1, 2) * 5e-4))
        m.operator("FULLY_CONNECTED", [x, w, b], [y], "FullyConnectedOptions")
        model, inputs = m.build([x], [y]), [rng.integers(-32768, 32768, (100, 64)).astype(np.int16)]
        for profile in PROFILES:
            (truth,) = litert(model, inputs, profile)
            (found,) = ours(lower_tflite(parse_tflite(model), profile), inputs)
            assert np.array_equal(found.reshape(truth.shape), truth), profile


CASES = [(name, profile) for name in SINGLE for profile in PROFILES if (name, profile) not in ABSENT]


@pytest.mark.parametrize(("name", "profile"), CASES)
def test_operator(name: str, profile: str) -> None:
    assert compare(name, profile, range(3)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "profile"), CASES)
def test_operator_at_length(name: str, profile: str) -> None:
    assert compare(name, profile, range(3, 150)) == 0
