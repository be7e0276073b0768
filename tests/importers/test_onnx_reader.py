"""Untrusted .onnx files: what is refused, by what name, and that nothing but AccelsimError comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_forms import FORMS, Form  # noqa: E402
from onnx_networks import quantized  # noqa: E402

from accelsim.errors import AccelsimError  # noqa: E402
from accelsim.importers.onnx import from_onnx, lower_onnx  # noqa: E402
from accelsim.importers.onnx_file import parse_onnx  # noqa: E402
from accelsim.simulator import simulate  # noqa: E402


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("onnx")
    found = [quantized(folder, form, "QInt8", "QInt8", True).read_bytes() for form in ("QDQ", "QOperator")]
    shapes = ["shape_arithmetic", "resize_half_pixel", "split_uneven", "functions_of_several_nodes", "pad_reflect"]
    return [*found, *(form.build(FORMS[name](form)) for name in shapes for form in [Form()])]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(changed[: rng.integers(len(changed))])
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(changed)))
        if kind == 1:
            changed[place] = rng.integers(256)
        elif kind == 2:
            changed[place] ^= 1 << rng.integers(8)
        else:
            changed[place : place + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(0, 9)))
    return bytes(changed)


#: numbers that lengths, axes and offsets may claim to be
CLAIMS = [0, 1, -1, -2, 2, 3, 7, 255, 1 << 16, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63)]


KINDS = ["Conv", "Gemm", "Reshape", "Concat", "Slice", "Split", "Resize", "Pad", "Gather", "Cast", "Expand",
         "Range", "ConstantOfShape", "MatMul", "Transpose", "Squeeze", "Shape", "Softmax", "MaxPool"]  # fmt: skip


def restructure(data: bytes, rng: np.random.Generator) -> bytes:
    """A file that parses, with wrong names, numbers and types: cycles, gigabytes, negative lengths among them."""
    proto = onnx.ModelProto.FromString(data)
    graph = proto.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    pick = lambda many: many[int(rng.integers(len(many)))]  # noqa: E731
    for _ in range(rng.integers(1, 3)):
        node, constant, kind = pick(graph.node), pick(graph.initializer), rng.integers(11)
        numbers = [a for a in node.attribute if a.type in (a.INT, a.INTS, a.FLOAT)]
        if kind == 0 and len(node.input):
            node.input[int(rng.integers(len(node.input)))] = pick(names)
        elif kind == 1 and len(node.output):
            node.output[int(rng.integers(len(node.output)))] = pick(names)
        elif kind == 2:
            del constant.dims[:]
            constant.dims.extend(pick(CLAIMS) for _ in range(rng.integers(0, 6)))
        elif kind == 3:
            constant.data_type = int(rng.integers(0, 27))
        elif kind == 4 and numbers:
            attribute = pick(numbers)
            attribute.i, attribute.f = pick(CLAIMS), float(pick([0.0, -1.0, 1e38, np.nan, np.inf]))
            attribute.ints[:] = [pick(CLAIMS) for _ in range(rng.integers(0, 5))]
        elif kind == 5:
            node.op_type = pick(KINDS)
        elif kind == 6:
            pick(graph.input).type.tensor_type.shape.dim.add(dim_value=pick(CLAIMS))
        elif kind == 7:
            data = constant.raw_data
            constant.raw_data = data[: rng.integers(len(data) + 1)] if rng.integers(2) else rng.bytes(len(data))
        elif kind == 8 and len(node.attribute):
            del node.attribute[int(rng.integers(len(node.attribute)))]
        elif kind == 9 and constant.raw_data and constant.data_type in WIDTHS:
            kind_of = np.dtype(WIDTHS[constant.data_type])
            values = np.frombuffer(constant.raw_data, kind_of, len(constant.raw_data) // kind_of.itemsize).copy()
            if values.size:
                claim = pick(CLAIMS) if kind_of.kind in "iu" else pick([0.0, -1.0, 1e38, np.nan, np.inf, 1e-40])
                values[int(rng.integers(values.size))] = np.array(claim).astype(kind_of)
                constant.raw_data = values.tobytes()
        elif kind == 10:
            constant.data_location = TensorProto.EXTERNAL
            for key in ("location", "offset", "length"):
                constant.external_data.add(key=key, value=str(pick([*CLAIMS, "/etc/hostname", "..", "\0"])))
    return proto.SerializeToString()


#: NumPy types of constants whose values are changed
WIDTHS = {TensorProto.FLOAT: "f4", TensorProto.INT64: "i8", TensorProto.INT32: "i4", TensorProto.INT8: "i1",
          TensorProto.UINT8: "u1"}  # fmt: skip


def fuzz(files: list[bytes], count: int, seed: int) -> dict[str, int]:
    """How far mutated files came; what was read is run on real zeros, too, where that is quick."""
    rng = np.random.default_rng(seed)
    found = dict.fromkeys(("refused by the parser", "refused by the lowering", "read", "refused by a run", "run"), 0)
    for index in range(count):
        data = (mutate if index % 4 == 0 else restructure)(files[index % len(files)], rng)
        stage = "refused by the parser"
        try:
            file = parse_onnx(data, Path("/nowhere/model.onnx"))
            stage = "refused by the lowering"
            graph = lower_onnx(file).graph
            stage = "refused by a run"
            found["read"] += 1
            if sum(info.elements for info in graph.tensors.values()) < 20_000:
                infos = {name: graph.tensors[name] for name in graph.inputs}
                zeros = {name: np.full((1, *info.shape), info.params.zero_point) for name, info in infos.items()}
                simulate(graph, zeros)
                found["run"] += 1
        except AccelsimError:
            found[stage] += 1
    return found


def test_mutated_files(files):
    found = fuzz(files, 300, 0)
    assert min(found["refused by the parser"], found["refused by the lowering"]) > 30, found
    assert min(found["read"], found["run"]) > 30, found


@pytest.mark.slow
def test_many_mutated_files(files):
    found = fuzz(files, 20_000, 1)
    assert min(found["refused by the parser"], found["refused by the lowering"]) > 2000, found
    assert min(found["read"], found["run"]) > 2000, found


def model(nodes, constants=(), inputs=(("x", TensorProto.FLOAT, [1, 4]),), outputs=("y",), opset=17) -> bytes:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*v) for v in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs], list(constants),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString()


def refused(data: bytes, words: str, folder: Path = Path("/nowhere")) -> None:
    with pytest.raises(AccelsimError, match=words):
        lower_onnx(parse_onnx(data, folder / "model.onnx"))


def test_what_is_missing_is_listed():
    nodes = [helper.make_node("FancyOp", ["x"], ["a"], name="first"), helper.make_node("Other", ["x"], ["y"])]
    refused(model(nodes), r"operator 0 'first' \(FancyOp\): is not supported; operator 1 '' \(Other\).*"
                          r"Operators that are missing: FancyOp, Other")  # fmt: skip


def test_structure():
    refused(b"", "no operators")
    refused(b"\x00\x01garbage", "corrupt")
    one = helper.make_node("Relu", ["x"], ["y"])
    refused(model([one], opset=11), "opset 11: opset 13 and later")
    refused(model([helper.make_node("Relu", ["b"], ["y"]), helper.make_node("Relu", ["y"], ["b"])]), "cycle")
    refused(model([helper.make_node("Relu", ["nowhere"], ["y"])]), "which nothing defines")
    refused(model([one, one]), "a second time")
    refused(model([one], outputs=("z",)), "output 'z' is never computed")
    with pytest.raises(AccelsimError, match="cannot read"):
        from_onnx("/nowhere/else.onnx")


def test_claims():
    one = helper.make_node("Relu", ["x"], ["y"])
    for dims in ([1 << 40], [1 << 20, 1 << 20], [-1]):
        huge = TensorProto(name="w", data_type=TensorProto.INT8, dims=dims, raw_data=b"\0")
        refused(model([one], [huge]), "claims the shape")
    short = TensorProto(name="w", data_type=TensorProto.INT8, dims=[1000], raw_data=b"\0")
    refused(model([one], [short]), "needs 1000 bytes, the file has 1")
    bomb = [helper.make_node("ConstantOfShape", ["s"], ["y"])]
    refused(model(bomb, [numpy_helper.from_array(np.full(4, 1 << 20), "s")]), "cannot be folded: shape")


def test_values_outside_the_file_stay_in_its_folder(tmp_path):
    folder, one = tmp_path / "inner", helper.make_node("Relu", ["x"], ["y"])
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(8))
    (folder / "weights.bin").write_bytes(bytes(range(8)))
    (folder / "link").symlink_to(tmp_path / "secret")

    def outside(location: str, **more: str) -> bytes:
        proto = TensorProto(name="w", data_type=TensorProto.INT8, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in {"location": location, **more}.items():
            proto.external_data.add(key=key, value=value)
        return model([one], [proto])

    for location in ("../secret", str(tmp_path / "secret"), "link", ""):
        refused(outside(location), "not in the model's folder", folder)
    refused(outside("weights.bin", offset="6"), "shorter than 10 bytes", folder)
    refused(outside("weights.bin", length="100"), "100 bytes from 0", folder)
    refused(outside("weights.bin", offset="x"), "no numbers", folder)
    found = parse_onnx(outside("weights.bin", offset="2", length="4"), folder / "model.onnx")
    assert found.constants["w"].tolist() == [2, 3, 4, 5]


def test_four_bit_codes():
    proto = helper.make_tensor("w", TensorProto.INT4, [3], np.array([0x87, 0x0F], np.uint8).tobytes(), raw=True)
    found = parse_onnx(model([helper.make_node("Relu", ["x"], ["y"])], [proto]))
    assert found.constants["w"].tolist() == [7, -8, -1] and found.four_bits == {"w"}


@pytest.mark.parametrize("scale", [np.inf, 3e38, 2e12, 1e-13, np.nan, -1.0, 0.0])
def test_absurd_scales_are_refused(scale):
    form = Form()
    x = form.quantized(form.input((4, 5)), scale)
    with pytest.raises(AccelsimError, match="not finite and sane"):
        lower_onnx(parse_onnx(form.build(form.node("Neg", [x]))))
