"""What the reader makes of files: names, samples, refusals that list everything, and files that lie."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from single_operators import SINGLE
from small_files import network
from tflite_writer import Model

import accelsim as acs
from accelsim.importers.tflite import lower_tflite
from accelsim.importers.tflite_file import parse_tflite


def written(tmp_path, content: bytes):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return path


def test_names_profile_and_notes(tmp_path) -> None:
    graph = acs.from_tflite(written(tmp_path, network()))
    assert graph.inputs == ("image/codes",)
    assert graph.outputs == ("codes",)
    assert [op.name for op in graph.ops] == [
        "conv_2d_1", "depthwise_conv_2d_2", "add_3", "average_pool_2d_4", "reshape_5", "fully_connected_6", "softmax_7",
    ]  # fmt: skip
    assert [op.output for op in graph.ops] == ["stem", "depthwise", "sum", "pool", "flat", "logits", "codes"]
    assert graph.name == "model"
    assert graph.profile == "tflite-reference"
    assert "does not say" in graph.notes[0]
    assert acs.from_tflite(tmp_path / "model.tflite", "litert").profile == "xnnpack"
    scheme = {p: acs.from_tflite(tmp_path / "model.tflite", p).ops[0].requantizer.scheme for p in acs.list_profiles()
              if p in ("tflm", "xnnpack", "tflite-ruy")}  # fmt: skip
    assert scheme == {"tflm": "tflite-double", "xnnpack": "onnx-float", "tflite-ruy": "tflite-ruy"}


def test_any_number_of_samples(tmp_path) -> None:
    path = written(tmp_path, network())
    x = np.random.default_rng(0).uniform(-6, 6, (5, 8, 8, 3)).astype(np.float32)
    together = acs.simulate(acs.from_tflite(path), x).output
    assert together.shape == (5, 10)
    alone = [acs.simulate(acs.from_tflite(path), x[i : i + 1]).output for i in range(5)]
    assert np.array_equal(together, np.concatenate(alone))
    batched = acs.from_tflite(written(tmp_path, network(batch=4)))
    assert np.array_equal(acs.simulate(batched, x).output, together)


def test_saved_graphs_are_equal(tmp_path) -> None:
    graph = acs.from_tflite(written(tmp_path, network()))
    graph.save(tmp_path / "graph.acsim")
    x = np.random.default_rng(1).uniform(-6, 6, (3, 8, 8, 3)).astype(np.float32)
    assert np.array_equal(acs.simulate(acs.load(tmp_path / "graph.acsim"), x).output, acs.simulate(graph, x).output)


def test_everything_that_is_missing_is_listed(tmp_path) -> None:
    m = Model()
    x = m.tensor("x", [1, 4], scale=0.1)
    y, z, w = (m.tensor(name, [1, 4], scale=0.1) for name in "yzw")
    m.operator("COS", [x], [y])
    m.operator("LOGISTIC", [y], [z])
    m.operator("SIN", [x], [w])
    with pytest.raises(acs.AccelsimError, match=r"operator 0 \(COS\).*operator 2 \(SIN\)"):
        acs.from_tflite(written(tmp_path, m.build([x], [z, w])))


def test_embedding_of_indices() -> None:
    m = Model()
    table = np.random.default_rng(0).integers(-128, 128, (20, 6))
    rows = m.tensor("table", [20, 6], scale=0.1, data=table)
    x = m.tensor("ids", [1, 5], "INT32")
    y = m.tensor("y", [1, 5, 6], scale=0.1)
    m.operator("GATHER", [rows, x], [y], "GatherOptions")
    graph = lower_tflite(parse_tflite(m.build([x], [y]))).graph
    ids = np.array([[0, 19, 7, 7, 3], [1, 2, 3, 4, 5]])
    for backend in ("numba", "reference"):
        assert np.array_equal(acs.simulate(graph, ids, backend=backend).output, table[ids])
    with pytest.raises(acs.AccelsimError, match="20 rows"):
        acs.simulate(graph, ids + 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": [1, 4], "signature": [1, -1]}, "no fixed length"),
        ({"shape": [1, -4]}, "negative"),
        ({"shape": [1, 1 << 20, 1 << 20]}, "elements"),
        ({"shape": [1] * 9}, "axes"),
        ({"shape": [1, 4], "kind": "FLOAT32"}, "FLOAT32"),
        ({"shape": [1, 4], "scale": np.nan}, "not finite"),
        ({"shape": [1, 4], "scale": 0.1, "zero_point": 1000}, "zero_point"),
        ({"shape": [1, 4], "scale": [0.1, 0.2]}, "2 scales"),
        ({"shape": [1, 4], "scale": 0.1, "data": [1, 2, 3]}, "holds 3 bytes"),
    ],
)
def test_absurd_tensors_are_refused(fields, message) -> None:
    m = Model()
    x = m.tensor("x", **{"scale": 0.1, **fields})
    y = m.tensor("y", [1, 4], scale=0.1)
    m.operator("RELU", [x], [y])
    with pytest.raises(acs.AccelsimError, match=message):
        lower_tflite(parse_tflite(m.build([x], [y])))


def test_cycles_and_second_definitions_are_refused() -> None:
    for ops in ([("a", "b"), ("b", "a")], [("x", "a"), ("x", "a")], [("a", "a")]):
        m = Model()
        tensors = {name: m.tensor(name, [1, 4], scale=0.1) for name in "xab"}
        for source, target in ops:
            m.operator("RELU6", [tensors[source]], [tensors[target]])
        with pytest.raises(acs.AccelsimError):
            lower_tflite(parse_tflite(m.build([tensors["x"]], [tensors["a"]])))


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs"),
    [("RELU", [], [1]), ("RELU", [-1], [1]), ("RELU", [0], []), ("RELU", [0], [-1]), ("MAXIMUM", [0], [1]),
     ("CONCATENATION", [], [1]), ("SPLIT", [0], [1]), ("RESHAPE", [-1, 0], [1])],
)  # fmt: skip
def test_missing_operands_are_refused(kind, inputs, outputs) -> None:
    m = Model()
    x, y = m.tensor("x", [1, 4], scale=0.1), m.tensor("y", [1, 4], scale=0.1)
    m.operator(kind, inputs, outputs)
    with pytest.raises(acs.AccelsimError, match=rf"operator 0 \({kind}\): has operands"):
        lower_tflite(parse_tflite(m.build([x], [y])))


def test_operators_that_ask_for_gigabytes_are_refused() -> None:
    m = Model()
    x = m.tensor("x", [1, 4, 4, 3], scale=0.1)
    size = m.tensor("size", [2], "INT32", data=[1 << 15, 1 << 15])
    y = m.tensor("y", [1, 4, 4, 3], scale=0.1)
    m.operator("RESIZE_NEAREST_NEIGHBOR", [x, size], [y], "ResizeNearestNeighborOptions")
    pads = m.tensor("pads", [4, 2], "INT32", data=[[0, 0], [1 << 30, 1 << 30], [1 << 30, 1 << 30], [0, 0]])
    z = m.tensor("z", [1, 4, 4, 3], scale=0.1)
    m.operator("PAD", [y, pads], [z], "PadOptions")
    with pytest.raises(acs.AccelsimError, match="PAD"):
        lower_tflite(parse_tflite(m.build([x], [z])))


def test_an_image_that_its_own_positions_leave_is_refused() -> None:
    """10 fraction bits of a scale add up to more than a pixel over thousands of outputs."""
    m = Model()
    x, y = m.tensor("x", [1, 2, 3, 1], scale=0.1), m.tensor("y", [1, 2, 5000, 1], scale=0.1)
    size = m.tensor("size", [2], "INT32", data=[2, 5000])
    m.operator("RESIZE_BILINEAR", [x, size], [y], "ResizeBilinearOptions")
    graph = lower_tflite(parse_tflite(m.build([x], [y]))).graph
    for backend in ("numba", "reference"):
        with pytest.raises(acs.AccelsimError, match="leave the image"):
            acs.simulate(graph, np.zeros((1, 2, 3, 1), np.int8), backend=backend)


def test_every_truncation_is_refused(tmp_path) -> None:
    whole = network()
    for length in {0, 1, 7, 8, 11, *range(12, len(whole), 37)}:
        with pytest.raises(acs.AccelsimError, match="tflite"):
            acs.from_tflite(written(tmp_path, whole[:length]))
    with pytest.raises(acs.AccelsimError, match="no .tflite file"):
        acs.from_tflite(written(tmp_path, b"GIF89a" + whole))
    with pytest.raises(acs.AccelsimError, match="cannot read"):
        acs.from_tflite(tmp_path / "absent.tflite")


def test_a_vector_named_many_times_costs_no_memory() -> None:
    """A small file whose thousand tensors all have one long name."""
    m = Model()
    tensors = [m.tensor("n" * 4000 if i == 0 else "n", [1, 4], scale=0.1) for i in range(1000)]
    m.operator("RELU", tensors[:1], tensors[1:2])
    content = bytearray(m.build(tensors[:1], tensors[1:2]))
    import tflite

    graph = tflite.Model.GetRootAsModel(bytes(content), 0).Subgraphs(0)
    places = []
    for i in range(1000):
        table = graph.Tensors(i)._tab
        places.append(table.Pos + table.Offset(10))
    first = places[0] + struct.unpack_from("<I", content, places[0])[0]
    for place in places:
        if place < first:
            struct.pack_into("<I", content, place, first - place)
    with pytest.raises(acs.AccelsimError, match="many times its size"):
        parse_tflite(bytes(content))


# fuzzing


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with a few bytes, words or pieces changed."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(data) - 8))
        how = rng.choice(6, p=[0.3, 0.25, 0.15, 0.15, 0.03, 0.12])
        if how == 0:
            data[at] = int(rng.integers(0, 256))
        elif how == 1:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif how == 2:
            word = rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, len(data), len(data) - at])
            struct.pack_into("<I", data, at & ~3, int(word))
        elif how == 3:
            struct.pack_into("<i", data, at & ~3, int(rng.integers(-64, 64)))
        elif how == 4:
            del data[at : at + int(rng.integers(1, 64))]
        else:
            other = int(rng.integers(0, len(data) - 8))
            data[at : at + 4] = data[other : other + 4]
        if len(data) < 16:
            break
    return bytes(data)


def survive(seeds: range) -> tuple[int, int]:
    """(files read, files refused); anything but AccelsimError is a defect."""
    names, read, refused = list(SINGLE), 0, 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        whole = network(seed=seed % 7) if seed % 2 else SINGLE[names[seed // 2 % len(names)]](rng)[0]
        try:
            profile = ("tflite-reference", "xnnpack", "tflite-ruy", "tflm")[seed % 4]
            graph = lower_tflite(parse_tflite(mutated(whole, rng)), profile).graph
            read += 1
            if sum(info.elements for info in graph.tensors.values()) < 20_000:
                infos = {name: graph.tensors[name] for name in graph.inputs}
                zeros = {name: np.full((1, *info.shape), info.params.zero_point) for name, info in infos.items()}
                acs.simulate(graph, zeros)
                acs.cost(graph)
        except acs.AccelsimError as error:
            assert str(error)
            refused += 1
    return read, refused


def test_mutated_files() -> None:
    read, refused = survive(range(400))
    assert read > 50
    assert refused > 50


@pytest.mark.slow
def test_mutated_files_at_length() -> None:
    read, refused = survive(range(400, 21_000))
    assert read > 1000
    assert refused > 1000
