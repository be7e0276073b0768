"""Files of onnxruntime's quantizer, run by ONNX Runtime at its levels and by us: every output code equal."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import accelsim_kernels
from onnx_forms import Form
from onnx_networks import images, quantized, run

import accelsim as acs
from accelsim.importers.replay_steps import run_graph, runtime_accumulators
from accelsim.ops.float_mac import FloatBatchMatMul
from accelsim.simulator import input_codes

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


@pytest.mark.parametrize("form", FORMS)
def test_kept_tensors_are_those_of_the_run(form, tmp_path):
    """Sums in float32 that are close to ties: keep="all" must not take the integer ones for them."""
    graph, x = acs.from_onnx(quantized(tmp_path, "QDQ", *form)), images(400, 7)
    kept, run = acs.simulate(graph, x, keep="all"), acs.simulate(graph, x)
    np.testing.assert_array_equal(kept.output, run.output)
    seen = run_graph(graph, input_codes(graph, x, accelsim_kernels), runtime_accumulators(graph))
    for name, values in seen.items():
        np.testing.assert_array_equal(kept.tensors[name], values, err_msg=name)


def test_kept_products_of_activations_are_those_of_the_run(tmp_path):
    f, path = Form(), tmp_path / "product.onnx"
    a, b = f.input((40, 60), "a"), f.input((60, 30), "b")
    path.write_bytes(f.build(f.node("MatMul", [a, b])))
    rng, graph = np.random.default_rng(5), acs.from_onnx(path)
    x = tuple(rng.normal(0, 1, (60, *shape)).astype(np.float32) for shape in ((40, 60), (60, 30)))
    kept, run = acs.simulate(graph, x, keep="all"), acs.simulate(graph, x)
    np.testing.assert_array_equal(kept.output, run.output)
    (op,) = (op for op in graph.ops if isinstance(op, FloatBatchMatMul))
    integer = op.rescale(kept.accumulators[op.name], accelsim_kernels)
    assert np.any(integer != kept.tensors[op.output])  # sums of integers would have given other codes


def test_an_explanation_ends_in_the_code_of_the_run(tmp_path):
    """Also where the sum in float32 gives another code than its accumulator."""
    graph, x = acs.from_onnx(quantized(tmp_path, "QDQ", *FORMS[3])), images(400, 7)
    kept, crossed = acs.simulate(graph, x, keep="all"), 0
    for op in graph.mac_ops:
        differing = np.argwhere(op.rescale(kept.accumulators[op.name], accelsim_kernels) != kept.tensors[op.output])
        for index in (*map(tuple, differing[:2]), (0,) * kept.tensors[op.output].ndim):
            found = acs.explain(kept, op.output, index)
            assert found.stages[-1].value == found.value == kept.tensors[op.output][index]
        crossed += len(differing)
    assert crossed


def test_reference_kernels_agree(tmp_path):
    for form in ("QDQ", "QOperator"):
        graph, x = acs.from_onnx(quantized(tmp_path, form, "QInt8", "QInt8", True)), images(1, 9)
        fast, slow = (acs.simulate(graph, x, backend=b, keep="all") for b in ("numba", "reference"))
        for name in fast.tensors:
            np.testing.assert_array_equal(fast.tensors[name], slow.tensors[name], err_msg=name)
