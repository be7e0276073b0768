"""The accumulator step: no input whatsoever overflows, and as little as possible is lost."""

from __future__ import annotations

import numpy as np
import pytest
from recipe_networks import chained

import accelsim as acs
from accelsim.frontend.api import calibrated, quantized
from accelsim.frontend.recipes.coordinates import Budget, descend

STEPS = ["activation-ranges", "weight-ranges"]


@pytest.fixture(scope="module")
def network():
    return calibrated(*chained())


def spec_of(bits: int, **changes) -> acs.AcceleratorSpec:
    return acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": bits, **changes})


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("how", ["", ", zero_centred=True"])
def test_certified_and_every_witness_agrees(network, bits: int, how: str) -> None:
    spec = spec_of(bits, **{"array.accumulators.overflow": "raise"})
    plain = quantized(network, acs.QuantConfig(weight_bits=6, recipe=[*STEPS, "bias-correction"]))
    assert not acs.certify(plain, spec)
    graph = quantized(network, acs.QuantConfig(weight_bits=6, recipe=[*STEPS, f"accumulator(bits={bits}{how})"]))
    found = acs.certify(graph, spec)
    assert found.safe
    assert max(layer.safe_bits for layer in found.layers) == bits  # the budget is used
    x = np.concatenate([batch[0].numpy() for batch in network.seen.batches])
    acs.simulate(graph, 50 * x, spec)  # saturated inputs: would raise at the first overflow
    limit = 1 << (bits - 1)
    for layer in found.layers:
        for end in ("low", "high"):
            assert -limit <= found.witness(layer.name, end=end).accumulator < limit


def test_zero_centred_codes_add_up_to_nothing(network) -> None:
    recipe = [*STEPS, "accumulator(bits=12, zero_centred=True)"]
    graph = quantized(network, acs.QuantConfig(weight_bits=6, recipe=recipe))
    for op in graph.mac_ops:
        assert not op.weight.reshape(len(op.weight), -1).astype(int).sum(axis=1).any(), op.name


def test_wide_accumulators_cost_nothing(network) -> None:
    """With room for every sum the step is least squares rounding: closer to float than the nearest codes."""
    x = np.concatenate([batch[0].numpy() for batch in network.seen.batches])
    expected = network.seen.values("classes").double().numpy()
    errors = []
    for last in ("bias-correction", "accumulator(bits=32)", "accumulator(bits=10)"):
        graph = quantized(network, acs.QuantConfig(weight_bits=4, recipe=[*STEPS, last]))
        errors.append(np.square(acs.simulate(graph, x).real() - expected).mean())
    assert errors[1] < errors[0] < errors[2], errors


@pytest.mark.parametrize("low", [0, -3, -8])
def test_descent_against_every_choice(low: int) -> None:
    """Three taps, every code tried: within the budget, never better than the best, and close to it."""
    rng = np.random.default_rng(low + 10)
    budget = Budget(low, low + 15, -64, 63)
    root = rng.normal(size=(3, 3))
    gram = root @ root.T + np.eye(3)
    mean, offset = rng.uniform(low, low + 15, 3), 5.0
    codes = np.array(np.meshgrid(*[np.arange(-4, 4)] * 3)).reshape(3, -1).T
    for _ in range(20):
        target = rng.normal(size=3) * 6
        bias = np.floor(offset - codes @ mean + 0.5)
        inside = budget.holds(np.maximum(codes, 0).sum(axis=1), np.maximum(-codes, 0).sum(axis=1), bias)
        costs = np.einsum("ci,ij,cj->c", codes, gram, codes) - 2 * codes @ target
        q, b, cost = descend(gram[None], target[None, None], mean[None], np.full((1, 1), offset), (-4, 3), budget)
        place = int(np.flatnonzero((codes == q[0, 0]).all(axis=1))[0])
        assert inside[place] and b[0, 0] == bias[place]
        assert np.isclose(cost[0, 0], costs[place])
        assert costs[place] <= 0.7 * costs[inside].min() + 1e-9


def test_bad_use_is_refused(network) -> None:
    for recipe, message in (
        ([*STEPS, "accumulator(bits=4)"], "bits must be 8 to 32"),
        (["weight-ranges", "accumulator", "activation-ranges"], "comes after 'activation-ranges'"),
    ):
        with pytest.raises(acs.AccelsimError, match=message):
            quantized(network, acs.QuantConfig(recipe=recipe))
    with pytest.raises(acs.AccelsimError, match=r"layer 'stem.0'.*symmetric weights"):
        quantized(network, acs.QuantConfig(symmetric_weights=False, recipe=[*STEPS, "accumulator"]))
    with pytest.raises(acs.AccelsimError, match=r"layer '.*': its bias alone does not fit the accumulator"):
        quantized(network, acs.QuantConfig(weight_bits=16, recipe=[*STEPS, "accumulator(bits=8)"]))
