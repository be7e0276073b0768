"""search_bits: the programme against every choice, and a whole search on a small network."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

import accelsim as acs
from accelsim import AccelsimError
from accelsim.search.allocation import Choice, Problem, allocate
from accelsim.search.width_space import WidthSpace

FUSED = acs.load_spec("edge-16x16").replace(**{"array.pe": "fused"})


def random_problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    operators = {"a": "a", "b": "b", "b@2": "b", "c": "c"}  # b is shared: one width, two costs
    reads, makes = {"a": "input", "b": "a", "b@2": "b", "c": None}, {"a": "a", "b": "b", "b@2": None, "c": None}
    weights, activations = (2, 4, 8), (4, 8)
    costs = {
        (op, w, x, y): float(w * x + y + rng.uniform(0, 8))
        for op in operators
        for w in weights
        for x in activations
        for y in activations
    }
    names = ("input", "a", "b")
    harms = {(n, "weight", w): float(rng.uniform(0, 1) / w) for n in ("a", "b", "c") for w in weights}
    harms |= {(n, "activation", x): float(rng.uniform(0, 1) / x) for n in names for x in activations}
    rest = {(n, x): float(rng.uniform(0, x)) for n in ("a", "b", "") for x in activations}
    return Problem(operators, reads, makes, weights, activations, names, costs, rest, harms)


@pytest.mark.parametrize("seed", range(5))
def test_the_programme_finds_the_cheapest_of_all_choices(seed: int) -> None:
    problem = random_problem(seed)
    every = [
        Choice(dict(zip("abc", w, strict=True)), dict(zip(problem.activations, x, strict=True)))
        for w in itertools.product(problem.weight_bits, repeat=3)
        for x in itertools.product(problem.activation_bits, repeat=3)
    ]
    harms = np.array([problem.harm(choice) for choice in every])
    costs = np.array([problem.cost(choice) for choice in every])
    for budget in np.quantile(harms, [0, 0.1, 0.5, 0.9, 1]) * (1 + 1e-9):
        found = allocate(problem, float(budget))
        assert problem.harm(found) <= budget * (1 + 1e-6)
        assert problem.cost(found) == pytest.approx(costs[harms <= budget].min(), rel=1e-5)
    with pytest.raises(acs.AccelsimError, match="no choice of widths has an added-up error"):
        allocate(problem, float(harms.min()) / 2)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 4),
    ).eval()
    x = torch.randn(64, 1, 8, 8)
    with torch.no_grad():
        model[6].bias -= model(x).mean(0)  # no class is preferred
        labels = model(x).argmax(1).numpy()
    assert len(set(labels)) > 2
    return model, x.numpy(), labels


@pytest.mark.parametrize("objective", ["energy", "latency", "size"])
def test_search_on_a_small_network(network, objective: str, tmp_path) -> None:
    model, x, labels = network
    seen = []
    found = acs.search_bits(
        model,
        x,
        (x, labels),
        FUSED,
        objective=objective,
        max_accuracy_drop=0.1,
        workers=1,
        progress=lambda *a: seen.append(a),
    )
    best = found.best
    assert best.accuracy >= found.float_accuracy - 0.1
    good = found.frame[found.frame.accuracy >= found.float_accuracy - 0.1 - 1e-12]
    assert best.cost == good.cost.min()
    # what is reported is what the graph is
    bits = {op.name: op.weight_params.bits for op in found.graph.mac_ops}
    assert bits == best.weight_bits and set(bits) == {"0", "2", "6"}
    outputs = acs.simulate(found.graph, x, FUSED).real()
    assert np.mean(outputs.argmax(1) == labels) == best.accuracy
    again = acs.from_torch(model, x, found.config)
    assert all(np.array_equal(a.weight, b.weight) for a, b in zip(again.mac_ops, found.graph.mac_ops, strict=True))
    # the prediction of the cost is the cost model's own wherever nothing interacts between layers
    assert np.abs(found.frame.predicted_cost / found.frame.cost - 1).max() < (1e-9 if objective == "size" else 0.05)
    assert set(found.frame[found.frame.kind == "uniform"].index) == {0, 1, 2}
    assert seen[-1][0] == seen[-1][1] and [a for a, _ in seen] == sorted(a for a, _ in seen)
    page = found.save(tmp_path / "bits.html").read_text()
    assert "<svg" in page and "Uniform W4A8" in page
    held = json.loads(found.save(tmp_path / "bits.json").read_text())
    assert held["winner"]["weight_bits"] == best.weight_bits and held["unit"] == found.objective_unit
    assert "less" in str(found) or "more" in str(found)


def test_fixed_widths_are_left_alone(network) -> None:
    """The classifier's logits leave as accumulators: no width is chosen for them."""
    model, x, labels = network
    found = acs.search_bits(model, x, (x, labels), FUSED, max_accuracy_drop=0.5, uniform=(), workers=1)
    assert "6" not in found.best.activation_bits and "input" in found.best.activation_bits


