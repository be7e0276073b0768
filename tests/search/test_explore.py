"""explore: the costs of each design, what is shared and left out, and what survives a kill."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from loopback_cluster import small_task
from small_networks import everything

import accelsim as acs
from accelsim import AccelsimError
from accelsim.evaluation import price_graph
from accelsim.frontend.api import calibrated, quantized
from accelsim.search import costing
from accelsim.search.costing import ShortList, price_designs
from accelsim.search.fronts import nondominated
from accelsim.search.integers import workload_of
from accelsim.search.knobs import SpecBuilder, space_of

KNOBS = {
    "weight_bits": (2, 3, 8),
    "activation_bits": (4, 8),
    "array": [(4, 8), (8, 8)],
    "dataflow": ("ws", "os"),
    "accumulator_bits": (8, 12, 32),
    "buffer_bytes": (1024, 16384),
}
HARDWARE = {name: values for name, values in KNOBS.items() if not name.endswith("n_bits") and name != "weight_bits"}


@pytest.fixture(scope="module")
def task() -> tuple:
    return small_task()


@pytest.fixture(scope="module")
def explored(task):
    return acs.explore(*task, knobs=KNOBS, spec="micro-8x8", workers=1)


def test_every_design_is_what_it_would_be_alone(task, explored) -> None:
    model, calibration, data = task
    frame = explored.frame
    assert len(frame) == 144 and set(frame.status) <= {"known", "out of reach"}
    for row in range(0, 144, 37):
        quantization, spec = explored.design(row)
        graph = acs.from_torch(model, calibration, **quantization)
        report = acs.evaluate(graph, data, spec, float_model=model)
        one = frame.loc[row]
        assert report.area_mm2 == pytest.approx(one.area_mm2, rel=1e-12)
        assert one.energy_pj >= report.energy_pj * (1 - 1e-12) and one.energy_pj == pytest.approx(
            report.energy_pj, rel=0.05
        )
        if one.status == "known":
            assert (report.accuracy, report.sqnr_db) == (one.accuracy, one.sqnr_db)


def test_nothing_of_the_front_is_lost(task, explored) -> None:
    """Every configuration simulated by itself: the same front."""
    model, calibration, data = task
    frame, seen = explored.frame, {}
    network = calibrated(model, calibration)
    for row in range(len(frame)):
        quantization, spec = explored.design(row)
        key = (*quantization.values(), frame.accumulator_bits[row])
        if key not in seen:
            graph = quantized(network, acs.QuantConfig(**quantization))
            seen[key] = np.mean(acs.simulate(graph, data[0], spec).real().argmax(1) == data[1])
    accuracy = np.array(
        [seen[tuple(frame.loc[row, ["weight_bits", "activation_bits", "accumulator_bits"]])] for row in frame.index]
    )
    assert np.array_equal(accuracy[frame.status == "known"], frame.accuracy[frame.status == "known"])
    whole = nondominated(np.stack([-accuracy, frame.energy_pj, frame.area_mm2], axis=1))
    assert set(frame.index[frame.front]) <= set(frame.index[whole])
    best = {tuple(values) for values in np.stack([accuracy, frame.energy_pj, frame.area_mm2], axis=1)[whole].tolist()}
    assert {tuple(v) for v in frame.loc[frame.front, ["accuracy", "energy_pj", "area_mm2"]].to_numpy().tolist()} == best
    # 18 configurations of widths and accumulators, most of which cannot overflow
    assert explored.configurations == 18 and explored.simulations < 18
    assert [n for n, _, _ in explored.history] == list(range(1, explored.simulations + 1))
    volumes = [volume for _, _, volume in explored.history]
    assert volumes == sorted(volumes) and volumes[-1] == pytest.approx(explored.hypervolume(), abs=1e-12)


def test_costs_equal_pricing_one_by_one() -> None:
    """At the tilings of the full search, every column is what a report of its own says."""
    model, x = everything()
    graph = acs.from_torch(model, x, weight_bits=4)
    base = acs.load_spec("edge-16x16")
    specs = [
        base,
        base.replace(**{"array.dataflow": "os", "array.rows": 8}),
        base.replace(**{"array.dataflow": "is", "memories.buffer.size_bytes": 2**15, "vector.lut_bytes": 0}),
        base.replace(
            **{"array.pe": "fused", "array.accumulators.bits": 20, "memories.dram.bandwidth_bytes_per_cycle": 1}
        ),
        *(acs.load_spec(name) for name in ("micro-8x8", "eyeriss-v1", "nvdla-small", "tpu-v1")),
    ]
    workload = workload_of(graph)
    designs = [(workload, spec.sized_for(graph.weight_bits, graph.activation_bits)) for spec in specs]
    short = ShortList().learn(designs)
    costs = price_designs(designs, short)
    assert not costs.problem
    for i, spec in enumerate(specs):
        report = price_graph(graph, spec)
        assert costs.energy_pj[i] == pytest.approx(report.total_energy_pj, rel=1e-12)
        assert costs.area_mm2[i] == pytest.approx(report.total_area_mm2, rel=1e-12)
        if costs.energy_pj[i] == report.total_energy_pj:
            assert (costs.latency_cycles[i], costs.dram_bytes[i]) == (report.latency_cycles, report.dram_bytes)


def test_designs_that_no_short_listed_tiling_fits_are_searched_alone(task, monkeypatch) -> None:
    model, calibration, _ = task
    graph = acs.from_torch(model, calibration)
    spec = acs.load_spec("micro-8x8").sized_for(8, 8)
    whole = price_designs([(workload_of(graph), spec)], ShortList())
    assert whole.energy_pj[0] == pytest.approx(price_graph(graph, spec).total_energy_pj, rel=1e-12)
    tiny = spec.replace(**{"memories.buffer.size_bytes": 8})
    assert "does not fit on chip" in price_designs([(workload_of(graph), tiny)], ShortList()).problem[0]
    monkeypatch.setattr(costing, "CHUNK", 7)
    again = price_designs([(workload_of(graph), spec)] * 3, ShortList().learn([(workload_of(graph), spec)]))
    assert again.energy_pj.tolist() == [pytest.approx(whole.energy_pj[0], rel=1e-12)] * 3


def test_specs_put_together_from_parts_are_the_checked_ones() -> None:
    knobs = {**KNOBS, "pe": ("sized", "fixed"), "clock_hz": (1e8, 2e8), "memories.dram.burst_bytes": (32, 64)}
    space = space_of(knobs, ["micro-8x8", "edge-16x16"], quantization=True)
    builder = SpecBuilder(space)
    for index in space.random(40, 1):
        base = space.specs[index[0]]
        changes = builder._changes(space.hardware, int(index[0]), index)
        assert builder.of(index) == base.replace(**changes)
        widths = (4, 6)
        assert builder.sized(builder.of(index), widths) == base.replace(**changes).sized_for(*widths)


def test_results_continue_and_broken_lines_are_simulated_again(task, explored, tmp_path, monkeypatch) -> None:
    path = tmp_path / "accuracies.jsonl"
    asked = {"knobs": KNOBS, "spec": "micro-8x8", "results": path, "workers": 1}
    first = acs.explore(*task, **asked)
    assert first.frame.equals(explored.frame)
    lines = path.read_bytes().split(b"\n")[:-1]
    assert len(lines) == first.simulations
    path.write_bytes(b"\n".join(lines[:2]) + b"\n" + lines[2][:30])  # a driver that was killed
    with pytest.warns(UserWarning, match="not a finished result"):
        again = acs.explore(*task, **asked)
    assert again.frame.equals(first.frame) and again.simulations == first.simulations
    assert len(path.read_bytes().split(b"\n")[:-1]) == 3 + first.simulations - 2
    monkeypatch.setattr("accelsim.search.trials.crew", lambda *a, **k: pytest.fail("simulated again"))
    with pytest.warns(UserWarning, match="not a finished result"):
        assert acs.explore(*task, **asked).frame.equals(first.frame)


def test_a_budget_of_simulations_and_a_rule_of_thumb(task, explored) -> None:
    asked = {"knobs": KNOBS, "spec": "micro-8x8", "workers": 1}
    few = acs.explore(*task, **asked, simulations=3)
    assert few.simulations == 3 and (few.frame.status == "left out").any()
    assert 0 < few.hypervolume(explored.box) <= explored.hypervolume()
    none = acs.explore(*task, **asked, monotone=0.0)
    assert none.simulations <= explored.simulations
    assert none.notes == () or "more accurate than a wider one" in none.notes[0]


def test_constraints_and_objectives(task, explored) -> None:
    asked = {"knobs": KNOBS, "spec": "micro-8x8", "workers": 1}
    area = float(explored.frame.area_mm2.median())
    found = acs.explore(*task, **asked, constraints={"area": area, "accuracy": 0.97}, objectives=["energy", "latency"])
    front = found.frame[found.frame.front]
    assert (front.area_mm2 <= area).all() and (front.accuracy >= 0.97).all()
    assert (found.frame.status[found.frame.area_mm2 > area] == "refused").all()
    whole = explored.frame[(explored.frame.area_mm2 <= area)]
    known = whole[whole.accuracy >= 0.97]
    assert front.energy_pj.min() == known.energy_pj.min()
    with pytest.raises(AccelsimError, match=r"none of 144 designs is left"):
        acs.explore(*task, **asked, constraints={"area": 1e-9})


def test_costs_alone_and_graphs(task) -> None:
    model, calibration, data = task
    priced = acs.explore(model, calibration, knobs=KNOBS, spec="micro-8x8", objectives=["energy", "latency", "area"])
    assert set(priced.frame.status) == {"priced"} and priced.history == () and priced.frame.accuracy.isna().all()
    graph = acs.from_torch(model, calibration, weight_bits=3, activation_bits=4)
    found = acs.explore(graph, data=data, knobs=HARDWARE, spec="micro-8x8", workers=1)
    same = priced.frame[(priced.frame.weight_bits == 3) & (priced.frame.activation_bits == 4)]
    assert found.frame.area_mm2.tolist() == same.area_mm2.tolist()
    assert np.allclose(found.frame.energy_pj, same.energy_pj, rtol=0.05)
    assert found.configurations == 3 and found.float_accuracy is None
    with pytest.raises(AccelsimError, match="'weight_bits' quantizes the network, but this one is already quantized"):
        acs.explore(graph, knobs={"weight_bits": (2, 3)})


def test_random_designs_are_part_of_the_grid(task, explored) -> None:
    found = acs.explore(*task, knobs=KNOBS, spec="micro-8x8", method="random", designs=40, seed=3, workers=1)
    names = list(KNOBS)
    grid = explored.frame.set_index(names)
    assert len(found.frame) == 40 == len(found.frame.drop_duplicates(names))
    for _, row in found.frame.iterrows():
        assert grid.loc[tuple(row[names]), "energy_pj"] == row.energy_pj


def test_optuna_proposes_and_continues(task, explored, tmp_path) -> None:
    pytest.importorskip("optuna", reason="needs optuna")
    asked = {"knobs": KNOBS, "spec": "micro-8x8", "workers": 1, "method": "optuna", "designs": 64, "seed": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna's own
        one, two = acs.explore(*task, **asked), acs.explore(*task, **asked)
        assert one.frame.equals(two.frame)
        assert one.hypervolume(explored.box) > 0.8 * explored.hypervolume()
        stored = acs.explore(*task, **asked, storage=str(tmp_path / "study.log"), sampler="tpe")
        more = acs.explore(*task, **asked, storage=str(tmp_path / "study.log"), sampler="tpe")
    assert not more.frame.equals(stored.frame)  # the second run knows the first's trials
    names = list(KNOBS)
    grid = explored.frame.set_index(names)
    for _, row in one.frame.iterrows():
        assert grid.loc[tuple(row[names]), "energy_pj"] == row.energy_pj


def strict(outputs: np.ndarray, labels: np.ndarray) -> float:
    right = float(np.mean(outputs.argmax(1) == labels))
    if right < 0.9:
        raise ValueError("too coarse")
    return right


def test_a_simulation_that_fails_stops_no_other(task) -> None:
    asked = {"knobs": {**KNOBS, "accumulator_bits": (8, 32)}, "spec": "micro-8x8", "workers": 1, "metric": strict}
    with pytest.raises(AccelsimError, match="needs metric_range"):
        acs.explore(*task, **asked)
    said: list[tuple] = []
    with pytest.warns(UserWarning, match="the simulation of .* designs failed; the first: Traceback"):
        found = acs.explore(*task, **asked, metric_range=(0.25, 1.0), progress=lambda *a: said.append(a))
    failed = found.frame[found.frame.status == "failed"]
    assert len(failed) and (found.frame.status == "known").any()
    assert "ValueError: too coarse" in found.problems[failed.index[0]]
    assert said[-1][3] > 0 and said[0][0] == "designs"


def test_impossible_designs_are_named_and_left_out(task) -> None:
    knobs = {**KNOBS, "weight_bits": (4, 12), "pe": ("fixed", "sized"), "buffer_bytes": (64, 1024)}
    found = acs.explore(*task, knobs=knobs, spec="micro-8x8", workers=1)
    impossible = found.frame[found.frame.status == "impossible"]
    wide = impossible[(impossible.weight_bits == 12) & (impossible.pe == "fixed")]
    assert len(wide) and all("12" in found.problems[row] for row in wide.index)
    assert impossible.energy_pj.isna().all() and not impossible.front.any()


def test_wrong_requests(task) -> None:
    for changes, message in (
        ({"knobs": {"colour": (1,)}}, "unknown knob 'colour'; known: rows, cols, array, dataflow"),
        ({"knobs": {"weight_bits": ()}}, "has no values"),
        ({"knobs": {"weight_bits": (4, 4)}}, "a value twice"),
        ({"knobs": {"weight_bits": (1, 4)}}, "weight_bits must be"),
        ({"knobs": {"pe": ("sized", "bent")}}, "knob 'pe', value 'bent'"),
        ({"knobs": {"array": [(8, 8, 8)]}}, "should be one value or 2"),
        ({"objectives": ["speed"]}, "unknown objective 'speed'; known: accuracy, energy"),
        ({"objectives": []}, "at least one"),
        ({"constraints": {"area": "small"}}, "must be a number"),
        ({"method": "annealing"}, "unknown method"),
        ({"method": "random"}, "needs designs=N"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"engine": "slurm"}, "unknown engine"),
        ({"metric_range": (1, 0)}, "worst below best"),
        ({"spec": []}, "at least one spec"),
        ({"knobs": {f"memories.buffer.{n}": range(1, 60) for n in ("size_bytes", "word_bits", "banks")}}, "too many"),
    ):
        with pytest.raises(AccelsimError, match=message):
            acs.explore(*task, **{"knobs": {"weight_bits": (4,)}, "spec": "micro-8x8", "workers": 1, **changes})
    with pytest.raises(AccelsimError, match="accuracy needs data"):
        acs.explore(*task[:2], objectives=["accuracy", "energy"])


def test_pages_and_files(explored, tmp_path) -> None:
    page = explored.save(tmp_path / "explored.html").read_text()
    for text in ("Parallel coordinates", "<svg", "Accuracy against energy", "accumulator bits", "Hypervolume", "4×8"):
        assert text in page
    held = json.loads(explored.save(tmp_path / "explored.json").read_text())
    assert len(held["designs"]) == 144 and held["hypervolume"] == explored.hypervolume()
    assert explored.save(tmp_path / "explored.csv").read_text().count("\n") == 145
    assert "accuracy simulations for 18 different integer configurations" in str(explored)
    with pytest.raises(AccelsimError, match=r"must end in \.html"):
        explored.save(tmp_path / "explored.txt")
