"""Written networks of digits: the same codes in ONNX Runtime and read back, parameters that round-trip, C."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from written_networks import runtime_codes  # noqa: E402

import accelsim as acs  # noqa: E402
from accelsim.errors import AccelsimError  # noqa: E402
from accelsim.export import load_parameters, save_parameters, to_c_header  # noqa: E402
from accelsim.export.parameters import layer_parameters  # noqa: E402
from accelsim.frontend import digits  # noqa: E402


@pytest.fixture(scope="module", params=sorted(digits.NETWORKS))
def case(request):
    """(graph in ONNX Runtime's arithmetic, every test image)."""
    data = digits.load_digits_data()
    graph = acs.from_torch(digits.trained(request.param, 0), data.calibration, profile="onnxruntime")
    return graph, np.asarray(data.test_images, np.float32)


def test_every_test_image(case, tmp_path):
    graph, x = case
    path = graph.to_onnx(tmp_path / "net.onnx")
    ours = acs.simulate(graph, x).output
    back = acs.from_onnx(path)
    assert back.profile == "onnxruntime" and back.inputs == graph.inputs and back.outputs == graph.outputs
    np.testing.assert_array_equal(acs.simulate(back, x).output, ours)
    plain = acs.simulate(acs.from_onnx(path, profile="onnxruntime-float"), x).output
    for level, codes in (
        ("DISABLE_ALL", plain),
        ("ENABLE_BASIC", plain),
        ("ENABLE_EXTENDED", ours),
        ("ENABLE_ALL", ours),
    ):
        np.testing.assert_array_equal(runtime_codes(graph, path, x, level), codes, err_msg=level)


def test_costs_are_noted(case, tmp_path):
    graph, _ = case
    report = acs.cost(graph, "edge-16x16")
    nodes = onnx.load(graph.to_onnx(tmp_path / "net.onnx", report)).graph.node
    noted = [{entry.key for entry in node.metadata_props} for node in nodes]
    wanted = {"accelsim_bits", "accelsim_weight_bits", "accelsim_energy_pj", "accelsim_latency_cycles"}
    assert sum(wanted <= keys for keys in noted) == len(graph.mac_ops)


def test_parameters_round_trip(case, tmp_path):
    graph, _ = case
    paths = save_parameters(graph, tmp_path / "net")
    assert all(path.is_file() for path in paths)
    found, truth = load_parameters(tmp_path / "net"), layer_parameters(graph)
    assert list(found) == [op.name for op in graph.mac_ops]
    for name, fields in truth.items():
        assert set(found[name]) == set(fields)
        for key, value in fields.items():
            np.testing.assert_array_equal(found[name][key], value)
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    with pytest.raises(AccelsimError, match="holds no parameters"):
        load_parameters(tmp_path / "net")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("profile", ["tflm", "onnxruntime"])
def test_the_header_compiles_and_holds_the_numbers(profile, tmp_path):
    data = digits.load_digits_data()
    graph = acs.from_torch(digits.trained("resnet", 0), data.calibration, profile=profile)
    header = to_c_header(graph, tmp_path / "net-params.h")
    op = graph.mac_ops[0]
    prefix = op.name.replace(".", "_")
    key = "multiplier" if profile == "tflm" else "scale"
    shown = "%d" if profile == "tflm" else "%a"
    source = (
        f'#include <stdio.h>\n#include "{header.name}"\nint main(void) {{ long s = 0; '
        f"for (int i = 0; i < {op.weight.size}; ++i) s += (long)(i + 1) * {prefix}_weight[i]; "
        f'printf("%ld\\n", s); for (int i = 0; i < {len(op.weight)}; ++i) printf("{shown}\\n", {prefix}_{key}[i]); '
        "return 0; }\n"
    )
    (tmp_path / "main.c").write_text(source)
    flags = ["-std=c99", "-Wall", "-Werror", "-Wno-unused-const-variable", "-Wno-unused-variable"]
    subprocess.run(["gcc", *flags, "-o", "main", "main.c"], check=True, cwd=tmp_path, timeout=60)
    lines = subprocess.run([tmp_path / "main"], check=True, capture_output=True, text=True).stdout.split()
    flat = op.weight.reshape(-1).astype(np.int64)
    assert int(lines[0]) == int((flat * np.arange(1, flat.size + 1)).sum())
    values = [int(v) if profile == "tflm" else float.fromhex(v) for v in lines[1:]]
    np.testing.assert_array_equal(values, op.requantizer.params[key])


def test_what_has_no_form(case, tmp_path):
    graph, _ = case
    narrow = acs.from_torch(digits.trained("resnet", 0), digits.load_digits_data().calibration, activation_bits=4)
    with pytest.raises(AccelsimError, match="has no grid of 8 or 16 bits"):
        narrow.to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(AccelsimError, match="cannot write"):
        graph.to_onnx(tmp_path / "missing" / "net.onnx")