def test_a_search_that_was_stopped_goes_on(network, tmp_path, monkeypatch) -> None:
    model, x, labels = network
    path, made = tmp_path / "trials.jsonl", []
    real = WidthSpace.graph_of

    def failing(space, choice):
        made.append(choice)
        if len(made) == 3:
            raise ValueError("no memory")
        return real(space, choice)

    asked = {"max_accuracy_drop": 0.5, "workers": 1, "results": path}
    monkeypatch.setattr(WidthSpace, "graph_of", failing)
    with pytest.raises(AccelsimError, match=r"1 of 3 trials of the search over widths failed.*(?s:.*)no memory"):
        acs.search_bits(model, x, (x, labels), FUSED, **asked)
    kept = len(path.read_bytes().splitlines())
    assert kept > 2  # the harms and the two others
    found = acs.search_bits(model, x, (x, labels), FUSED, **asked)
    # only the one that failed of the first three, and what the search asked for after them
    assert len(made) == 3 + len(found.frame) - 2 + 1  # the winner's graph is made once more
    lines = path.read_bytes().splitlines()
    assert len(lines) == len(found.harms) + len(found.frame) > kept
    monkeypatch.setattr("accelsim.search.width_trials.simulate", None)
    again = acs.search_bits(model, x, (x, labels), FUSED, **asked)
    assert again.frame.equals(found.frame) and again.harms == found.harms and again.config == found.config
    with pytest.raises(AccelsimError, match="trials of the search over widths failed"):
        acs.search_bits(model, x, (x, 1 - labels), FUSED, **asked)  # other labels: nothing of it is known


def test_bad_use_is_refused(network) -> None:
    model, x, labels = network
    data = (x, labels)
    for changes, message in (
        ({"spec": "edge-16x16"}, "pe: sized"),
        ({"objective": "speed"}, "unknown objective 'speed'; known: energy"),
        ({"max_accuracy_drop": 1.5}, "must be a fraction"),
        ({"weight_bits": ()}, "at least one width"),
        ({"weight_bits": (1, 8)}, "weight_bits must be an integer from 2"),
        ({"data": (x, None)}, "needs labels"),
    ):
        arguments = {"data": data, "spec": FUSED, "workers": 1, **changes}
        with pytest.raises(acs.AccelsimError, match=message):
            acs.search_bits(model, x, arguments.pop("data"), arguments.pop("spec"), **arguments)
    with pytest.raises(acs.AccelsimError, match="no allocation loses at most 0.00 points"):
        acs.search_bits(model, x, data, FUSED, workers=1, max_accuracy_drop=0.0, weight_bits=(2,), activation_bits=(2,))


def test_an_encoder_and_two_outputs() -> None:
    """Operators that only some widths need (changes of grid around norms and attention) are priced with their maker."""
    torch.manual_seed(0)

    class Encoder(torch.nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.embed, self.head, self.outputs = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3), outputs
            self.layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)

        def forward(self, x):
            y = self.head(self.layer(self.embed(x)).mean(1))
            return (y, y.relu()) if self.outputs == 2 else y

    model, x = Encoder(1).eval(), torch.randn(16, 4, 6)
    with torch.no_grad():
        labels = model(x).argmax(1).numpy()
    found = acs.search_bits(
        model, x, (x, labels), FUSED, max_accuracy_drop=0.9, workers=1, weight_bits=(4, 8), uniform=()
    )
    assert abs(found.gap["cost"]) < 0.05
    with pytest.raises(acs.AccelsimError, match="judges one output, the network has 2"):
        acs.search_bits(Encoder(2).eval(), x, (x, labels), FUSED, workers=1)
