"""The accumulator step: no input whatsoever overflows, and as little as possible is lost."""

from __future__ import annotations

import numpy as np
import pytest
from recipe_networks import chained

import accelsim as acs
from accelsim.frontend.api import calibrated, quantized
from accelsim.frontend.recipes.budget import Budget, Quadratic
from accelsim.frontend.recipes.coordinates import descend, fed_back

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


def error_of(network, weight_bits: int, last: str) -> float:
    x = np.concatenate([batch[0].numpy() for batch in network.seen.batches])
    graph = quantized(network, acs.QuantConfig(weight_bits=weight_bits, recipe=[*STEPS, last]))
    return float(np.square(acs.simulate(graph, x).real() - network.seen.values("classes").double().numpy()).mean())


@pytest.mark.parametrize("weight_bits", [4, 8])
def test_wide_accumulators_cost_nothing(network, weight_bits: int) -> None:
    """With room for every sum the step is least squares rounding: closer to float than the nearest codes."""
    corrections = ("bias-correction", "accumulator(bits=32)", "accumulator(bits=10)")
    nearest, wide, narrow = (error_of(network, weight_bits, last) for last in corrections)
    assert wide < nearest < narrow


def test_fine_weights_lose_no_more_than_coarse_ones(network) -> None:
    """Eight-bit codes at a coarser scale are four-bit codes: where those fit the budget better they are taken."""
    assert error_of(network, 8, "accumulator(bits=12)") < 1.3 * error_of(network, 4, "accumulator(bits=12)")


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
        q, b, cost = descend(
            Quadratic(gram[None]), target[None, None], mean[None], np.full((1, 1), offset), (-4, 3), budget
        )
        place = int(np.flatnonzero((codes == q[0, 0]).all(axis=1))[0])
        assert inside[place] and b[0, 0] == bias[place]
        assert np.isclose(cost[0, 0], costs[place])
        assert costs[place] <= 0.7 * costs[inside].min() + 1e-9


def test_taps_that_belong_together_come_at_least_as_close_as_the_nearest_codes() -> None:
    """Inputs that move together: a descent that starts at no weight at all alone would stop far away."""
    rng = np.random.default_rng(3)
    u = rng.uniform(0, 200, (500, 1)) + rng.uniform(0, 30, (500, 24))
    mean = u.mean(axis=0)
    gram = np.cov(u.T, bias=True) + np.eye(24)
    ideal = rng.normal(0, 30, (8, 24))
    budget = Budget(0, 255, -(1 << 31), (1 << 31) - 1)
    q, _, cost = descend(Quadratic(gram[None]), (ideal @ gram)[None], mean[None], np.zeros((1, 8)), (-127, 127), budget)
    nearest = np.rint(ideal)
    costs = np.einsum("nk,kj,nj->n", nearest, gram, nearest - 2 * ideal)
    power = np.einsum("nk,kj,nj->n", ideal, gram, ideal)
    assert (cost[0] + power <= costs + power + 1e-6 * power).all()
    assert np.mean(cost[0] + power) < np.mean(costs + power) / 4 and np.abs(q[0] - ideal).max() < 4


def test_errors_of_rounding_are_passed_on_within_the_budget() -> None:
    """Two taps that always move together: 0.4 and 0.4 are 0.8, one code and none; a third finds the budget spent."""
    gram = np.ones((1, 2, 2)) + 1e-9 * np.eye(2)
    ideal, none = np.array([[[0.4, 0.4]]]), (np.zeros((1, 2)), np.zeros((1, 1)))
    wide = Budget(0, 255, -(1 << 20), (1 << 20) - 1)
    assert fed_back(Quadratic(gram), ideal, *none, (-8, 7), wide).sum() == 1
    ideal, none = np.array([[[2.6, 2.6, 2.6]]]), (np.zeros((1, 3)), np.zeros((1, 1)))
    codes = fed_back(Quadratic(np.eye(3)[None]), ideal, *none, (-8, 7), Budget(0, 10, -50, 49))
    assert codes.sum() == 4  # each alone would be rounded to 2


def test_bad_use_is_refused(network) -> None:
    for recipe, message in (
        ([*STEPS, "accumulator(bits=4)"], "bits must be 8 to 32"),
        (["weight-ranges", "accumulator"], "comes after 'activation-ranges'"),
    ):
        with pytest.raises(acs.AccelsimError, match=message):
            quantized(network, acs.QuantConfig(recipe=recipe))
    with pytest.raises(acs.AccelsimError, match=r"layer 'stem.0'.*symmetric weights"):
        quantized(network, acs.QuantConfig(symmetric_weights=False, recipe=[*STEPS, "accumulator"]))
    with pytest.raises(acs.AccelsimError, match=r"layer '.*': its bias alone does not fit the accumulator"):
        quantized(network, acs.QuantConfig(weight_bits=16, recipe=[*STEPS, "accumulator(bits=8)"]))
