"""Recipes: their names, that rewriting steps keep the function, and that each step does what it is for."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from recipe_networks import chained, spread
from torch import nn

import accelsim as acs
from accelsim.frontend.api import calibrated, drafted, quantized
from accelsim.frontend.recipes.chains import chains, input_ranges, output_ranges
from accelsim.frontend.recipes.cross_entropy import best_range
from accelsim.frontend.recipes.gptq import rounded
from accelsim.frontend.recipes.moments import clipped_normal, output_moments
from accelsim.frontend.recipes.names import RECIPES, STEPS, check_recipe, parse_step
from accelsim.frontend.recipes.rounding import SoftWeight, annealed_beta
from accelsim.frontend.recipes.rows import draw, input_rows, output_rows
from accelsim.quant import choose_params, quantize

RANGES = ["activation-ranges", "weight-ranges"]


@pytest.fixture(scope="module")
def network():
    model, x = chained()
    return calibrated(model, x)


def sqnr_db(network, **config) -> float:
    x = torch.cat([batch[0] for batch in network.seen.batches])
    (expected,) = network.seen.graph.run((x,))
    got = acs.simulate(quantized(network, acs.QuantConfig(**config)), x.numpy()).real()
    noise = np.square(expected.double().numpy() - got).sum()
    return float(10 * np.log10(np.square(expected.double().numpy()).sum() / noise))


# names


def test_every_step_of_every_recipe_exists_and_is_imported() -> None:
    from accelsim.frontend.recipes.draft import bound_steps

    for steps in RECIPES.values():
        bound_steps(steps)
    bound_steps(tuple(STEPS))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("nope", r"unknown recipe 'nope'; recipes: min-max"),
        (["equalise"], r"unknown step 'equalise'; known: fold"),
        (["adaround(iterations)"], "is no argument"),
        (["adaround(("], "is no step"),
        ([], "a name or a list of steps"),
        (["equalize", "fold"], "'fold' comes first"),
        (["white-paper"], "'white-paper' is a whole recipe, no step; its steps: fold, equalize"),
        (["adaround(rows=8, rows=9)"], "gives rows twice"),
        (3, "a name or a list of steps"),
    ],
)
def test_bad_recipes_are_refused_when_the_configuration_is_made(recipe, message: str) -> None:
    with pytest.raises(acs.AccelsimError, match=message):
        acs.QuantConfig(recipe=recipe)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (["weight-ranges(how=mse)", "activation-ranges"], r"'weight-ranges' takes no argument 'how'.*: method"),
        (["equalize(iterations=many)"], r"iterations must be of type int, not 'many'"),
        (["activation-ranges"], "add 'weight-ranges'"),
        (["weight-ranges"], "add 'activation-ranges'"),
        (["activation-ranges", "weight-ranges", "equalize"], "reorder its steps"),
        (["activation-ranges(method=guess)", "weight-ranges"], "method must be one of mse"),
        (["adaround", "activation-ranges", "weight-ranges"], "add 'weight-ranges'"),
        (["weight-ranges", "reconstruct"], "'reconstruct' comes after"),
        ([*RANGES, "first-last-bits"], "comes before the steps that choose grids"),
        ([*RANGES, "accumulator", "bias-correction"], "'accumulator' comes last"),
        ([*RANGES, "adaround(rows=0)"], r"'adaround\(rows=0\)': rows must be at least 1"),
        ([*RANGES, "reconstruct(iterations=-2)"], "iterations must be at least 1"),
        ([*RANGES, "adaround(seed=-1)"], "seed must be at least 0"),
        ([*RANGES, "gptq(damping=0.0)"], "damping must be greater than 0"),
        ([*RANGES, "adaround(learning_rate=-1.0)"], "learning_rate must be greater than 0"),
        (["absorb-bias(deviations=-1)", *RANGES], "deviations must be at least 0"),
        (["batch-norm-ranges(alpha=0)", "weight-ranges"], "alpha must be greater than 0"),
    ],
)
def test_bad_steps_are_refused_by_name(network, recipe, message: str) -> None:
    with pytest.raises(acs.AccelsimError, match=message):
        quantized(network, acs.QuantConfig(recipe=recipe))


def test_one_string_may_hold_several_steps() -> None:
    steps = ("equalize(iterations=3)", "weight-ranges(method=mse)", "activation-ranges")
    assert check_recipe("equalize(iterations=3), weight-ranges(method=mse), activation-ranges") == steps
    assert parse_step("reconstruct(drop=0.25, seed=3)") == ("reconstruct", {"drop": 0.25, "seed": 3})
    json.dumps(asdict(acs.QuantConfig(recipe=list(steps))))


def test_the_default_is_the_pipeline_it_always_was(network) -> None:
    plain = quantized(network, acs.QuantConfig(weight_bits=4))
    spelled = quantized(
        network, acs.QuantConfig(weight_bits=4, recipe=["activation-ranges", "weight-ranges", "bias-correction"])
    )
    assert plain.notes != spelled.notes and "recipe: activation-ranges" in spelled.notes[0]
    for a, b in zip(plain.mac_ops, spelled.mac_ops, strict=True):
        assert np.array_equal(a.weight, b.weight) and np.array_equal(a.bias, b.bias)


# rewriting steps


def test_chains_stop_at_additions_and_pass_depthwise_pools_and_flatten(network) -> None:
    found = {chain.first.layer: [reader.node.layer for reader in chain.readers] for chain in chains(network.seen.graph)}
    assert found == {
        "expand.0": ["depthwise.0"],
        "depthwise.0": ["project.0"],
        "grouped.0": ["last"],
        "last": ["hidden"],
        "hidden": ["classes"],
    }


def test_chains_do_not_start_at_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)

        def forward(self, x):
            y = torch.relu(self.a(x))
            z = self.b(y)
            return self.c(z), z

    graph = calibrated(Two(), torch.randn(8, 4)).seen.graph
    assert [chain.first.layer for chain in chains(graph)] == ["a"]


def test_equalization_keeps_the_function_and_evens_the_ranges(network) -> None:
    draft = drafted(network, acs.QuantConfig(recipe=["equalize", "activation-ranges", "weight-ranges"]))
    x = torch.cat([batch[0] for batch in network.seen.batches])
    (before,), (after,) = network.seen.graph.run((x,)), draft.graph.run((x,))
    assert torch.allclose(before, after, atol=1e-4)
    for chain in chains(draft.graph):
        np.testing.assert_allclose(output_ranges(chain.first), input_ranges(chain.readers[0]), rtol=5e-3)
    upper = draft.graph.node("expand.0").clamp[1]
    assert isinstance(upper, tuple) and len(set(upper)) > 1  # ReLU6 became a clip per channel


def test_clip_per_channel_is_exact_on_the_array(network) -> None:
    graph = quantized(network, acs.QuantConfig(recipe="bias-correction"))
    assert np.ndim(graph.op("expand.0").requantizer.qmax) == 1
    x = network.seen.batches[0][0][:2].numpy()
    fast, slow = (acs.simulate(graph, x, keep="all", backend=b) for b in ("numba", "reference"))
    for name in graph.tensors:
        assert np.array_equal(fast.tensors[name], slow.tensors[name]), name


@pytest.mark.parametrize("seed", range(3))
def test_equalization_undoes_rescaled_channels(seed: int) -> None:
    """A network rescaled by powers of two and the network itself are the same integers after equalization."""
    model, x = chained()
    rescaled = copy.deepcopy(model)
    spread(rescaled, doublings=4, seed=seed)
    with torch.no_grad():
        assert torch.allclose(model(x), rescaled(x), atol=1e-3)
    plain, spread_out = calibrated(model, x), calibrated(rescaled, x)
    config = {"per_channel": False, "weight_bits": 6}
    assert sqnr_db(spread_out, recipe="min-max", **config) < sqnr_db(plain, recipe="min-max", **config) - 10
    ours = sqnr_db(spread_out, recipe="bias-correction", **config)
    assert abs(ours - sqnr_db(plain, recipe="bias-correction", **config)) < 1.5


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_smoothing_keeps_the_function_and_moves_outliers(alpha: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))
    with torch.no_grad():
        model[0].weight[3] *= 50
        model[0].bias[3] = 20
    x = torch.randn(64, 6)
    network = calibrated(model, x)
    steps = ["activation-ranges", "weight-ranges"]
    draft = drafted(network, acs.QuantConfig(recipe=[f"smooth(alpha={alpha})", *steps]))
    (before,), (after,) = network.seen.graph.run((x,)), draft.graph.run((x,))
    assert torch.allclose(before, after, atol=1e-3)
    peaks = draft.seen.values("0").amax(dim=0).numpy()
    if alpha == 1:  # every channel reaches the same value
        np.testing.assert_allclose(peaks[peaks > 0], 1.0, rtol=1e-4)
    elif alpha == 0:  # every weight that reads a channel does
        np.testing.assert_allclose(input_ranges(next(iter(chains(draft.graph))).readers[0]), 1.0, rtol=1e-4)
    else:
        seen = network.seen.values("0").amax(dim=0).numpy()
        assert peaks.max() / np.median(peaks) < seen.max() / np.median(seen) / 3


def test_absorption_moves_high_biases_on() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.Flatten()
    )
    torch.manual_seed(0)
    model[1].bias.data[:] = torch.tensor([10.0, 0.0, 5.0, 1.0])
    x = torch.randn(64, 1, 5, 5)
    for _ in range(200):
        model(x)
    model.eval()
    network = calibrated(model, x)
    draft = drafted(network, acs.QuantConfig(recipe=["absorb-bias", "activation-ranges", "weight-ranges"]))
    (before,), (after,) = network.seen.graph.run((x,)), draft.graph.run((x,))
    different = (before - after).abs() > 1e-3  # where a channel falls below its constant: a thousandth of a normal one
    assert 0 < different.float().mean() < 0.02
    first = draft.graph.node("0").parameters["mean"].numpy()
    np.testing.assert_allclose(first, [3.0, 0.0, 3.0, 1.0], atol=1e-5)
    assert draft.seen.limits["0"][1] < network.seen.limits["0"][1] - 5


def test_absorption_leaves_padded_readers_alone(network) -> None:
    """Behind a border of zeros the absorbed constant would be missing: expand feeds a padded depthwise layer."""
    draft = drafted(
        network, acs.QuantConfig(recipe=["absorb-bias(deviations=0.1)", "activation-ranges", "weight-ranges"])
    )
    assert torch.equal(
        draft.graph.node("expand.0").parameters["bias"], network.seen.graph.node("expand.0").parameters["bias"]
    )
    assert not torch.equal(
        draft.graph.node("grouped.0").parameters["bias"], network.seen.graph.node("grouped.0").parameters["bias"]
    )


# grids


def test_first_and_last_layer_keep_their_bits(network) -> None:
    graph = quantized(
        network,
        acs.QuantConfig(
            weight_bits=4, activation_bits=4, recipe=["first-last-bits", "activation-ranges", "weight-ranges"]
        ),
    )
    bits = {op.name: op.weight_params.bits for op in graph.mac_ops}
    assert bits.pop("stem.0") == bits.pop("classes") == 8 and set(bits.values()) == {4}
    assert graph.tensors["x"].bits == graph.tensors["hidden"].bits == 8 and graph.tensors["last"].bits == 4


def test_cross_entropy_clips_the_logits_that_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 10))
    logits[:, 0] = -60  # never the answer: its exact value is worth no range
    logits[np.arange(200), rng.integers(1, 10, 200)] += 6
    grid = best_range(logits, 4, symmetric=False, power_of_two=False)
    assert grid.real_min > -45


def test_cross_entropy_range_is_the_outputs_alone(network) -> None:
    steps = ["activation-ranges", "weight-ranges"]
    config = {"output_bits": 4}
    plain = drafted(network, acs.QuantConfig(recipe=steps, **config))
    ours = drafted(network, acs.QuantConfig(recipe=[*steps, "cross-entropy-range"], **config))
    changed = {name for name, params in plain.activations.items() if params != ours.activations[name]}
    assert changed <= {"classes"}
    assert ours.activations["classes"].bits == 4


def test_batch_norm_ranges_cover_what_is_seen(network) -> None:
    draft = drafted(network, acs.QuantConfig(recipe=["batch-norm-ranges", "weight-ranges"]))
    for name in ("stem.0", "expand.0", "project.0", "grouped.0"):
        low, high = network.seen.limits[network.seen.owners[name]]
        params = draft.activations[name]
        assert params.real_min <= low + params.scale and params.real_max >= high - params.scale, name


def test_moments_are_those_of_the_data(network) -> None:
    moments = output_moments(network.seen)
    for name in ("stem.0", "expand.0", "depthwise.0"):
        seen = network.seen.values(name).movedim(1, -1).flatten(0, -2).double()
        np.testing.assert_allclose(moments[name].mean, seen.mean(dim=0).numpy(), atol=0.25)


@pytest.mark.parametrize("clamp", [(0.0, None), (0.0, 6.0), (None, 1.0), (-0.5, 0.25), (None, None)])
def test_clipped_normal_against_sampling(clamp) -> None:
    mean, deviation = np.array([-1.0, 0.0, 2.0, 7.0]), np.array([1.0, 0.5, 2.0, 0.1])
    x = np.random.default_rng(0).normal(mean, deviation, (400_000, 4)).clip(*clamp) if clamp != (None, None) else None
    got = clipped_normal(mean, deviation**2, *clamp)
    expected = (mean, deviation**2) if x is None else (x.mean(axis=0), x.var(axis=0))
    np.testing.assert_allclose(got[0], expected[0], atol=0.01)
    np.testing.assert_allclose(got[1], expected[1], atol=0.03)


# rounding and biases


def test_soft_weights_start_at_the_float_weights_and_end_on_the_grid() -> None:
    weight = torch.randn(3, 5)
    params = choose_params(-4.0, 4.0, bits=6, symmetric=True)
    soft = SoftWeight(weight, params)
    assert torch.allclose(soft(), weight, atol=1e-3)
    assert np.array_equal(soft.to_nearest().values, quantize(weight.numpy(), params))
    up = soft.rounded().values - np.floor(weight.double().numpy() / params.scale)
    assert set(np.unique(up)) <= {0.0, 1.0}
    assert annealed_beta(0.1) is None and annealed_beta(0.2) == 20 and 2 < annealed_beta(0.9) < 3


@pytest.mark.parametrize("per_channel", [False, True])
def test_adaround_beats_nearest_and_repeats_bit_for_bit(network, per_channel: bool) -> None:
    config = {"weight_bits": 3, "per_channel": per_channel}
    steps = ["equalize", "activation-ranges", "weight-ranges"]
    nearest = sqnr_db(network, recipe=steps, **config)
    recipe = [*steps, "adaround(iterations=80, rows=256)"]
    assert sqnr_db(network, recipe=recipe, **config) > nearest + 1
    if per_channel:
        first, second = (quantized(network, acs.QuantConfig(recipe=recipe, **config)) for _ in range(2))
        assert all(np.array_equal(a.weight, b.weight) for a, b in zip(first.mac_ops, second.mac_ops, strict=True))


@pytest.mark.parametrize(
    "geometry",
    [
        {"padding": ((1, 0), (0, 2)), "stride": (1, 2), "dilation": (1, 1), "groups": 1},
        {"padding": ((0, 0), (1, 1)), "stride": (2, 1), "dilation": (2, 1), "groups": 2},
        {"padding": ((1, 1), (1, 1)), "stride": (1, 1), "dilation": (1, 1), "groups": 4},
    ],
)
def test_rows_are_what_the_outputs_read(geometry) -> None:
    from accelsim.frontend.float_graph import FloatNode, Ref
    from accelsim.frontend.operators.mac import Conv2d

    torch.manual_seed(0)
    weight, x = torch.randn(8, 4 // geometry["groups"], 3, 2), torch.randn(40, 4, 7, 6)
    node = FloatNode("c", Conv2d, (Ref("x", (4, 7, 6)),), (), geometry, {"weight": weight})
    y = Conv2d.execute(node, x)
    node = replace(node, shape=tuple(y.shape[1:]))
    chosen = draw(node, len(x), 300, torch.Generator().manual_seed(1))
    rows = input_rows(node, x, chosen)
    by_group = weight.reshape(geometry["groups"], 8 // geometry["groups"], -1)
    got = torch.einsum("grk,gnk->rgn", rows, by_group).flatten(1)
    assert len(set(chosen.tolist())) == 300
    assert torch.allclose(got, output_rows(node, y, chosen), atol=1e-5)


def test_gptq_beats_nearest(network) -> None:
    config = {"weight_bits": 3, "activation_bits": 8}
    steps = ["activation-ranges", "weight-ranges"]
    assert sqnr_db(network, recipe=[*steps, "gptq"], **config) > sqnr_db(network, recipe=steps, **config) + 1


def test_gptq_by_hand() -> None:
    """Two equal taps: what the first lost by rounding, the second makes up for, whatever its own nearest code."""
    weight, gram = np.array([[[0.4, 0.4]]]), np.array([[[1.0, 1.0], [1.0, 1.0 + 1e-9]]])
    codes = rounded(weight, gram, np.ones((1, 1)), np.zeros((1, 1), int), (-8, 7), 1e-6)
    assert codes.sum() == 1  # 0.4 + 0.4 = 0.8; the nearest codes add up to 0
    independent = rounded(weight, np.eye(2)[None], np.ones((1, 1)), np.zeros((1, 1), int), (-8, 7), 0.0)
    assert independent.sum() == 0


def test_adaround_moves_no_weight_by_more_than_one_step(network) -> None:
    steps = ["weight-ranges", "activation-ranges"]
    plain = drafted(network, acs.QuantConfig(recipe=steps, weight_bits=3))
    seen = []
    from accelsim.frontend.recipes.draft import Draft, run_steps

    start = Draft(network.name, network.seen, acs.QuantConfig(weight_bits=3), progress=lambda *a: seen.append(a))
    ours = run_steps(start, ["weight-ranges", "adaround(iterations=60, rows=256)", "activation-ranges"], {})
    for name, codes in plain.weights.items():
        assert np.abs(codes.values.astype(int) - ours.weights[name].values).max() <= 1
        assert codes.params == ours.weights[name].params
    assert seen[0] == ("AdaRound", 0, 8) and seen[-1] == ("AdaRound", 8, 8)


def test_block_reconstruction_beats_nearest_at_few_bits(network) -> None:
    config = {"weight_bits": 3, "activation_bits": 4}
    steps = ["activation-ranges", "weight-ranges"]
    ours = sqnr_db(network, recipe=[*steps, "reconstruct(iterations=60)"], **config)
    assert ours > sqnr_db(network, recipe=steps, **config) + 1


def test_networks_without_a_block_are_not_left_as_they_are() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.one(a) + self.other(b)

    x = (torch.randn(8, 4), torch.randn(8, 4))
    with pytest.raises(acs.AccelsimError, match=r"network of 2 input\(s\) has none; 'adaround'"):
        acs.from_torch(Sum(), x, recipe=[*RANGES, "reconstruct(iterations=5)"])


def test_blocks_keep_residuals_whole(network) -> None:
    from accelsim.frontend.recipes.blocks import blocks

    found = blocks(network.seen.graph)
    assert [node.layer for block in found for node in block.nodes if "weight" in node.parameters] == [
        "stem.0", "expand.0", "depthwise.0", "project.0", "grouped.0", "last", "hidden", "classes",
    ]  # fmt: skip
    (residual,) = [block for block in found if len([n for n in block.nodes if "weight" in n.parameters]) > 1]
    assert residual.source == "stem.0" and residual.output.inputs[0].name == "stem.0"


def test_analytic_bias_correction_removes_most_of_the_shift_without_data(network) -> None:
    x = torch.cat([batch[0] for batch in network.seen.batches])
    expected = network.seen.channel_means["grouped.0"]
    errors = []
    for correction in ([], ["analytic-bias-correction"]):
        recipe = ["batch-norm-ranges", "weight-ranges", *correction]
        config = acs.QuantConfig(recipe=recipe, weight_bits=3, activation_bits=8, per_channel=False)
        draft = drafted(network, config)
        graph = draft.integer_graph()
        run = acs.simulate(graph, x.numpy(), keep="all")
        got = run.accumulators["depthwise.0"] * graph.op("depthwise.0").weight_params.scale
        got = (got * graph.tensors["expand.0"].params.scale).reshape(-1, 12).mean(axis=0)
        errors.append(np.abs(got - network.seen.channel_means["depthwise.0"]).mean())
    assert expected.shape == (8,)
    assert errors[1] < errors[0] / 1.5, errors


@pytest.mark.parametrize("recipe", ["min-max", "bias-correction", "data-free"])
def test_named_recipes_at_8_bits_are_close_to_float(network, recipe: str) -> None:
    assert sqnr_db(network, recipe=recipe) > 25
