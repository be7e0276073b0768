"""Every operator that has a form in an .onnx file: ONNX Runtime's codes at each level, read back, refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from written_networks import (  # noqa: E402
    Attention,
    Images,
    Spread,
    Tokens,
    Turned,
    graph_and_images,
    runtime_codes,
)

import accelsim as acs  # noqa: E402
from accelsim.errors import AccelsimError  # noqa: E402
from accelsim.export import onnx_build  # noqa: E402
from accelsim.graph import IntegerGraph  # noqa: E402
from accelsim.ops import (  # noqa: E402
    BatchMatMul,
    Constant,
    Embedding,
    Maximum,
    Minimum,
    Mul,
    Slice,
    Softmax,
    TensorInfo,
)
from accelsim.quant import QuantParams  # noqa: E402
from accelsim.requant import Requantizer  # noqa: E402

NETWORKS = [Images, Tokens, Turned, Spread, Attention]
LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")


@pytest.mark.parametrize("network", NETWORKS)
def test_equal_at_every_level(network, tmp_path):
    graph, x = graph_and_images(network, "onnxruntime")
    grids = [info.params for info in graph.tensors.values() if isinstance(info.params, QuantParams)]
    assert not any(grid.signed for grid in grids)  # as the runtime computes: a sum's last bit depends on it
    path = graph.to_onnx(tmp_path / "net.onnx")
    ours = acs.simulate(graph, x).output
    np.testing.assert_array_equal(acs.simulate(acs.from_onnx(path), x).output, ours)
    plain = acs.simulate(acs.from_onnx(path, profile="onnxruntime-float"), x).output
    for level in LEVELS:
        codes = plain if level in LEVELS[:2] else ours
        np.testing.assert_array_equal(runtime_codes(graph, path, x, level), codes, err_msg=level)


@pytest.mark.parametrize("network", NETWORKS)
def test_graphs_of_another_profile(network, tmp_path):
    """Signed codes, fixed-point rescaling: what is written is run as ONNX Runtime runs it, every tensor of it."""
    graph, x = graph_and_images(network, "tflm")
    path = graph.to_onnx(tmp_path / "net.onnx")
    assert acs.replay(path, x, "onnxruntime-extended").equal
    assert acs.replay(path, x, "onnxruntime-disable-all").equal


def test_nodes_carry_bits_cycles_and_energy(tmp_path):
    graph, _ = graph_and_images(Images, "onnxruntime")
    report = acs.cost(graph, "edge-16x16")
    nodes = {node.name: node for node in onnx.load(graph.to_onnx(tmp_path / "net.onnx", report)).graph.node}
    for op in graph.mac_ops:
        notes = {entry.key: entry.value for entry in nodes[f"{op.name}.real"].metadata_props}
        (layer,) = (layer for layer in report.cost.layers if layer.name == op.name)
        assert notes["accelsim_weight_bits"] == "8" and int(notes["accelsim_bits"]) == graph.tensors[op.output].bits
        assert float(notes["accelsim_latency_cycles"]) == layer.latency_cycles
        assert json.loads(notes["accelsim_energy_pj"]) == dict(layer.energy_pj)
    noted = {entry.key for node in nodes.values() for entry in node.metadata_props}
    assert len(noted) == 4


@pytest.mark.parametrize("wrong", [(0, 3, 2, 1), (0, 1, 3, 2), (0, 2, 3, 1)])
def test_axes_in_a_wrong_order_are_not_written(wrong, tmp_path, monkeypatch):
    """The shapes that follow from the nodes are checked against those of the graph."""
    graph, _ = graph_and_images(Images, "onnxruntime")
    monkeypatch.setattr(onnx_build, "TO_CHW", wrong)
    with pytest.raises(AccelsimError, match="has no form in an .onnx file"):
        graph.to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


GRID = QuantParams(0.02, 117, 8, False)


def graph_of(ops, inputs, shapes, **grids) -> IntegerGraph:
    tensors = {name: TensorInfo(shape, grids.get(name, GRID)) for name, shape in shapes.items()}
    return IntegerGraph(tuple(ops), tuple(inputs), (ops[-1].output,), tensors, profile="onnxruntime", name="net")


def equal_everywhere(graph: IntegerGraph, x, tmp_path) -> None:
    path = graph.to_onnx(tmp_path / "net.onnx")
    ours = acs.simulate(graph, x).output
    np.testing.assert_array_equal(acs.simulate(acs.from_onnx(path), x).output, ours)
    for level in ("ENABLE_EXTENDED", "ENABLE_ALL"):
        np.testing.assert_array_equal(runtime_codes(graph, path, x, level), ours)


@pytest.mark.parametrize("turned", [(False, False), (True, True)])
def test_products_of_activations(turned, tmp_path):
    rng = np.random.default_rng(5)
    shapes = {"x": (2, 5, 12), "w": (2, 12, 7) if not turned[1] else (2, 7, 12), "y": (2, 5, 7)}
    shapes["x"] = (2, 12, 5) if turned[0] else shapes["x"]
    values = rng.integers(0, 256, shapes["w"]).astype(np.uint8)
    requantizer = Requantizer.from_scale(
        "onnx-float", (0.02, 0.02, 0.05), zero_point=131, qmin=0, qmax=255, product="float32"
    )
    ops = [
        Constant("c", (), "w", values=values),
        BatchMatMul("m", ("x", "w"), "y", 117, 117, *turned, requantizer=requantizer),
    ]
    graph = graph_of(ops, ["x"], shapes, y=QuantParams(0.05, 131, 8, False))
    equal_everywhere(graph, rng.normal(0, 1, (3, *shapes["x"])).astype(np.float32), tmp_path)


def test_extrema_parts_and_softmax(tmp_path):
    rng = np.random.default_rng(6)
    shapes = dict.fromkeys(("x", "low", "high", "c", "p"), (3, 8)) | {"s": (3, 4), "p": (3, 4)}
    grid = QuantParams(1 / 256, 0, 8, False)
    ops = [
        Constant("c", (), "c", values=rng.integers(0, 256, (3, 8)).astype(np.uint8)),
        Maximum("max", ("x", "c"), "high"),
        Minimum("min", ("high", "x"), "low"),
        Slice("part", ("low",), "s", starts=(2, 7), sizes=(3, 4), strides=(-1, -2)),
        Softmax("soft", ("s",), "p", "onnx-table", {"input_scale": 0.02, "scale": 1 / 256, "zero_point": 0}),
    ]
    graph = graph_of(ops, ["x"], shapes, p=grid)
    equal_everywhere(graph, rng.normal(0, 1, (4, 3, 8)).astype(np.float32), tmp_path)


def test_rows_of_a_table(tmp_path):
    rng = np.random.default_rng(7)
    index, table = QuantParams(1.0, 0, 16, False), rng.integers(0, 256, (65536, 3)).astype(np.uint8)
    graph = graph_of([Embedding("e", ("x",), "y", table=table)], ["x"], {"x": (5,), "y": (5, 3)}, x=index)
    equal_everywhere(graph, rng.integers(0, 65536, (4, 5)).astype(np.float32), tmp_path)


def test_what_has_no_form_is_named(tmp_path):
    class Bilinear(torch.nn.Module):
        shape = (2, 4, 6)

        def forward(self, x):
            return torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")

    graph, _ = graph_and_images(Bilinear, "tflm")
    with pytest.raises(AccelsimError, match=r"layer '.*' \(resize_bilinear\): has no form in an .onnx file"):
        graph.to_onnx(tmp_path / "net.onnx")
    requantizer = Requantizer("onnx-float", {"scale": 0.5}, 117, 0, 255)
    factor = [Constant("c", (), "w", values=np.full(4, 3, np.uint8)), Mul("m", ("x", "w"), "y", 117, 117, requantizer)]
    with pytest.raises(AccelsimError, match="rescales by a factor that is not in its grids"):
        graph_of(factor, ["x"], {"x": (4,), "w": (4,), "y": (4,)}).to_onnx(tmp_path / "net.onnx")
    rank = [Constant("c", (), "w", values=np.full((), 3, np.uint8)), Mul("m", ("x", "w"), "y", 117, 117, requantizer)]
    with pytest.raises(AccelsimError, match="'c' \\(constant\\): a constant without axes"):
        graph_of(rank, ["x"], {"x": (4,), "w": (), "y": (4,)}).to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
