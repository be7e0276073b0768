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
    with pytest.raises(AccelsimError, match="detect and spec are for .tflite"):
        acs.replay(path, x, "onnxruntime", detect=True)
