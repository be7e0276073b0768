"""Profiles against LiteRT's own outputs: reference kernels, ruy and the XNNPACK delegate each have their rounding."""

from __future__ import annotations

import accelsim_kernels as kernels
import numpy as np
import pytest
from shared_material import SHARED, needs_shared

from accelsim.profiles import load_profile
from accelsim.requant import Requantizer

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
pytestmark = needs_shared

#: column of the golden file -> profile
RUNTIMES = {"output_ref": "tflite-reference", "output_ruy": "tflite-ruy", "output_xnn": "xnnpack"}
#: model -> (operator, stride, padding)
MODELS = {
    "conv2d_1x1": ("conv2d", 1, "same"),
    "conv2d_3x3_s1": ("conv2d", 1, "same"),
    "conv2d_5x5_valid": ("conv2d", 1, "valid"),
    "dwconv_3x3_mult2": ("depthwise_conv2d", 1, "same"),
    "dwconv_5x5_s2": ("depthwise_conv2d", 2, "same"),
    "dense_per_tensor": ("linear", 1, "valid"),
    "dense_per_channel": ("linear", 1, "valid"),
}


def parts(name: str) -> dict:
    """Weights, bias and grids of a single-operator model."""
    resolver = litert.OpResolverType.BUILTIN_REF
    path = str(SHARED / "vectors" / "tflite" / f"{name}.tflite")
    model = litert.Interpreter(path, experimental_op_resolver_type=resolver)
    model.allocate_tensors()
    ends = model.get_input_details()[0], model.get_output_details()[0]
    known = {end["index"] for end in ends}
    found = {"x": ends[0]["quantization"], "y": ends[1]["quantization"], "bias": None}
    for detail in model.get_tensor_details():
        if detail["index"] in known or not detail["name"] or detail["shape"].size == 0:
            continue
        if detail["dtype"] == np.int32 and detail["shape"].size == 1:
            found["bias"] = model.get_tensor(detail["index"])
        elif detail["dtype"] == np.int8:
            found["weight"] = model.get_tensor(detail["index"])
            found["scales"] = detail["quantization_parameters"]["scales"].astype(np.float64)
    return found


def same(size: int, outputs: int, window: int, stride: int) -> tuple[int, int]:
    total = max((outputs - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize("column", RUNTIMES)
@pytest.mark.parametrize("name", MODELS)
def test_single_operator(name, column):
    operator, stride, padding = MODELS[name]
    p = parts(name)
    with np.load(SHARED / "vectors" / "tflite" / f"{name}.npz") as file:
        x, truth = file["input"], file[column]
    (sx, zx), (sy, zy) = p["x"], p["y"]
    numerics = load_profile(RUNTIMES[column]).operator(operator)
    scales = p["scales"] if len(p["scales"]) > 1 else float(p["scales"][0])
    how = Requantizer.from_scale(numerics.scheme, (sx, scales, sy), zero_point=zy, product=numerics.product)
    keywords = {"bias": p["bias"], "requantize": how.kwargs()}
    if operator == "linear":
        flat = x.reshape(-1, p["weight"].shape[1])
        ours = kernels.matmul(flat, np.ascontiguousarray(p["weight"].T), a_zero_point=zx, **keywords)
    else:
        depthwise = operator == "depthwise_conv2d"
        weight = p["weight"][0].transpose(2, 0, 1)[..., None] if depthwise else p["weight"]
        edges = ((0, 0), (0, 0))
        if padding == "same":
            edges = tuple(same(x.shape[a], truth.shape[a], weight.shape[a], stride) for a in (1, 2))
        groups = x.shape[3] if depthwise else 1
        ours = kernels.conv2d(
            x, weight, stride=(stride, stride), padding=edges, groups=groups, x_zero_point=zx, **keywords
        )
    np.testing.assert_array_equal(ours.reshape(truth.shape), truth)
