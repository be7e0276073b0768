"""Files of onnxruntime's quantizer, run by ONNX Runtime at its levels and by us: every output code equal."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx_networks import images, quantized, run

import accelsim as acs

FORMS = [(a, w, c) for a, w in (("QUInt8", "QInt8"), ("QInt8", "QInt8")) for c in (False, True)]
PLAIN, FUSED = ("DISABLE_ALL", "ENABLE_BASIC"), ("ENABLE_EXTENDED", "ENABLE_ALL")


def codes(graph, real: np.ndarray) -> np.ndarray:
    params = graph.tensors[graph.outputs[0]].params
    return np.rint(real.astype(np.float64) / params.scale).astype(np.int64) + params.zero_point


@pytest.mark.parametrize("form", FORMS)
def test_qdq_without_fusion(form, tmp_path):
    path, x = quantized(tmp_path, "QDQ", *form), images(8, 7)
    graph = acs.from_onnx(path)
    assert graph.profile == "onnxruntime-float"
    assert graph.inputs == ("x",) and graph.outputs == ("prob",)
    for level in PLAIN:
        np.testing.assert_array_equal(acs.simulate(graph, x).output, codes(graph, run(path, x, level)))


@pytest.mark.parametrize("per_channel", [False, True])
def test_qdq_fused(per_channel, tmp_path):
    path, x = quantized(tmp_path, "QDQ", "QUInt8", "QInt8", per_channel), images(8, 7)
    graph = acs.from_onnx(path, profile="onnxruntime")
    for level in FUSED:
        np.testing.assert_array_equal(acs.simulate(graph, x).output, codes(graph, run(path, x, level)))
    literal = acs.simulate(acs.from_onnx(path), x).output
    assert np.any(literal != acs.simulate(graph, x).output)  # the levels do differ


@pytest.mark.parametrize("form", FORMS)
def test_qoperator_at_every_level(form, tmp_path):
    path, x = quantized(tmp_path, "QOperator", *form), images(8, 7)
    graph = acs.from_onnx(path)
    assert graph.profile == "onnxruntime"
    for level in (*PLAIN, *FUSED):
        np.testing.assert_array_equal(acs.simulate(graph, x).output, codes(graph, run(path, x, level)))


def test_reference_kernels_agree(tmp_path):
    for form in ("QDQ", "QOperator"):
        graph, x = acs.from_onnx(quantized(tmp_path, form, "QInt8", "QInt8", True)), images(1, 9)
        fast, slow = (acs.simulate(graph, x, backend=b, keep="all") for b in ("numba", "reference"))
        for name in fast.tensors:
            np.testing.assert_array_equal(fast.tensors[name], slow.tensors[name], err_msg=name)
