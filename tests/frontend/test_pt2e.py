"""Programs of torchao's PT2E flow: their grids and codes unchanged, their reference execution met but for roundings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import accelsim as acs
from accelsim.frontend import pt2e
from accelsim.frontend.capture import capture
from accelsim.frontend.exported import load_exported
from accelsim.frontend.fold import fold_batch_norm, fuse_activations
from accelsim.frontend.operators.quantized import _params
from accelsim.quant import QuantParams

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e", reason="torchao is not installed")

from pt2e_flow import converted, everything, exported


@pytest.fixture(scope="module")
def program():
    return converted(everything)


def reference_codes(program, x: torch.Tensor) -> list[np.ndarray]:
    """What torch's quantize calls of activations give, in order."""
    found = []

    class Interpreter(torch.fx.Interpreter):
        def run_node(self, node):
            value = super().run_node(node)
            if "quantize_per_tensor" in str(node.target) and ".dequantize" not in str(node.target):
                found.append(value.numpy().astype(np.int64))
            return value

    with torch.no_grad():
        Interpreter(program).run(x)
    return found


def quantizers(program) -> dict[str, str]:
    """Quantize call → tensor of the integer graph, in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pt2e.register()
        example = pt2e._example(program)
    return dict(pt2e.take_grids(fuse_activations(fold_batch_norm(capture(program, example)))).quantizers)


def in_torch_order(codes: np.ndarray) -> np.ndarray:
    return codes.transpose(0, 3, 1, 2) if codes.ndim == 4 else codes


@pytest.mark.parametrize("signed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_integers_follow_the_reference_execution(program, signed: bool) -> None:
    module, x = program if signed else converted(lambda: everything(signed=False))
    graph = acs.from_torch(module)
    assert graph.profile == "fbgemm"
    run = acs.simulate(graph, x.numpy(), keep="all")
    with torch.no_grad():
        exact = module(x).numpy()
    error = run.real() - exact
    assert 10 * np.log10(np.square(exact).sum() / np.square(error).sum()) > 55
    names, codes = quantizers(module), reference_codes(module, x)
    assert len(names) == len(codes)
    different = elements = 0
    for tensor, expected in zip(names.values(), codes, strict=True):
        got = run.tensors[tensor].astype(np.int64)
        distance = np.abs((got if tensor == "x" else in_torch_order(got)).reshape(expected.shape) - expected)
        assert distance.max() <= 4, tensor  # a rounding, or one that finer grids behind it enlarge
        different, elements = different + int((distance > 0).sum()), elements + distance.size
    assert different < 0.005 * elements, (different, elements)


def test_a_layer_fed_the_reference_s_codes_differs_next_to_ties_alone(program) -> None:
    """What is left is the bias, rounded to the accumulator's scale: it moves an output by at most half a product."""
    module, x = program
    graph = acs.from_torch(module)
    held = dict(zip(quantizers(module).values(), reference_codes(module, x), strict=True))
    import accelsim_kernels as kernels

    checked = 0
    for op in graph.mac_ops:
        source = next((n for n in (op.inputs[0], op.inputs[0].removesuffix(".nhwc")) if n in held), None)
        if source is None or op.output not in held:
            continue
        codes = held[source].transpose(0, 2, 3, 1) if op.kind == "conv2d" else held[source]
        dtype = graph.tensors[op.inputs[0]].params.dtype
        codes = np.ascontiguousarray(codes.reshape(len(x), *graph.tensors[op.inputs[0]].shape).astype(dtype))
        sums, _ = op.accumulate([codes], kernels, {})
        got, expected = op.rescale(sums, kernels).astype(np.int64), held[op.output]
        got = in_torch_order(got).reshape(expected.shape)
        params = graph.tensors[op.output].params
        step = graph.tensors[op.inputs[0]].params.scale * np.asarray(op.weight_params.scale) / params.scale
        real = in_torch_order(sums * step).reshape(expected.shape)
        from_tie = np.abs(np.abs(real - np.floor(real)) - 0.5)
        wrong = got != expected
        assert (from_tie[wrong] <= 0.5 * step.max() + 1e-4).all(), op.name
        checked += 1
    assert checked >= 5
    for op in (op for op in graph.ops if op.kind == "lut"):  # functions have every code right
        got = op.run([held[op.inputs[0]].transpose(0, 2, 3, 1).astype(np.int8)], kernels, {}).values
        assert np.array_equal(in_torch_order(got), held[op.output]), op.name


