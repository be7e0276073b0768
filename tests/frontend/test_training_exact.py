"""The prepared module's forward is the integer simulation, bit for bit: profiles, widths, accumulators, batch norm."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_networks import everything
from torch import nn
from trained_networks import check, narrow, train

import accelsim as acs
from accelsim.frontend import digits
from accelsim.frontend.api import calibrated, quantized
from accelsim.frontend.config import QuantConfig

PROFILES = ["tflm", "onnxruntime", "xnnpack", "tosa-single"]
BATCH_NORM = ["folded", "double-forward", "per-channel"]


@pytest.fixture(scope="module")
def network():
    return everything()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_forward_equals_simulation_before_and_after_training(network, profile: str, bits: int) -> None:
    model, x = network
    prepared = acs.prepare_qat(model, x, weight_bits=bits, activation_bits=bits, profile=profile)
    before = check(prepared, x)
    train(prepared, x)
    after = check(prepared, x)
    moved = [op.name for op in before.graph.mac_ops if not np.array_equal(op.weight, after.graph.op(op.name).weight)]
    assert moved or bits == 2


@pytest.mark.parametrize("batch_norm", BATCH_NORM[1:])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [8, 3])
def test_batch_norm_lowers_with_its_running_statistics(network, batch_norm: str, per_channel: bool, bits: int) -> None:
    model, x = network
    if batch_norm == "per-channel" and not per_channel:
        with pytest.raises(acs.AccelsimError, match="layer 'stem'.*per_channel=True"):
            acs.prepare_qat(model, x, batch_norm=batch_norm, per_channel=False)
        return
    prepared = acs.prepare_qat(
        model, x, weight_bits=bits, batch_norm=batch_norm, per_channel=per_channel, symmetric_weights=bits == 3
    )
    with torch.no_grad():
        prepared.layer("stem").batch_norm.weight[:2] *= -1.0  # negative gains turn the weights, a gain of 0 kills
        prepared.layer("stem").batch_norm.weight[2] = 0.0
    check(prepared, x)
    train(prepared, x)
    check(prepared, x)
    prepared.train()
    live = prepared.codes(x)
    prepared.freeze_batch_norm()
    frozen = prepared.codes(x)
    prepared.eval()
    assert all(np.array_equal(values, frozen[name]) for name, values in prepared.codes(x).items())
    assert not np.array_equal(live["stem"], frozen["stem"])


@pytest.mark.parametrize("profile", ["tflm", "tflite-ruy", "cmsis-nn", "fbgemm", "onnx-reference", "shift-only"])
def test_python_integers_agree(network, profile: str) -> None:
    """The slow truth, under profiles of every family."""
    model, x = network
    if "add" not in acs.load_profile(profile).operators:
        pytest.skip(f"profile {profile} defines no addition")
    prepared = acs.prepare_qat(model, x, weight_bits=4, activation_bits=5, profile=profile, symmetric_weights=False)
    train(prepared, x)
    check(prepared, x[:1], backend="reference")


@pytest.mark.parametrize(
    "spec",
    [
        narrow(10, "saturate"),
        narrow(10, "wrap"),
        narrow(12, "saturate", order="tree:2"),
        narrow(12, "saturate", bias="after", zero_point="folded"),
    ],
    ids=["saturate", "wrap", "tree", "bias-after"],
)
def test_narrow_accumulators_are_trained_through(network, spec: acs.AcceleratorSpec) -> None:
    model, x = network
    prepared = acs.prepare_qat(model, x, weight_bits=5, activation_bits=6, spec=spec)
    train(prepared, x, lr=1e-4)
    run = check(prepared, x, spec)
    assert any(event.outputs_with_events for event in run.events), "the accumulators are too wide to test anything"
    wide = acs.simulate(run.graph, x.numpy())
    assert not np.array_equal(wide.output, run.output)


@pytest.mark.parametrize("batch_norm", BATCH_NORM)
@pytest.mark.parametrize("ranges", ["mse", "min-max"])
def test_training_starts_where_post_training_quantization_ends(network, batch_norm: str, ranges: str) -> None:
    """Same grids and, batch norm folded, same codes of every tensor."""
    model, x = network
    options = {"weight_bits": 4, "activation_bits": 6, "ranges": ranges, "bias_correction": False}
    direct = acs.from_torch(model, x, **options)
    prepared = acs.from_torch(acs.prepare_qat(model, x, batch_norm=batch_norm, **options))
    assert [op.name for op in direct.ops] == [op.name for op in prepared.ops]
    for name, info in direct.tensors.items():
        if batch_norm == "folded" or info.params.bits == 6:
            assert info.params == prepared.tensors[name].params, name
    expected, got = (acs.simulate(graph, x.numpy()) for graph in (direct, prepared))
    if batch_norm == "folded":
        assert np.array_equal(expected.output, got.output)
    else:  # the same up to ties and the last bit of scales
        distance = np.abs(expected.real() - got.real())
        assert np.median(distance) < 0.02 * np.abs(expected.real()).max()


def test_bias_correction_is_kept(network) -> None:
    model, x = network
    direct = acs.from_torch(model, x, weight_bits=3)
    for batch_norm in BATCH_NORM:
        prepared = acs.from_torch(acs.prepare_qat(model, x, weight_bits=3, batch_norm=batch_norm))
        for op in direct.mac_ops:
            scale = np.asarray(op.weight_params.scale) * direct.tensors[op.inputs[0]].params.scale
            own = prepared.op(op.name)
            own_scale = np.asarray(own.weight_params.scale) * prepared.tensors[own.inputs[0]].params.scale
            if op.name.startswith(("shared", "head")):
                continue  # three calls of one module: corrected apart, trained as one
            np.testing.assert_allclose(op.bias * scale, own.bias * own_scale, atol=2 * max(scale.max(), 1e-4))


@pytest.mark.parametrize("batch_norm", BATCH_NORM)
def test_wide_grids_come_close_to_the_float_network(network, batch_norm: str) -> None:
    """In evaluation against running statistics, in training against torch's own batch norm."""
    model, x = copy.deepcopy(network[0]), network[1]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.05  # large enough to be seen
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    wide = narrow(48, "wrap")
    # ranges of larger inputs: nothing is clipped that the statistics of a batch make larger than the running ones
    prepared = acs.prepare_qat(
        model, 8 * x, weight_bits=14, activation_bits=14, residual_bits=14, ranges="min-max", profile="onnx-reference",
        batch_norm=batch_norm, spec=wide,
    )  # fmt: skip
    with torch.no_grad():
        expected = model.eval()(x)
        assert (prepared.eval()(x) - expected).abs().max() < 0.005 * expected.abs().max()
        if batch_norm != "folded":
            expected = model.train()(x)
            # double-forward: codes are those of the running statistics, which have moved; the largest weights may clip
            slack = 0.015 if batch_norm == "double-forward" else 0.005
            assert (prepared.train()(x) - expected).abs().max() < slack * expected.abs().max()
            for name, norm in (("stem", model.bn), ("pre", model.pre)):
                mine = prepared.layer(name).batch_norm
                torch.testing.assert_close(mine.running_mean, norm.running_mean, atol=1e-3, rtol=1e-3)
                torch.testing.assert_close(mine.running_var, norm.running_var, atol=1e-3, rtol=1e-3)
    model.eval()


