"""ResNet-18 and MobileNetV2 through .onnx files: every tensor of ONNX Runtime at every level, the graph read back."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from written_networks import runtime_codes  # noqa: E402

import accelsim as acs  # noqa: E402
from accelsim.frontend import zoo  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18", "mobilenet_v2"])
def test_every_level(network, tmp_path):
    data = np.random.default_rng(0).normal(0, 1, (5, 3, 96, 96)).astype(np.float32)
    graph = acs.from_torch(getattr(zoo, network)(0), torch.as_tensor(data[:3]), profile="onnxruntime")
    path, x = graph.to_onnx(tmp_path / "net.onnx"), data[3:]
    fused = acs.simulate(graph, x).output
    np.testing.assert_array_equal(acs.simulate(acs.from_onnx(path), x).output, fused)
    plain = acs.simulate(acs.from_onnx(path, profile="onnxruntime-float"), x).output
    for level in ("disable-all", "basic", "extended", "all"):
        name = level.replace("-", "_").upper() if level.startswith("disable") else f"ENABLE_{level.upper()}"
        codes = fused if level in ("extended", "all") else plain
        np.testing.assert_array_equal(runtime_codes(graph, path, x, name), codes, err_msg=level)
        found = acs.replay(path, x, f"onnxruntime-{level}")
        assert found.equal and len(found.operators) > 20