def test_grids_and_codes_are_the_program_s_own(program) -> None:
    module, _ = program
    graph = acs.from_torch(module)
    state = module.state_dict()
    frozen = {tuple(v.shape): v.numpy() for k, v in state.items() if "frozen" in k}
    for op in graph.mac_ops:
        weight = op.weight.transpose(0, 3, 1, 2) if op.kind == "conv2d" else op.weight
        same = [v for k, v in state.items() if "frozen" in k and tuple(v.shape) == weight.shape]
        assert any(np.array_equal(v.numpy(), weight) for v in same), op.name
    assert frozen
    grids = [n.args[1:3] for n in module.graph.nodes if "dequantize_per_tensor" in n.name]
    used = {(p.scale, p.zero_point) for t in graph.tensors.values() if isinstance(p := t.params, QuantParams)}
    assert {(float(scale), int(zero)) for scale, zero in grids} == used


def test_the_exported_file_gives_the_same_graph(program, tmp_path) -> None:
    module, x = program
    direct = acs.from_torch(module)
    program_again = exported(module, x)
    torch.export.save(program_again, tmp_path / "q.pt2")
    loaded = acs.from_torch(load_exported(tmp_path / "q.pt2"))
    assert np.array_equal(acs.simulate(loaded, x.numpy()).output, acs.simulate(direct, x.numpy()).output)
    slow = acs.simulate(loaded, x[:1].numpy(), backend="reference")
    assert np.array_equal(slow.output, acs.simulate(direct, x[:1].numpy()).output)


@pytest.mark.slow
def test_trained_programs_come_in_the_same_way() -> None:
    module, x = converted(lambda: everything(qat=True), qat=True)
    graph = acs.from_torch(module, x)
    with torch.no_grad():
        exact = module(x).numpy()
    error = acs.simulate(graph, x.numpy()).real() - exact
    assert 10 * np.log10(np.square(exact).sum() / np.square(error).sum()) > 40


@pytest.mark.slow
def test_what_x86_inductor_leaves_in_float_needs_calibration() -> None:
    def quantizer():
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        made = x86.X86InductorQuantizer()
        made.set_global(x86.get_default_x86_inductor_quantization_config())
        return made

    module, x = converted(quantizer)
    with pytest.raises(acs.AccelsimError, match=r"'hardswish'.*have no quantizer.*calibration"):
        acs.from_torch(module)
    graph = acs.from_torch(module, x)
    with torch.no_grad():
        exact = module(x).numpy()
    error = acs.simulate(graph, x.numpy()).real() - exact
    assert 10 * np.log10(np.square(exact).sum() / np.square(error).sum()) > 30


@pytest.mark.parametrize(
    ("low", "high", "bits", "signed"),
    [(0, 255, 8, False), (-128, 127, 8, True), (-127, 127, 8, True), (0, 127, 7, False), (-8, 7, 4, True),
     (0, 15, 4, False), (-32768, 32767, 16, True), (0, 65535, 16, False), (0, 200, 8, False), (-4, 3, 3, True)],
)  # fmt: skip
def test_widths_follow_from_the_codes_in_use(low: int, high: int, bits: int, signed: bool) -> None:
    params = _params(0.1, 0, (low, high), None)
    assert (params.bits, params.signed) == (bits, signed)
    assert params.qmin <= low
    assert high <= params.qmax


def test_a_prepared_program_is_to_be_converted_first() -> None:
    class MinMaxObserver(torch.nn.Module):
        def forward(self, x):
            return x

    MinMaxObserver.__mro__[0].__name__ = "ObserverBase"
    root = torch.nn.Module()
    root.watch = MinMaxObserver()
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_module("watch", (x,)))
    with pytest.raises(acs.AccelsimError, match="convert_pt2e"):
        acs.from_torch(torch.fx.GraphModule(root, graph))


class Regridded(torch.nn.Module):
    """A tensor that is quantized twice, a pool that leaves on another grid, parts joined on a third."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _quantized(_quantized(x, 0.0513, 3), 0.0407, -2)
        y = _quantized(torch.max_pool2d(x, 2), 0.0711, -5)
        z = _quantized(torch.relu(y), 0.0313, -128, low=-100)
        return _quantized(torch.cat([y, z], 1), 0.0597, 0)


def _quantized(x: torch.Tensor, scale: float, zero_point: int, low: int = -128) -> torch.Tensor:
    ops, how = torch.ops.quantized_decomposed, (scale, zero_point, low, 127, torch.int8)
    return ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *how), *how)


def test_a_second_grid_is_a_change_of_grid() -> None:
    pt2e.register()
    x = 2 * torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    graph = acs.from_torch(exported(Regridded(), x))
    assert [op.kind for op in graph.ops].count("requantize") >= 4
    expected = np.rint(Regridded()(x).numpy() / 0.0597)
    distance = np.abs(np.rint(acs.simulate(graph, x.numpy()).real() / 0.0597) - expected)
    assert distance.max() <= 1
    assert np.mean(distance > 0) < 0.02
