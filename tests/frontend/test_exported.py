"""A .pt2 file is loaded exactly, and nothing that hides in one is run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import pytest
import torch
from torch import nn

from accelsim.errors import AccelsimError
from accelsim.frontend import exported
from accelsim.frontend.exported import load_exported

MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
EXAMPLES = "data/sample_inputs/model.pt"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 16, 3)
        self.register_buffer("shift", torch.tensor([0.5, -1.0, 2.0]))

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.linear(x.reshape(x.shape[0], -1)) + self.shift + torch.ones(3)


class Poison:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def records(net, tmp_path_factory):
    """The records of a healthy file, without their root folder."""
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(net, (torch.zeros(4, 1, 4, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it ran"


@pytest.fixture
def write(records, tmp_path):
    def write(changes):
        path = tmp_path / "net.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**records, **changes}.items():
                archive.writestr(f"net/{name}", content)
        return path

    return write


def graph_with(records, change):
    model = json.loads(records[MODEL])
    change(model)
    return {MODEL: json.dumps(model).encode()}


def test_a_healthy_file_gives_the_same_network_for_any_batch(net, write):
    program = load_exported(write({}))
    for batch in (1, 2, 5):
        x = torch.randn(batch, 1, 4, 4)
        assert torch.equal(program.module()(x), net(x))


def test_poison_is_poisonous(marker):
    pickle.loads(pickle.dumps(Poison(marker))).close()
    assert marker.exists(), "else the tests below prove nothing"


def test_pickled_examples_are_never_opened(net, write, marker):
    stored = io.BytesIO()
    torch.save(((Poison(marker),), {}), stored)
    for content in (stored.getvalue(), pickle.dumps(Poison(marker))):
        program = load_exported(write({EXAMPLES: content}))
        x = torch.randn(2, 1, 4, 4)
        assert torch.equal(program.module()(x), net(x))
    assert not marker.exists()


def test_a_pickled_weight_is_refused(write, records, marker):
    config = json.loads(records[WEIGHTS])
    name, payload = next(iter(config["config"].items()))
    payload["use_pickle"] = True
    stored = io.BytesIO()
    torch.save(Poison(marker), stored)
    changes = {WEIGHTS: json.dumps(config), f"data/weights/{payload['path_name']}": stored.getvalue()}
    with pytest.raises(AccelsimError, match=rf"net\.pt2 is refused: tensor '{name}' is stored as a pickle"):
        load_exported(write(changes))
    assert not marker.exists()


@pytest.mark.parametrize(
    "record",
    ["data/weights/model.pt", "data/constants/model.pt", "data/constants/opaque_obj_0",
     "data/constants/custom_obj_0", "data/aotinductor/model/net.so", "models/other.json"],
)  # fmt: skip
def test_a_record_that_would_run_is_refused_by_name(write, record, marker):
    with pytest.raises(AccelsimError, match=f"record '{record}' needs pickle or native code"):
        load_exported(write({record: pickle.dumps(Poison(marker))}))
    assert not marker.exists()


def test_a_constant_that_points_to_an_object_is_refused(write, marker):
    config = {"config": {"evil": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False}}}
    with pytest.raises(AccelsimError, match="'evil' is stored as a pickle"):
        load_exported(write({"data/constants/model_constants_config.json": json.dumps(config)}))


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.ops.load_library", "torch.hub.load", "_operator.call", "math.os", "#ext.op",
     "_operator.methodcaller", "torch.ops.aten.relu.__class__", "torch.ops.evil.run.default"],
)  # fmt: skip
def test_only_torchs_own_operators_may_be_called(write, records, target):
    def change(model):
        model["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(AccelsimError, match=r"refused: it calls .* not one of torch's own \(aten\)"):
        load_exported(write(graph_with(records, change)))


@pytest.mark.parametrize(
    "text",
    ["().__class__.__base__", "__import__('os').system('true')", "open('{marker}', 'w')", "S('open(1)')",
     "(lambda: 1)()", "[x for x in y]", "Symbol('s0')[0]", "f'{{1}}'", "getattr(s0, 'x')", "1 +"],
)  # fmt: skip
def test_sizes_may_hold_no_code(write, records, marker, text):
    def change(model):
        values = model["graph_module"]["graph"]["tensor_values"]
        sizes = next(v["sizes"] for v in values.values() if any("as_expr" in s for s in v["sizes"]))
        next(s for s in sizes if "as_expr" in s)["as_expr"]["expr_str"] = text.format(marker=marker)

    with pytest.raises(AccelsimError, match="is not an arithmetic expression"):
        load_exported(write(graph_with(records, change)))
    assert not marker.exists()


def test_guards_in_the_file_are_not_executed(net, write, records, marker):
    def change(model):
        model["guards_code"] = [f"open({str(marker)!r}, 'w') is not None"]

    poisoned = graph_with(records, change)
    program = load_exported(write(poisoned))
    x = torch.randn(2, 1, 4, 4)
    assert torch.equal(program.module()(x), net(x)) and not marker.exists()
    # torch runs guards only beside example inputs, which are dropped too: each of the two is enough
    assert json.loads(exported._checked_graph(json.loads(poisoned[MODEL])))["guards_code"] == []


def test_containers_that_import_modules_are_refused(write, records):
    def change(model):
        spec = '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
        model["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = spec

    with pytest.raises(AccelsimError, match=r"packed in a 'collections\.defaultdict'"):
        load_exported(write(graph_with(records, change)))


def test_damage_is_a_clear_error(write, tmp_path, records):
    path = write({})
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(AccelsimError, match=r"net\.pt2 is .*truncated"):
            load_exported(path)
    with pytest.raises(AccelsimError, match="no such file"):
        load_exported(tmp_path / "absent.pt2")
    with pytest.raises(AccelsimError, match="older format"):
        old = tmp_path / "old.pt2"
        with zipfile.ZipFile(old, "w") as archive:
            archive.writestr("serialized_exported_program.json", "{}")
        load_exported(old)
    for broken in (b"not json", b"[]", b"{}"):
        with pytest.raises(AccelsimError, match=r"net\.pt2"):
            load_exported(write({MODEL: broken}))
