"""Golden vectors: what they cover, which mutants they kill, what files hold, and that a corrupted file is seen."""

from __future__ import annotations

import json
from dataclasses import replace

import accelsim_kernels
import numpy as np
import pytest
from accelsim_kernels.names import SCHEMES
from accelsim_kernels.reference import requantize
from requantize_cases import NO_ZERO_POINT
from test_explanations import network
from test_ranges import spec_with

from accelsim.errors import AccelsimError
from accelsim.proof.golden import golden_vectors, with_codes
from accelsim.proof.layer_vectors import layer_vectors, write_layer_vectors
from accelsim.proof.layers import channel_requantizers
from accelsim.proof.mutants import mutation_score
from accelsim.proof.ranges import certify
from accelsim.proof.vector_files import read_vectors, write_vectors
from accelsim.requant import Requantizer

DOUBLE = Requantizer("tflite-double", {"multiplier": 1518500250, "shift": -7}, zero_point=3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_vectors_of_every_scheme(scheme):
    zero_point = 0 if scheme in NO_ZERO_POINT else 3
    requantizer = Requantizer.from_scale(scheme, 2.0**-7, zero_point=zero_point)
    vectors = golden_vectors(requantizer, count=600)
    assert len(vectors) == 600
    codes = requantize(vectors.accumulator, **requantizer.kwargs())
    np.testing.assert_array_equal(vectors.code, codes)
    score = mutation_score(vectors)
    assert score.score == 1.0, score
    assert score.wrong == 0


def test_every_reachable_class_is_covered():
    coverage = golden_vectors(DOUBLE, count=2000).coverage()
    for sign in ("negative", "positive"):
        for saturation in ("in range", f"clamped to q{'min' if sign == 'negative' else 'max'}"):
            for tie in ("tie", "no tie"):
                assert coverage[f"{sign} x {tie} x {saturation} x right shift"] >= 5
    assert coverage["sign: zero"] >= 1


def test_random_vectors_alone_miss_what_golden_ones_catch():
    acc = np.random.default_rng(0).integers(-(2**31), 2**31, 600)
    golden = golden_vectors(DOUBLE, count=600)
    random = replace(golden, accumulator=acc, code=requantize(acc, **DOUBLE.kwargs()).astype(np.int64))
    assert mutation_score(golden).score == 1.0
    missed = mutation_score(random)
    assert missed.score < 0.7
    assert "ties up" in missed.survived
    assert "survives: ties up" in str(missed)


def test_a_mutant_is_killed_only_by_a_vector_that_tells_it_apart():
    alone = golden_vectors(DOUBLE, count=600)
    keep = np.abs(alone.accumulator) < 40  # all round to 0 or within one step: no clamp is met
    few = replace(alone, which=alone.which[keep], accumulator=alone.accumulator[keep], code=alone.code[keep])
    assert "saturation high off by one" in mutation_score(few).survived


def test_a_corrupted_golden_file_is_seen():
    vectors = golden_vectors(DOUBLE, count=300)
    codes = vectors.code.copy()
    codes[17] ^= 1
    assert mutation_score(with_codes(vectors, codes)).wrong == 1


def test_a_wrong_code_kills_no_mutant():
    alone = golden_vectors(DOUBLE, count=600)
    keep = np.abs(alone.accumulator) < 40
    few = replace(alone, which=alone.which[keep], accumulator=alone.accumulator[keep], code=alone.code[keep])
    codes = few.code.copy()
    codes[0] += 1
    found = mutation_score(with_codes(few, codes))
    assert found.wrong == 1
    assert "saturation high off by one" in found.survived and "saturation low wraps" in found.survived


def test_a_mutant_that_moves_one_step_by_one_accumulator_is_not_equivalent():
    # 2**16 fewer of the multiplier: the code differs at 60 of 2**32 accumulators, each beside a step
    vectors = golden_vectors(Requantizer("tflite-double", {"multiplier": 1518500250, "shift": -7}), count=300)
    keep = np.abs(vectors.accumulator) < 50
    few = replace(vectors, which=vectors.which[keep], accumulator=vectors.accumulator[keep], code=vectors.code[keep])
    found = mutation_score(few)
    assert "multiplier's low 16 bits lost" in found.survived
    assert found.equivalent == ("multiplier off by one",)


def test_carries_of_float32_are_among_the_mutants():
    # just above 0.00033, with a significand whose product carries
    vectors = golden_vectors(Requantizer("onnx-float", {"scale": 0.0003300001553725451}, zero_point=3), count=400)
    carries = {"conversion's carry lost", "product's carry lost"}
    assert carries <= set(mutation_score(vectors).killed)
    # accumulators that a float32 holds exactly never carry in the conversion
    keep = np.abs(vectors.accumulator) < 2**23
    few = replace(vectors, which=vectors.which[keep], accumulator=vectors.accumulator[keep], code=vectors.code[keep])
    found = mutation_score(few, probe=vectors)
    assert carries <= set(found.survived)
    assert "2**25 - 1 becomes 0" in str(found)


def test_files(tmp_path):
    vectors = golden_vectors((DOUBLE, replace(DOUBLE, scheme="tosa-single")), count=500)
    score = write_vectors(vectors, tmp_path / "out", "mine")
    manifest = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert manifest["mutation_score"] == score.score == 1.0
    assert manifest["coverage"] == vectors.coverage()
    words = (tmp_path / "out" / "mine_accumulator.mem").read_text().split()
    back = [int(w, 16) - (1 << 48) * (int(w, 16) >> 47) for w in words]
    assert back == vectors.accumulator.tolist()
    header = (tmp_path / "out" / "mine.h").read_text()
    assert "#define MINE_COUNT 500" in header
    again = read_vectors(tmp_path / "out" / "mine.npz")
    for key in ("which", "accumulator", "rounded", "code"):
        np.testing.assert_array_equal(getattr(again, key), getattr(vectors, key))


def test_vectors_from_a_table(tmp_path):
    made = golden_vectors(DOUBLE, count=300)
    path = tmp_path / "mine.csv"
    lines = [f"{c}, {a:#x}" if a >= 0 else f"{c},{a}" for a, c in zip(made.accumulator, made.code, strict=True)]
    path.write_text("\n".join(["code,accumulator", *lines, ""]))
    again = read_vectors(path, (DOUBLE,))
    np.testing.assert_array_equal(again.accumulator, made.accumulator)
    assert mutation_score(again).killed == mutation_score(made).killed
    for words, text in (
        ("line 3: invalid literal", "accumulator,code\n1,0\n2,x\n"),
        ("line 2: 3 numbers in 2 columns", "accumulator,code\n1,0,5\n"),
        ("is empty", ""),
        ("needs the 1-D integer arrays", "acc,code\n1,0\n"),
    ):
        path.write_text(text)
        with pytest.raises(AccelsimError, match=words):
            read_vectors(path, (DOUBLE,))


def test_unreadable_vectors(tmp_path):
    path = tmp_path / "v.npz"
    for words, content in (
        ("needs the 1-D integer arrays", {"accumulator": np.zeros(3)}),
        ("3 accumulators but 2 codes", {"accumulator": np.zeros(3, int), "code": np.zeros(2, int)}),
        ("is not defined for accumulator", {"accumulator": np.array([2**40]), "code": np.array([0])}),
        ("which must number", {"accumulator": np.array([0]), "code": np.array([0]), "which": np.array([3])}),
    ):
        np.savez(path, **content)
        with pytest.raises(AccelsimError, match=words):
            read_vectors(path, (DOUBLE,))
    with pytest.raises(AccelsimError, match="no manifest"):
        np.savez(path, accumulator=np.zeros(1, int), code=np.zeros(1, int))
        read_vectors(path)
    path.write_bytes(b"x")
    with pytest.raises(AccelsimError, match="not an .npz file"):
        read_vectors(path, (DOUBLE,))


def test_a_layer_of_a_saved_graph(tmp_path):
    network().save(tmp_path / "g.safetensors")
    (requantizer,) = channel_requantizers(f"{tmp_path / 'g.safetensors'}:conv")
    assert requantizer.scheme == "tflite-double"
    with pytest.raises(AccelsimError, match="no layer 'x'"):
        channel_requantizers(f"{tmp_path / 'g.safetensors'}:x")


def test_vectors_of_a_whole_layer(tmp_path):
    graph = network()
    vectors = layer_vectors(graph, "conv", count=5)
    assert vectors.x.shape == (5, 4, 5, 2)
    assert vectors.code.shape == vectors.accumulator.shape == (5, 4, 5, 4)
    layer = certify(graph).layer("conv")
    # the first two samples reach what the layer can reach
    assert (vectors.accumulator[0].max(), vectors.accumulator[1].min()) == (layer.high.max(), layer.low.min())
    np.testing.assert_array_equal(vectors.accumulator[2], np.broadcast_to(vectors.bias, (4, 5, 4)))
    slow = graph.op("conv").accumulate([vectors.x], accelsim_kernels.reference, {})[0]
    np.testing.assert_array_equal(vectors.accumulator, slow)
    np.testing.assert_array_equal(vectors.code, requantize(slow, **graph.op("conv").requantizer.kwargs()))
    write_layer_vectors(vectors, tmp_path)
    manifest = json.loads((tmp_path / "layer.json").read_text())
    assert manifest["arrays"]["accumulator"] == {"shape": [5, 4, 5, 4], "type": "int32", "mem_bits": 32}
    assert (manifest["padding"], manifest["overflowed"]) == ([[1, 1], [1, 1]], 0)
    for key in ("x", "weight", "bias", "accumulator", "code"):
        values = getattr(vectors, key)
        bits = manifest["arrays"][key]["mem_bits"]
        words = [int(w, 16) for w in (tmp_path / f"layer_{key}.mem").read_text().split()]
        assert [w - (w >> (bits - 1) << bits) for w in words] == values.reshape(-1).tolist()
        assert f"layer_{key}[{values.size}]" in (tmp_path / "layer.h").read_text()
    narrow = layer_vectors(graph, "conv", spec_with(bits=16, overflow="saturate"))
    assert narrow.overflowed > 0
    for words, name, count in (("is a add", "add", 8), ("at least 4 samples", "fc", 3), ("no layer 'x'", "x", 8)):
        with pytest.raises(AccelsimError, match=words):
            layer_vectors(graph, name, count=count)
