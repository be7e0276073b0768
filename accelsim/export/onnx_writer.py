"""to_onnx(graph, path): the network as float operators between quantizers (QDQ), which ONNX Runtime runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelsim.errors import AccelsimError
from accelsim.export import onnx_nodes, onnx_nodes_of_movement  # noqa: F401
from accelsim.export.onnx_build import Build
from accelsim.files import write_atomically
from accelsim.graph import IntegerGraph

OPSET, IR_VERSION = 21, 10
PROFILE_KEY = "accelsim_profile"
_ONNX_PROFILES = ("onnxruntime", "onnxruntime-float")


def to_onnx(graph: IntegerGraph, path: str | Path, report: Any = None) -> Path:
    """Write a network as a .onnx file in QDQ form, weights quantized per channel where they are.

    Images are (N, C, H, W) in the file; any number of samples. Signed activations are written as unsigned ones, codes
    and zero points moved by half their range; in a sum of two tensors, which is rounded in float32 with its zero points
    (E9), this can move a code by 1 next to a tie. The arithmetic is that of ONNX Runtime, whatever the graph's profile:
    a function of one code becomes the operator that computes its table there, else a look-up in the table itself.
    report: acs.cost() of this network, or a CostReport; each node then carries its cost as metadata, bits always.
    Raises AccelsimError for operators and widths that have no form there, naming the layer, before anything is written.
    """
    import onnx
    from onnx import TensorProto, helper

    build = Build(graph, _costs(report))
    for name in graph.inputs:
        build.input(name)
    for op in graph.ops:
        build.add(op)
    outputs = [build.output(name) for name in graph.outputs]
    value = lambda n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *graph.tensors[n].shape])  # noqa: E731
    whole = helper.make_graph(build.nodes, graph.name, list(map(value, graph.inputs)), list(map(value, outputs)),
                              build.constants, value_info=build.shapes)  # fmt: skip
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    profile = graph.profile if graph.profile in _ONNX_PROFILES else _ONNX_PROFILES[0]
    helper.set_model_props(model, {PROFILE_KEY: profile, "accelsim_source_profile": graph.profile})
    try:
        onnx.checker.check_model(model, full_check=True)  # shapes that follow from the nodes are those of the graph
    except Exception as error:
        raise AccelsimError(f"the network {graph.name!r} has no form in an .onnx file: {error}") from error
    path = Path(path)
    write_atomically(path, model.SerializeToString())
    return path


def _costs(report: Any) -> dict[str, dict[str, str]]:
    """Layer → what a CostReport, or the Report around one, says of it."""
    if report is None:
        return {}
    report = getattr(report, "cost", report)
    return {
        layer.name: {
            "accelsim_energy_pj": json.dumps(layer.energy_pj, default=dict),
            "accelsim_latency_cycles": str(layer.latency_cycles),
        }
        for layer in report.layers
    }
