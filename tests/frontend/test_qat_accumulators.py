"""Training under a narrow accumulator: the projection of weight codes, and what it promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from recipe_networks import chained

import accelsim as acs
from accelsim.frontend.recipes.budget import Budget
from accelsim.frontend.training.projection import bounded_codes
from accelsim.quant import QuantParams


def magnitudes(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(codes, 0).sum(axis=-1), np.maximum(-codes, 0).sum(axis=-1)


def rounded(v: np.ndarray, grid: QuantParams) -> np.ndarray:
    return np.clip(np.rint(v), grid.qmin, grid.qmax).astype(np.int64)


@pytest.mark.parametrize("low", [0, -3, -128, -255])
@pytest.mark.parametrize("taps", [1, 3, 16, 200])
def test_every_channel_keeps_its_budget(low: int, taps: int) -> None:
    rng = np.random.default_rng(taps - low)
    grid = QuantParams(1.0, bits=4)
    for bits in (9, 12, 14, 16, 24):
        limit = 1 << (bits - 1)
        budget = Budget(low, low + 255, -limit, limit - 1)
        v = rng.normal(size=(20, taps)) * rng.choice([0.2, 3.0, 20.0])
        bias = rng.integers(-limit, limit, 20)
        bias[:3] = limit - 1, -limit, 0
        codes = rounded(v, grid)
        found = bounded_codes(v, codes, bias, grid, budget)
        held = budget.holds(*magnitudes(codes), bias)
        assert budget.holds(*magnitudes(found), bias).all()
        assert np.array_equal(found[held], codes[held])
        assert found.min() >= grid.qmin and found.max() <= grid.qmax
        assert (np.abs(found) <= np.abs(codes)).all() and (found * codes >= 0).all()


@pytest.mark.parametrize(("low", "high"), [(0, 5), (-2, 5), (-5, 5), (-5, 1)])
def test_projection_against_every_choice(low: int, high: int) -> None:
    """Four taps, all codes tried: what is found lies nearly as close to the weights as the closest that is allowed."""
    rng = np.random.default_rng(high - low)
    grid = QuantParams(1.0, bits=4)
    every = np.array(list(itertools.product(range(-8, 8), repeat=4)))
    for _ in range(15):
        most = int(rng.integers(20, 90))
        budget, bias = Budget(low, high, -most - 1, most), rng.integers(-15, 15, 1)
        v = rng.normal(size=(1, 4)) * 4
        found = bounded_codes(v, rounded(v, grid), bias, grid, budget)
        allowed = every[budget.holds(*magnitudes(every), bias)]
        best = np.square(allowed - v).sum(axis=1).min()
        assert np.sqrt(np.square(found - v).sum()) <= np.sqrt(best) + 1.0


def test_a_bias_that_does_not_fit_is_refused() -> None:
    grid = QuantParams(1.0, bits=4)
    with pytest.raises(acs.AccelsimError, match="bias alone does not fit"):
        bounded_codes(np.ones((1, 2)), np.ones((1, 2), np.int8), np.array([200]), grid, Budget(0, 255, -128, 127))


@pytest.mark.parametrize("bits", [10, 13])
@pytest.mark.parametrize("batch_norm", ["folded", "double-forward"])
def test_no_step_of_training_leaves_the_budget(bits: int, batch_norm: str) -> None:
    model, x = chained()
    spec = acs.load_spec("edge-16x16").replace(
        **{"array.accumulators.bits": bits, "array.accumulators.overflow": "raise"}
    )
    options = {"weight_bits": 6, "bias_correction": False, "batch_norm": batch_norm}
    assert not acs.certify(acs.prepare_qat(model, x, **options).lower(), spec)
    prepared = acs.prepare_qat(model, x, accumulator_bits=bits, spec=spec, **options)
    optimizer = torch.optim.Adam(prepared.parameters(), lr=0.02)
    before = prepared.lower()
    for _ in range(4):
        optimizer.zero_grad()
        (50 * prepared(50 * x) - 1).square().mean().backward()  # "raise": an overflow would end this
        optimizer.step()
        assert acs.certify(prepared.lower(), spec)
    graph = prepared.eval().lower()
    assert max(layer.safe_bits for layer in acs.certify(graph, spec).layers) == bits  # the budget is used
    assert any(not np.array_equal(op.weight, before.op(op.name).weight) for op in graph.mac_ops)
    assert np.array_equal(prepared(x).detach().numpy(), acs.simulate(graph, x.numpy(), spec).real().astype(np.float32))


def test_training_starts_at_the_codes_of_the_recipe() -> None:
    """Codes that keep the budget already are left alone."""
    model, x = chained()
    recipe = ["activation-ranges", "weight-ranges", "accumulator(bits=13)"]
    direct = acs.from_torch(model, x, recipe=recipe, weight_bits=6)
    prepared = acs.prepare_qat(model, x, recipe=recipe, weight_bits=6, accumulator_bits=13).lower()
    for op in direct.mac_ops:
        assert np.array_equal(op.weight, prepared.op(op.name).weight), op.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulator_bits": 4}, "accumulator_bits must be 8 to 32"),
        ({"accumulator_bits": True}, "accumulator_bits must be 8 to 32"),
        ({"accumulator_bits": 16, "symmetric_weights": False}, "symmetric_weights=True"),
        ({"accumulator_bits": 16, "batch_norm": "per-channel"}, "'folded' or 'double-forward'"),
    ],
)
def test_bad_use_is_refused(options: dict, message: str) -> None:
    with pytest.raises(acs.AccelsimError, match=message):
        acs.prepare_qat(*chained(), **options)
