"""replay: equal and different runs, what would have matched, detection with and without intermediate tensors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from single_operators import SINGLE
from small_files import network
from tflite_writer import Model
from typer.testing import CliRunner

import accelsim as acs
from accelsim.importers.detection import candidates
from accelsim.importers.tflite import from_tflite

RUNTIMES = {"litert-ref": "tflite-reference", "litert-ruy": "tflite-ruy", "litert": "xnnpack"}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(path of a file, real inputs)."""
    path = tmp_path_factory.mktemp("replay") / "net.tflite"
    path.write_bytes(network())
    return path, np.random.default_rng(3).uniform(-6, 6, (24, 8, 8, 3)).astype(np.float32)


def stored(path, x, profile: str) -> np.ndarray:
    return acs.simulate(from_tflite(path, profile), x).output


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_equal_to_the_runtime(case, runtime) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    found = acs.replay(*case, runtime)
    assert found.equal
    assert found.profile == RUNTIMES[runtime]
    assert "ai-edge-litert" in found.versions
    assert [len(op.tensors) for op in found.operators] == [1] * 7  # every tensor is shown, also behind a delegate
    assert found.compared[0].differing == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_sums_of_16_bit_codes_have_64_bits(runtime, tmp_path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    model, (a, b) = SINGLE["batch_matmul_int16"](np.random.default_rng(3))
    path = tmp_path / "matmul.tflite"
    path.write_bytes(model)
    a, b = (np.where(x > 0, x.dtype.type(32767), x.dtype.type(-32768)) for x in (a, b))  # sums leave 32 bits
    assert acs.replay(path, (a, b), runtime).equal


def test_differences_stand_where_they_arise(case) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    found = acs.replay(*case, "litert", profile="tflite-reference")
    assert not found.equal
    first = next(op for op in found.operators if op.differing)
    assert first.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
    assert first.alone.differing == first.differing  # nothing before it differs
    assert "xnnpack" in first.matching
    assert "tflite-reference" not in first.matching
    innocent = next(op for op in found.operators if op.kind == "AVERAGE_POOL_2D")
    assert innocent.differing > 0
    assert innocent.alone.differing == 0
    assert "none" not in str(found).splitlines()[0]


@pytest.mark.parametrize("profile", ["tflite-ruy", "tflite-reference", "xnnpack"])
def test_detection_from_outputs_alone(case, profile) -> None:
    path, x = case
    truth = stored(path, x, profile)
    found = acs.replay(path, x, {"codes": truth, "probabilities": truth}, detect=True)
    assert profile in found.detected
    assert found.equal
    assert all(profile in op.matching for op in found.operators)
    wrong = [p for p in ("tflite-ruy", "tflite-reference", "xnnpack") if not np.array_equal(stored(path, x, p), truth)]
    assert wrong  # the data tell them apart
    assert not set(wrong) & set(found.detected)


def test_detection_of_a_mixture(case) -> None:
    """Outputs of no single profile: the first layer of one runtime, the rest of another."""
    from dataclasses import replace

    path, x = case
    base, other = from_tflite(path, "tflite-ruy"), from_tflite(path, "xnnpack")
    assert not np.array_equal(stored(path, x, "tflite-ruy"), stored(path, x, "xnnpack"))
    mixed = replace(base, ops=(other.ops[0], *base.ops[1:]))
    seen = acs.simulate(mixed, x, keep="all").tensors
    found = acs.replay(path, x, {**{n: seen[n] for n in ("stem", "depthwise")}, "codes": seen["codes"],
                                 "probabilities": seen["codes"]}, detect=True)  # fmt: skip
    by_index = {op.index: op.matching for op in found.operators}
    assert "xnnpack" in by_index[1]
    assert "tflite-ruy" not in by_index[1]
    assert "tflite-ruy" in by_index[2]
    assert found.detected == ()


def test_parts_add_up(case, monkeypatch) -> None:
    import accelsim.importers.replayer as module

    path, x = case
    truth = stored(path, x, "xnnpack")
    whole = [acs.replay(path, x, {"probabilities": truth}, detect=True),
             acs.replay(path, x, {"probabilities": truth}, profile="tflite-ruy")]  # fmt: skip
    monkeypatch.setattr(module, "_ALIVE", 6000)  # a few samples at a time
    parts = [acs.replay(path, x, {"probabilities": truth}, detect=True),
             acs.replay(path, x, {"probabilities": truth}, profile="tflite-ruy")]  # fmt: skip
    for a, b in zip(whole, parts, strict=True):
        assert a.equal == b.equal
        assert a.compared == b.compared
        assert np.array_equal(a.outputs["codes"], b.outputs["codes"])
    assert whole[0].profile == parts[0].profile == "xnnpack"
    assert [op.tensors for op in whole[1].operators] == [op.tensors for op in parts[1].operators]


def test_what_nothing_explains_is_said(case) -> None:
    path, x = case
    truth = stored(path, x, "tflite-ruy").copy()
    truth[0, 0] ^= 1
    found = acs.replay(path, x, {"probabilities": truth}, detect=True)
    assert found.detected == ()
    assert not found.equal
    assert "no profile explains everything" in str(found)


def test_accumulators_of_an_accelerator(case) -> None:
    path, x = case
    truth = stored(path, x, "tflite-reference")
    narrow = acs.load_spec("edge-16x16").replace(
        **{"array.accumulators.bits": 12, "array.accumulators.overflow": "saturate"}
    )
    assert acs.replay(path, x, {"probabilities": truth}).equal
    assert not acs.replay(path, x, {"probabilities": truth}, spec=narrow).equal


def test_wrong_use(case, tmp_path) -> None:
    path, x = case
    for arguments, message in (
        ((path, x, "onnxruntime"), "none of litert"),
        ((path, x[:, :4], "litert-ref"), "must have shape"),
        ((path, (x, x)), "takes 1 inputs"),
        ((path, x, tmp_path / "absent.npz"), "no such file"),
        ((path, x, {"probabilities": np.zeros((3, 10), np.int8)}), "stored for 3 samples"),
        ((path, {"a": x, "b": x}), "which array is the input"),
    ):
        with pytest.raises(acs.AccelsimError, match=message):
            acs.replay(*arguments)
    with pytest.raises(acs.AccelsimError, match="something to compare"):
        acs.replay(path, x, detect=True)


def test_arrays_by_place(tmp_path) -> None:
    """input0, input1 … in the file's order, unless the tensors' own names say otherwise."""
    rng = np.random.default_rng(0)
    first, second = (rng.integers(-128, 128, (3, 5)).astype(np.int8) for _ in range(2))
    for names, swapped in ((("left", "right"), False), (("my_input1", "my_input0"), True)):
        m = Model()
        a, b = m.tensor(names[0], (1, 5), scale=0.05), m.tensor(names[1], (1, 5), scale=0.03)
        y = m.tensor("y", (1, 5), scale=0.06)
        m.operator("SUB", [a, b], [y], "SubOptions")
        path = tmp_path / "sub.tflite"
        path.write_bytes(m.build([a, b], [y]))
        np.savez(tmp_path / "x.npz", input0=first, input1=second)
        given = (second, first) if swapped else (first, second)
        (truth,) = acs.replay(path, given).outputs.values()
        (found,) = acs.replay(path, tmp_path / "x.npz").outputs.values()
        np.testing.assert_array_equal(found, truth)
    with pytest.raises(acs.AccelsimError, match="which array is the input 'my_input0'"):
        acs.replay(path, {"input1": first, "input2": second})


def test_candidates_are_all_profiles() -> None:
    assert sorted(candidates()) == sorted(acs.list_profiles())


def test_the_verb(case, tmp_path) -> None:
    from accelsim.cli import build

    path, x = case
    np.savez(tmp_path / "x.npz", input=x)
    np.savez(tmp_path / "y.npz", output=stored(path, x, "xnnpack"), other=stored(path, x, "tflite-ruy"))
    run = CliRunner()
    common = ["replay", str(path), "--input", str(tmp_path / "x.npz"), "--json"]
    good = run.invoke(build(), [*common, "--against", str(tmp_path / "y.npz") + ":other", "--profile", "tflite-ruy"],
                      obj={})  # fmt: skip
    assert good.exit_code == 0
    assert json.loads(good.stdout)["equal"] is True
    out = tmp_path / "replay.json"
    bad = run.invoke(build(), [*common, "--against", str(tmp_path / "y.npz") + ":other", "--profile", "xnnpack",
                               "--out", str(out)], obj={})  # fmt: skip
    assert bad.exit_code == 1
    saved = json.loads(out.read_text())
    assert saved["equal"] is False
    assert saved["versions"]["numpy"] == np.__version__


def test_networks_of_files_on_the_command_line(case, tmp_path) -> None:
    from accelsim.cli import build

    path, x = case
    np.savez(tmp_path / "x.npz", inputs=x, labels=np.zeros(len(x), np.int64))
    run = CliRunner()
    for arguments in (
        ["run", str(path), "--data", str(tmp_path / "x.npz"), "--out", str(tmp_path / "report.html")],
        ["run", str(path), "--spec", "edge-16x16", "--out", str(tmp_path / "price.html")],
        ["cost", str(path), "--profile", "xnnpack"],
        ["certify", str(path)],
        ["diff", str(path), str(path), "--data", str(tmp_path / "x.npz")],
        ["explain", str(path), "stem", "1,2,3", "--data", str(tmp_path / "x.npz")],
    ):
        result = run.invoke(build(), [*arguments, "--json"], obj={})
        assert result.exit_code == 0, (arguments, result.output, result.exception)
    assert (tmp_path / "report.html").read_text().count("conv_2d_1")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_replayer_is_kept(case, runtime) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    path, x = case
    replayer = acs.Replayer(path, runtime)
    for inputs in (x, x[:3], x[3:5], x[:3]):  # room of an earlier call is used again, or is not
        found = replayer(inputs)
        assert found.equal
        assert found.samples == len(inputs)
        assert np.array_equal(found.outputs["codes"], stored(path, inputs, RUNTIMES[runtime]))
        assert found.compared[0].elements == found.outputs["codes"].size


def test_results_are_not_what_the_next_call_writes(tmp_path) -> None:
    model, (x,) = SINGLE["conv2d"](np.random.default_rng(1))
    path = tmp_path / "conv.tflite"
    path.write_bytes(model)
    replayer = acs.Replayer(path)
    first = replayer(x).outputs["output"]
    kept = first.copy()
    assert not np.array_equal(replayer(~x).outputs["output"], kept)
    assert np.array_equal(first, kept)


def test_every_tensor_is_compared(case, monkeypatch) -> None:
    """A wrong code in the middle of the network is seen, in the first and in the last sample."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    import accelsim.importers.replayer as module

    path, x = case
    real = module.run_graph
    for sample in (0, 4):

        def wrong(*arguments, at=sample):
            found = dict(real(*arguments))
            found["pool"] = found["pool"].copy()
            found["pool"][at, 1, 1, 7] ^= 1
            return found

        monkeypatch.setattr(module, "run_graph", wrong)
        found = acs.Replayer(path, "litert-ref")(x[:5])
        assert [op.kind for op in found.operators if op.differing] == ["AVERAGE_POOL_2D"]
        assert not found.equal


def test_a_changed_file_is_read_again(case, tmp_path) -> None:
    path, x = case
    other = tmp_path / "net.tflite"
    other.write_bytes(path.read_bytes())
    before = acs.replay(other, x).outputs["codes"]
    other.write_bytes(network(seed=5))
    assert not np.array_equal(acs.replay(other, x).outputs["codes"], before)


@pytest.mark.parametrize("samples", [1, 4, 6])
def test_files_of_a_fixed_batch(case, tmp_path, samples) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    path = tmp_path / "batch.tflite"
    path.write_bytes(network(batch=4))
    x = case[1][:samples]
    for runtime in RUNTIMES:
        found = acs.replay(path, x, runtime)
        assert found.equal
        assert found.samples == samples
        assert [len(op.tensors) for op in found.operators] == [1] * 7
    assert not acs.replay(path, x, "litert", profile="tflm").equal or samples == 1


def test_stages_add_up(case) -> None:
    found = acs.Replayer(case[0])(case[1])
    assert {"read", "lower", "inputs", "simulate", "total"} <= set(found.seconds)
    assert sum(found.seconds.values()) <= 2 * found.seconds["total"]
    assert found.to_dict()["seconds"] == dict(found.seconds)
    assert "simulate" in str(found)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16])
def test_every_code_counts(dtype) -> None:
    from accelsim.importers.replay_comparison import equal_throughout

    for size in (0, 1, 3, 7, 8, 9, 31):
        a = np.arange(size).astype(dtype)
        assert equal_throughout(a, a.copy())
        for place in range(size):
            b = a.copy()
            b[place] ^= 1
            assert not equal_throughout(a, b)
    a = np.arange(24).astype(dtype).reshape(4, 6)
    assert equal_throughout(a[:, ::2], a[:, ::2].copy())
    assert not equal_throughout(a[:, ::2], a[:, 1::2])
    assert not equal_throughout(a, a.astype(np.int32) + 256)
