"""Every operator of files: fast kernels against the reference, saved and loaded, priced, simulated in batches."""

from __future__ import annotations

import accelsim_kernels as fast
import numpy as np
import pytest
from accelsim_kernels import reference
from litert_runtime import ours
from single_operators import SINGLE

import accelsim as acs
from accelsim.importers import tflite_arithmetic, tflite_functions, tflite_mac, tflite_movement, tflite_reductions
from accelsim.importers.tflite import lower_tflite
from accelsim.importers.tflite_file import parse_tflite
from accelsim.ops import OPS
from accelsim.ops.lookup import Embedding

PROFILES = ("tflite-ruy", "xnnpack")


def lowered(name: str, seed: int, profile: str):
    """(lowered file, inputs), None where the profile refuses the file by name."""
    model, inputs = SINGLE[name](np.random.default_rng([seed, sum(map(ord, name))]))
    try:
        return lower_tflite(parse_tflite(model), profile), inputs
    except acs.AccelsimError as error:
        assert "operator 0" in str(error)
        return None


@pytest.mark.parametrize("name", SINGLE)
def test_fast_equals_reference(name: str) -> None:
    for seed, profile in enumerate(PROFILES):
        found = lowered(name, seed, profile)
        if found is None or sum(x.size for x in found[1]) > 800:
            continue
        for a, b in zip(ours(*found, fast), ours(*found, reference), strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)


@pytest.mark.parametrize("name", SINGLE)
def test_saved_priced_and_simulated(name: str, tmp_path) -> None:
    found = lowered(name, 1, "tflite-ruy")
    if found is None:
        pytest.skip("refused under this profile")
    file, inputs = found
    graph = file.graph
    graph.save(tmp_path / "graph.acsim")
    again = acs.load(tmp_path / "graph.acsim")
    alone = ours(file, inputs)
    several = {}
    for index, x in zip(file.file.inputs, inputs, strict=True):
        tensor = file.names[index]
        codes = x.reshape(-1, *graph.tensors[tensor].shape)
        several[tensor] = np.concatenate([codes, codes[:, ::-1] if codes.ndim > 1 else codes, codes])
    spec = acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 64})
    run, repeated = acs.simulate(graph, several, spec), acs.simulate(again, several, spec)
    for index, expected in zip(file.file.outputs, alone, strict=True):
        codes = run.outputs[file.names[index]]
        assert np.array_equal(codes, repeated.outputs[file.names[index]])
        samples = len(expected)
        assert np.array_equal(codes[:samples], expected)
        assert np.array_equal(codes[-samples:], expected)
    priced = acs.cost(graph)
    assert priced.energy_pj >= 0
    assert {op.name for op in graph.ops} == {layer.name for layer in priced.cost.layers}


def test_the_files_use_every_operator() -> None:
    """Whatever the reader of .tflite files can emit; operators of the graph that it never does are tested elsewhere."""
    used = set()
    for name in SINGLE:
        for seed in range(12):
            for profile in PROFILES:
                found = lowered(name, seed, profile)
                used |= set() if found is None else {op.kind for op in found[0].graph.ops}
    modules = (tflite_arithmetic, tflite_functions, tflite_mac, tflite_movement, tflite_reductions)
    emitted = {cls.kind for module in modules for cls in vars(module).values() if cls in OPS.values()}
    assert emitted - used == {Embedding.kind}
