"""Replay of .onnx files: every tensor that ONNX Runtime shows, at each of its levels of optimisation."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx_networks import images, quantized, run
from typer.testing import CliRunner

import accelsim as acs
from accelsim.errors import AccelsimError

LEVELS = {"onnxruntime-disable-all": "DISABLE_ALL", "onnxruntime-basic": "ENABLE_BASIC",
          "onnxruntime-extended": "ENABLE_EXTENDED", "onnxruntime-all": "ENABLE_ALL"}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", [("QDQ", "QInt8"), ("QDQ", "QUInt8"), ("QOperator", "QInt8"), ("QOperator", "QUInt8")])
def test_every_tensor_at_every_level(form, level, tmp_path):
    path, x = quantized(tmp_path, *form, "QInt8", True), images(8, 7)
    found = acs.replay(path, x, level)
    assert found.equal
    assert len(found.operators) >= 7 and found.compared[0].elements == 80
    assert "onnxruntime" in found.versions
    # the runtime run on the whole file gives these outputs, too: showing all tensors has changed nothing
    (codes,) = found.outputs.values()
    real = run(path, x, LEVELS[level])
    graph = acs.from_onnx(path)
    params = graph.tensors[graph.outputs[0]].params
    moved = 128 if params.signed and codes.dtype == np.uint8 else 0  # the runtime turns int8 to uint8
    np.testing.assert_array_equal(
        np.rint(real / np.float64(params.scale)) + params.zero_point, codes.astype(int) - moved
    )


def test_differences_stand_where_they_arise(tmp_path):
    path, x = quantized(tmp_path, "QDQ", "QUInt8", "QInt8", True), images(8, 7)
    found = acs.replay(path, x, "onnxruntime-disable-all", profile="onnxruntime")
    assert not found.equal
    kinds = [row.kind.split()[0] for row in found.operators if row.differing]
    assert "Softmax" in kinds and kinds[0] != "Conv"
    for row in found.operators:  # each on the runtime's operands: only nodes whose integer kernel differs do
        kind = row.kind.split()[0]
        assert not row.alone.differing or ("onnxruntime-float" in row.matching and kind not in ("Conv", "Concat"))


def test_stored_outputs_and_the_command_line(tmp_path):
    from accelsim.cli import build

    path, x = quantized(tmp_path, "QOperator", "QUInt8", "QInt8", True), images(4, 7)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "y.npz", prob=run(path, x, "ENABLE_ALL"))
    assert acs.replay(path, x, tmp_path / "y.npz").equal
    arguments = ["replay", str(path), "--input", str(tmp_path / "x.npz"), "--against"]
    assert CliRunner().invoke(build(), [*arguments, "onnxruntime"], obj={}).exit_code == 0
    wrong = run(path, x, "ENABLE_ALL")
    wrong[0, 0] += 0.5
    np.savez(tmp_path / "z.npz", prob=wrong)
    assert CliRunner().invoke(build(), [*arguments, str(tmp_path / "z.npz")], obj={}).exit_code == 1
    with pytest.raises(AccelsimError, match="is no .npz file and none of onnxruntime, onnxruntime-disable-all"):
        acs.replay(path, x, "onnx-runtime")


@pytest.mark.parametrize("level", LEVELS)
def test_detection(level, tmp_path):
    """Each node by itself, on the runtime's operands: one profile explains all of them."""
    path, x = quantized(tmp_path, "QDQ", "QUInt8", "QInt8", True), images(8, 7)
    found = acs.replay(path, x, level, detect=True)
    assert found.equal and "onnxruntime-float" in found.detected
    assert all(row.alone.differing == 0 for row in found.operators)
    by_kind = {row.kind.split()[0]: row.matching for row in found.operators}
    assert all("onnxruntime-float" in names for names in by_kind.values())
    if level == "onnxruntime-disable-all":
        assert "onnxruntime" not in by_kind["Softmax"]  # a table there


