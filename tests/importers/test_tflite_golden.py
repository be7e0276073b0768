"""Stored outputs of LiteRT's three kinds of kernels: every element of every model."""

from __future__ import annotations

import numpy as np
import pytest
from litert_runtime import PROFILES
from shared_material import SHARED, needs_shared

import accelsim as acs

pytestmark = needs_shared
MODELS = sorted(p.stem for p in (SHARED / "vectors" / "tflite").glob("*.tflite")) if SHARED else []


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", MODELS)
def test_bit_exact(name: str, profile: str) -> None:
    path = SHARED / "vectors" / "tflite" / f"{name}.tflite"
    graph = acs.from_tflite(path, profile)
    with np.load(path.with_suffix(".npz")) as file:
        given = {key: file[key] for key in file.files}
    stored = {key: value for key, value in given.items() if key.startswith("input")}
    inputs = {tensor: next(v for k, v in stored.items() if k in tensor) for tensor in graph.inputs}
    truth = given[PROFILES[profile]]
    assert np.array_equal(acs.simulate(graph, inputs).output.reshape(truth.shape), truth)


def test_the_profiles_differ_where_the_runtimes_do() -> None:
    path = SHARED / "vectors" / "tflite" / "conv2d_3x3_s1.tflite"
    with np.load(path.with_suffix(".npz")) as file:
        x, outputs = file["input"], [file[column] for column in PROFILES.values()]
    for profile, right in zip(PROFILES, outputs, strict=True):
        run = acs.simulate(acs.from_tflite(path, profile), x).output
        assert [bool(np.array_equal(run, other)) for other in outputs] == [o is right for o in outputs]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", MODELS)
def test_detection_from_inputs_and_outputs(name: str, profile: str) -> None:
    path = SHARED / "vectors" / "tflite" / f"{name}.tflite"
    found = acs.replay(path, path.with_suffix(".npz"), f"{path.with_suffix('.npz')}:{PROFILES[profile]}", detect=True)
    assert found.equal
    assert profile in found.detected
    with np.load(path.with_suffix(".npz")) as file:
        different = {p for p, column in PROFILES.items() if not np.array_equal(file[column], file[PROFILES[profile]])}
    assert not different & set(found.detected)  # what the data tell apart is told apart
