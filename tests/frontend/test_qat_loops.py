"""Prepared networks are ordinary modules: optimizers, loops, state_dict, deepcopy, checkpointing, refusals."""

from __future__ import annotations

import copy
import io
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import accelsim as acs
from accelsim.frontend.training.grids import LearnedGrid

BATCH_NORM = ["folded", "double-forward", "per-channel"]


class Blobs(nn.Module):
    """Three classes of 1×6×6 images; drop: with dropout."""

    def __init__(self, drop: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
        self.drop = nn.Dropout(0.5 if drop else 0.0)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = F.relu(x + self.deep(x)).mean((2, 3))
        return self.head(self.drop(x))


def blobs(seed: int = 0, **options: object) -> tuple[Blobs, torch.Tensor, torch.Tensor]:
    """(untrained network, images, labels): dark, middling and bright images, and noise."""
    torch.manual_seed(seed)
    model, labels = Blobs(**options), torch.arange(96) % 3
    x = torch.randn(96, 1, 6, 6) + 2.0 * (labels - 1).view(-1, 1, 1, 1)
    return model.eval(), x, labels


def prepared(
    batch_norm: str = "folded", seed: int = 0, **options: object
) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model, x, labels = blobs(seed)
    return (
        acs.prepare_qat(model, x, batch_norm=batch_norm, **{"weight_bits": 4, "activation_bits": 4, **options}),
        x,
        labels,
    )


def equal_codes(a: nn.Module, b: nn.Module, x: torch.Tensor) -> bool:
    a.eval(), b.eval()
    mine, theirs = a.codes(x), b.codes(x)
    return all(np.array_equal(mine[name], theirs[name]) for name in mine)


def steps(module: nn.Module, x: torch.Tensor, labels: torch.Tensor, count: int = 2, **options: float) -> None:
    optimizer = torch.optim.SGD(module.train().parameters(), **{"lr": 0.05, "momentum": 0.9, **options})
    for _ in range(count):
        optimizer.zero_grad()
        F.cross_entropy(module(x), labels).backward()
        optimizer.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
        lambda m: torch.optim.Adam(m.parameters(), lr=0.01),
        lambda m: torch.optim.AdamW(m.parameter_groups(0.01, weight_decay=1e-2, grid_lr=1e-3)),
    ],
    ids=["sgd", "adam", "adamw-groups"],
)
def test_a_usual_loop_learns(make) -> None:
    """Shuffled batches of unequal size, a schedule, clipped gradients, evaluation in between."""
    module, x, labels = prepared("double-forward", weight_bits=3)
    optimizer = make(module)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    losses = []
    for _ in range(6):
        module.train()
        for chosen in torch.randperm(96).split(40):
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(module(x[chosen]), labels[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
        schedule.step()
        module.eval()
        with torch.no_grad():
            losses.append(F.cross_entropy(module(x), labels).item())
    assert losses[-1] < 0.85 * losses[0], losses
    run = acs.simulate(acs.from_torch(module), x.numpy())
    assert np.array_equal(module(x).detach().numpy(), run.real().astype(np.float32))


@pytest.mark.parametrize("batch_norm", BATCH_NORM)
def test_state_dict_takes_everything_along(batch_norm: str) -> None:
    module, x, labels = prepared(batch_norm)
    steps(module, x, labels)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other, _, _ = prepared(batch_norm, seed=1)
    assert not equal_codes(module, other, x)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert equal_codes(module, other, x)
    for mine, theirs in zip(module.lower().mac_ops, other.lower().mac_ops, strict=True):
        assert np.array_equal(mine.weight, theirs.weight) and mine.weight_params == theirs.weight_params
    # training goes on alike
    for one in (module, other):
        steps(one, x, labels, count=1)
    assert equal_codes(module, other, x)


def test_a_state_of_other_widths_is_refused() -> None:
    module, _, _ = prepared(weight_bits=4)
    other, _, _ = prepared(weight_bits=3)
    with pytest.raises(RuntimeError, match="trained at 4 bits, not 3"):
        other.load_state_dict(module.state_dict())


@pytest.mark.parametrize("batch_norm", BATCH_NORM)
def test_deepcopy_is_equal_and_apart(batch_norm: str) -> None:
    module, x, labels = prepared(batch_norm)
    steps(module, x, labels, count=1)
    twin = copy.deepcopy(module)
    assert equal_codes(module, twin, x)
    before = module.codes(x)
    steps(twin, x, labels)
    assert not equal_codes(module, twin, x)
    assert all(np.array_equal(values, before[name]) for name, values in module.codes(x).items())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("batch_norm", BATCH_NORM)
def test_gradient_checkpointing_changes_nothing(batch_norm: str, reentrant: bool) -> None:
    """Same gradients, and running statistics that move once though the forward runs twice."""
    module, x, labels = prepared(batch_norm)
    twin = copy.deepcopy(module)
    F.cross_entropy(module(x), labels).backward()
    F.cross_entropy(checkpoint(twin, x.requires_grad_(), use_reentrant=reentrant), labels).backward()
    for (name, mine), theirs in zip(module.named_parameters(), twin.parameters(), strict=True):
        assert mine.grad is not None and torch.equal(mine.grad, theirs.grad), name
    for (name, mine), theirs in zip(module.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize("batch_norm", BATCH_NORM)
def test_evaluation_moves_nothing(batch_norm: str) -> None:
    module, x, labels = prepared(batch_norm)
    steps(module, x, labels, count=1)
    state = copy.deepcopy(module.eval().state_dict())
    F.cross_entropy(module(x), labels).backward()
    module.lower()
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    # one image at a time or all at once: nothing depends on the batch
    alone = torch.cat([module(image[None]) for image in x[:4]])
    assert torch.equal(alone, module(x)[:4])
    module.train()(x)
    moved = [name for name, value in module.state_dict().items() if not torch.equal(value, state[name])]
    assert bool(moved) == (batch_norm != "folded")
    assert all("running" in name for name in moved)


def test_running_statistics_are_torchs() -> None:
    """Two steps at momentum 0.1, unbiased variance."""
    model, x, _ = blobs()
    module = acs.prepare_qat(
        model, x, batch_norm="double-forward", weight_bits=14, activation_bits=14, ranges="min-max",
        spec=acs.load_spec("edge-16x16").replace(**{"array.accumulators.bits": 48}),
    )  # fmt: skip
    for _ in range(2):
        module(x)
        model.train()(x)
    norm, mine = model.stem[1], module.layer("stem.0").batch_norm
    torch.testing.assert_close(mine.running_mean, norm.running_mean, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(mine.running_var, norm.running_var, atol=1e-4, rtol=1e-3)


def test_mse_starts_with_tighter_grids_than_min_max() -> None:
    """Each method's own grids, and the range of the data in the second."""
    found = {}
    for ranges in ("mse", "min-max"):
        module, x, _ = prepared(ranges=ranges, bias_correction=False, weight_bits=3)
        direct = acs.from_torch(blobs()[0], x, ranges=ranges, bias_correction=False, weight_bits=3, activation_bits=4)
        for op in module.lower().mac_ops:
            assert op.weight_params == direct.op(op.name).weight_params
        found[ranges] = module
    weight = found["min-max"].layer("deep.0").weight.detach().double().flatten(1).abs().amax(1).numpy()
    scales = {ranges: m.layer("deep.0").weight_grid.params().scale for ranges, m in found.items()}
    np.testing.assert_allclose(scales["min-max"], weight / 3.5, rtol=0.2)  # signed codes: -4 … 3
    assert (scales["mse"] <= scales["min-max"] * 1.0001).all() and (scales["mse"] < scales["min-max"]).any()
    tensor = found["mse"].graph.inputs[0].name
    ends = {ranges: m.grid(tensor).params() for ranges, m in found.items()}
    assert ends["min-max"].real_max - ends["min-max"].real_min >= ends["mse"].real_max - ends["mse"].real_min


def test_saturating_accumulators_change_what_is_learned() -> None:
    """The forward goes through the kernels' saturation: a network trained with it knows it."""
    spec = acs.load_spec("edge-16x16").replace(
        **{"array.accumulators.bits": 9, "array.accumulators.overflow": "saturate"}
    )
    module, x, labels = prepared(spec=spec, weight_bits=5, activation_bits=6)
    wide, _, _ = prepared(weight_bits=5, activation_bits=6)
    assert not equal_codes(module, wide, x)
    run = acs.simulate(module.lower(), x.numpy(), spec)
    assert any(event.outputs_with_events for event in run.events)
    with torch.no_grad():
        before = F.cross_entropy(module(x), labels).item()
    steps(module, x, labels, count=12, lr=0.02)
    module.eval()
    run = acs.simulate(module.lower(), x.numpy(), spec)
    assert np.array_equal(module(x).detach().numpy(), run.real().astype(np.float32))
    assert F.cross_entropy(module(x), labels).item() < before


def test_dropout_is_left_out() -> None:
    model, x, _ = blobs(drop=True)
    module = acs.prepare_qat(model, x)
    assert torch.equal(module(x), module(x))


def test_scales_survive_an_optimizer_that_goes_wild() -> None:
    """Below zero a scale stops at 2^-10 of its first value, and gradients bring it back; NaN is named."""
    module, x, _ = prepared()
    grid = module.layer("head").weight_grid
    first = np.min(grid.params().scale)
    with torch.no_grad():
        grid.scale.fill_(-1.0)
    assert 0 < np.max(grid.params().scale) < first
    module(x).square().sum().backward()
    assert torch.isfinite(grid.scale.grad).all()
    with torch.no_grad():
        grid.scale.fill_(torch.nan)
    with pytest.raises(acs.AccelsimError, match="weights of layer 'head'.*lower the learning rate"):
        module(x)


def test_weights_that_diverge_are_named() -> None:
    module, x, _ = prepared()
    with torch.no_grad():
        module.layer("deep.0").weight[0, 0] = torch.inf
    with pytest.raises(acs.AccelsimError, match="layer 'deep.0': weights are NaN or infinite"):
        module(x)


def test_bad_inputs_are_named() -> None:
    module, x, _ = prepared()
    with pytest.raises(acs.AccelsimError, match=r"must have shape \(N, 1, 6, 6\), not \(96, 6, 6\)"):
        module(x[:, 0])
    with pytest.raises(acs.AccelsimError, match="NaN or infinite"):
        module(x * torch.inf)
    with pytest.raises(acs.AccelsimError, match="takes 1 inputs, not 2"):
        module(x, x)


def test_what_cannot_be_trained_is_named() -> None:
    """An operator that has no integers: its layer, before anything is trained."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.curious = nn.Linear(4, 4), nn.PReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.erfinv(self.curious(self.first(x)))

    with pytest.raises(acs.AccelsimError, match="curious"):
        acs.prepare_qat(Odd().eval(), torch.randn(8, 4))
    with pytest.raises(acs.AccelsimError, match="batch_norm must be one of"):
        acs.prepare_qat(blobs()[0], blobs()[1], batch_norm="static")


def test_parameter_groups_hold_every_parameter_once() -> None:
    module, _, _ = prepared("per-channel")
    groups = module.parameter_groups(0.1, weight_decay=0.01, grid_lr=0.001)
    seen = list(itertools.chain.from_iterable(group["params"] for group in groups))
    assert {id(p) for p in seen} == {id(p) for p in module.parameters()} and len(seen) == len({id(p) for p in seen})
    grids = {id(p) for m in module.modules() if isinstance(m, LearnedGrid) for p in m.parameters()}
    assert {id(p) for p in groups[2]["params"]} == grids and groups[2]["lr"] == 0.001
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0, 0.0]