def test_detection_from_outputs_alone(tmp_path):
    path, x = quantized(tmp_path, "QDQ", "QUInt8", "QInt8", True), images(8, 7)
    for level, name in (("DISABLE_ALL", "onnxruntime-float"), ("ENABLE_ALL", "onnxruntime")):
        found = acs.replay(path, x, {"prob": run(path, x, level)}, detect=True)
        assert found.detected == (name,)


def test_accumulators_of_an_accelerator(tmp_path):
    path, x = quantized(tmp_path, "QOperator", "QUInt8", "QInt8", True), images(4, 7)
    assert acs.replay(path, x, "onnxruntime", spec="edge-16x16").equal
    narrow = acs.load_spec("edge-16x16").replace(
        **{"array.accumulators.bits": 14, "array.accumulators.overflow": "saturate"}
    )
    found = acs.replay(path, x, "onnxruntime", spec=narrow)
    assert not found.equal
    first = next(row for row in found.operators if row.differing)
    assert "Conv" in first.kind and first.alone.differing == first.differing


def test_files_that_cannot_be_compared(tmp_path):
    """A float network: ONNX Runtime may have turned it into operators of its own, but what is wrong is the file."""
    from onnx_networks import float_network

    path = tmp_path / "float.onnx"
    float_network(path)
    for against in ("onnxruntime", "onnxruntime-disable-all"):
        with pytest.raises(AccelsimError, match="Nothing in it is quantized: onnxruntime.quantization"):
            acs.replay(path, images(2, 1), against)


@pytest.mark.parametrize("level", LEVELS)
def test_a_file_stays_prepared(level, tmp_path):
    path, x = quantized(tmp_path, "QDQ", "QUInt8", "QInt8", True), images(9, 7)
    first = acs.replay(path, x[:5], level)
    kept = first.outputs["prob"]
    assert {"read", "lower", "start runtime", "simulate", "runtime", "compare", "total"} <= set(first.seconds)
    for part in (x[4:], x[:2], x[:5]):
        again = acs.replay(path, part, level)
        assert again.equal and again.samples == len(part)
        assert {"read", "lower", "start runtime"}.isdisjoint(again.seconds)
    np.testing.assert_array_equal(again.outputs["prob"], kept)


def test_results_are_not_what_the_next_call_writes(tmp_path):
    from onnx_forms import FORMS, Form

    form, path = Form(), tmp_path / "mean.onnx"
    path.write_bytes(form.build(FORMS["mean_of_images"](form)))
    x = np.random.default_rng(3).normal(0, 1, (3, 3, 7, 8)).astype(np.float32)
    (first,) = acs.replay(path, x, profile="onnxruntime").outputs.values()
    kept = first.copy()
    (second,) = acs.replay(path, -x, profile="onnxruntime").outputs.values()
    assert not np.array_equal(second, kept)
    np.testing.assert_array_equal(first, kept)


def test_changed_files_are_read_again(tmp_path):
    """The file itself, and one beside it that holds its constants."""
    import onnx

    path, x = quantized(tmp_path, "QDQ", "QUInt8", "QInt8", True), images(4, 7)
    model = onnx.load(path)
    outside = tmp_path / "outside.onnx"
    onnx.save(model, outside, save_as_external_data=True, location="values.bin", size_threshold=0)
    before = acs.replay(outside, x).outputs["prob"]
    assert "read" not in acs.replay(outside, x).seconds
    content = bytearray((tmp_path / "values.bin").read_bytes())
    weights = next(i for i in onnx.load(outside, load_external_data=False).graph.initializer
                   if i.data_type == onnx.TensorProto.INT8 and len(i.dims) > 1)  # fmt: skip
    place = {entry.key: entry.value for entry in weights.external_data}
    start, length = int(place.get("offset", 0)), int(place["length"])
    content[start : start + length] = bytes(255 - v for v in content[start : start + length])
    (tmp_path / "values.bin").write_bytes(content)
    changed = acs.replay(outside, x)
    assert "read" in changed.seconds
    assert not np.array_equal(changed.outputs["prob"], before)
