"""Saved graphs: they come back whole, and broken ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save
from small_networks import everything

import accelsim as acs
from accelsim import AccelsimError

#: operators that torch networks are lowered to
FROM_TORCH = {
    "conv2d", "linear", "add", "requantize", "clamp", "max_pool2d", "average_pool2d", "mean", "reshape", "transpose",
    "concat", "pad",
}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    model, x = everything()
    return acs.from_torch(model, x, weight_bits={"stem": 16, "*": 4}, symmetric_weights=False), x.numpy()


def test_round_trip(network, tmp_path) -> None:
    graph, x = network
    graph.save(tmp_path / "net.acsim")
    loaded = acs.load(tmp_path / "net.acsim")
    assert [type(op) for op in loaded.ops] == [type(op) for op in graph.ops]
    assert (loaded.inputs, loaded.outputs, loaded.profile, loaded.name, loaded.notes) == (
        graph.inputs,
        graph.outputs,
        graph.profile,
        graph.name,
        graph.notes,
    )
    for name, info in graph.tensors.items():
        assert loaded.tensors[name].shape == info.shape and loaded.tensors[name].params == info.params
    a, b = acs.simulate(graph, x, keep="all"), acs.simulate(loaded, x, keep="all")
    for name in graph.tensors:
        assert np.array_equal(a.tensors[name], b.tensors[name])
    assert acs.cost(loaded).energy_pj == acs.cost(graph).energy_pj


def test_the_network_uses_every_operator(network) -> None:
    graph, _ = network
    used = {op.kind for op in graph.ops}
    assert not FROM_TORCH - used


def test_every_truncation_is_refused(network, tmp_path) -> None:
    graph, _ = network
    path = tmp_path / "net.acsim"
    graph.save(path)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(AccelsimError, match="net.acsim"):
            acs.load(path)


def test_other_files_are_refused(tmp_path) -> None:
    with pytest.raises(AccelsimError, match="no such graph file"):
        acs.load(tmp_path / "none.acsim")
    other = tmp_path / "other.safetensors"
    other.write_bytes(save({"a": np.zeros(3)}))
    with pytest.raises(AccelsimError, match="not a saved graph"):
        acs.load(other)
    other.write_bytes(save({"a": np.zeros(3)}, metadata={"accelsim-graph": "{"}))
    with pytest.raises(AccelsimError, match="other.safetensors is not a valid graph"):
        acs.load(other)


def test_wrong_structures_are_refused(network, tmp_path) -> None:
    graph, _ = network
    path = tmp_path / "net.acsim"
    graph.save(path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        structure = json.loads(file.metadata()["accelsim-graph"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def refused(match: str, **changes) -> None:
        metadata = {"accelsim-graph": json.dumps({**structure, **changes})}
        path.write_bytes(save(arrays, metadata=metadata))
        with pytest.raises(AccelsimError, match=match):
            acs.load(path)

    refused("version 99", version=99)
    refused("unknown operator or value type 'Evil'", ops=[{**structure["ops"][0], "type": "Evil"}])
    refused("never computed", ops=structure["ops"][:-1])
    refused("no earlier operator defines", ops=structure["ops"][1:])
    refused("two operators are called", ops=[structure["ops"][0], *structure["ops"]])
    refused("not a valid graph", ops=[{**structure["ops"][0], "surplus": 1}])


def test_inconsistent_graphs_name_the_layer(network) -> None:
    graph, _ = network
    stem = graph.op("stem")
    broken = replace(stem, weight=stem.weight[..., :1])
    with pytest.raises(AccelsimError, match="layer 'stem' \\(conv2d\\): the input has 2 channels"):
        replace(graph, ops=tuple(broken if op is stem else op for op in graph.ops))
    with pytest.raises(AccelsimError, match="no layer 'nope'; layers: "):
        graph.op("nope")


def test_nothing_is_half_written(network, tmp_path) -> None:
    graph, _ = network
    with pytest.raises(AccelsimError, match="cannot write"):
        graph.save(tmp_path / "missing" / "net.acsim")
    assert list(tmp_path.iterdir()) == []


def test_weight_size_counts_packed_bits(network) -> None:
    graph, _ = network
    bits = sum(op.weight.size * op.weight_params.bits for op in graph.mac_ops)
    biases = sum(op.bias.nbytes for op in graph.mac_ops)
    assert graph.weight_size_bytes == -(-bits // 8) + biases