def test_power_of_two_scales_stay_powers_of_two(network) -> None:
    model, x = network
    prepared = acs.prepare_qat(model, x, weight_bits=4, activation_bits=4, profile="shift-only")
    train(prepared, x, steps=8, lr=2e-2)
    run = check(prepared, x)
    scales = np.concatenate([np.atleast_1d(info.params.scale) for info in run.graph.tensors.values()])
    assert np.all(np.log2(scales) == np.rint(np.log2(scales)))
    with pytest.raises(acs.AccelsimError, match="powers of two alone.*batch_norm='folded'"):
        acs.prepare_qat(model, x, profile="shift-only", batch_norm="per-channel")


@pytest.mark.parametrize("recipe", ["bias-correction", "adaround"])
def test_recipes_are_starting_points(recipe: str) -> None:
    """Equalized networks with a ReLU6 per channel, and rounding that is not to nearest, are trained on."""
    data = digits.load_digits_data()
    model = digits.build("mobilenet", 3).eval()
    x = torch.from_numpy(data.train_images[:32])
    steps = recipe if recipe != "adaround" else ("weight-ranges", "adaround(iterations=30)", "activation-ranges")
    config = QuantConfig(weight_bits=4, activation_bits=6, recipe=steps)
    direct = quantized(calibrated(model, x), config)
    prepared = acs.prepare_qat(model, x, config)
    start = acs.from_torch(prepared)
    for op in direct.mac_ops:
        assert np.array_equal(op.weight, start.op(op.name).weight), op.name
    train(prepared, x, steps=2)
    check(prepared, x)
    if recipe == "bias-correction":
        with pytest.raises(acs.AccelsimError, match="recipe rewrites the folded network"):
            acs.prepare_qat(model, x, config, batch_norm="per-channel")


def test_other_shapes_of_networks() -> None:
    """Two inputs, two outputs of different rank, batch norm behind a fully connected layer, a sequence."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm, self.b = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Conv2d(1, 4, 3)
            self.tokens = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            z = torch.relu(self.norm(self.a(x))) + self.b(y).mean((2, 3))
            return z, self.tokens(y)

    torch.manual_seed(0)
    inputs = (torch.randn(12, 4), torch.randn(12, 1, 5, 5))
    for batch_norm in BATCH_NORM:
        prepared = acs.prepare_qat(Two().eval(), inputs, weight_bits=4, batch_norm=batch_norm)
        for _ in range(2):
            prepared.train()
            outputs = prepared(*inputs)
            (outputs[0].square().sum() + outputs[1].square().sum()).backward()
            with torch.no_grad():
                for p in prepared.parameters():
                    p -= 1e-3 * p.grad
                    p.grad = None
        prepared.eval()
        run = acs.simulate(prepared.lower(), tuple(x.numpy() for x in inputs))
        for name, output in zip(run.graph.outputs, prepared(*inputs), strict=True):
            assert np.array_equal(output.detach().numpy(), run.real(name).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
@pytest.mark.parametrize("profile", ["tflm", "onnxruntime", "tosa-single"])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_whole_digits_test_set(name: str, profile: str, bits: int) -> None:
    """After an epoch of training: every code of every tensor on the whole test set."""
    data = digits.load_digits_data()
    prepared = acs.prepare_qat(
        digits.trained(name, 0), data.calibration, weight_bits=bits, activation_bits=bits, profile=profile
    )
    digits.train(prepared, protocol=digits.Protocol(epochs=1, peak_learning_rate=0.01, weight_decay=0.0))
    check(prepared, torch.from_numpy(data.test_images))
