"""Whole networks: both backends agree whatever the accumulators do, and events are counted exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_networks import everything

import accelsim as acs
from accelsim import AccelsimError

EDGE = acs.load_spec("edge-16x16")
ORDERS = ["serial", "tree:4", "mapping"]


@pytest.fixture(scope="module")
def network():
    model, x = everything()
    return acs.from_torch(model, x), x.numpy()


def with_accumulators(**fields) -> acs.AcceleratorSpec:
    return EDGE.replace(**{f"array.accumulators.{key}": value for key, value in fields.items()})


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("bits", [32, 20, 16, 12])
def test_backends_agree(network, bits: int, overflow: str, order: str) -> None:
    graph, x = network
    spec = with_accumulators(bits=bits, overflow=overflow, order=order)
    fast = acs.simulate(graph, x[:1], spec, keep="all")
    slow = acs.simulate(graph, x[:1], spec, keep="all", backend="reference")
    for name in graph.tensors:
        assert np.array_equal(fast.tensors[name], slow.tensors[name]), name
    for name in fast.accumulators:
        assert np.array_equal(fast.accumulators[name], slow.accumulators[name]), name
    assert fast.events == slow.events
    assert any(e.outputs_with_events for e in fast.events) == (bits < 20), "narrow accumulators must overflow here"


@pytest.mark.parametrize(("bias", "zero_point"), [("after", "operand"), ("preload", "folded"), ("after", "folded")])
def test_where_bias_and_zero_points_enter(network, bias: str, zero_point: str) -> None:
    graph, x = network
    spec = with_accumulators(bits=16, overflow="saturate", bias=bias, zero_point=zero_point)
    fast = acs.simulate(graph, x[:1], spec)
    slow = acs.simulate(graph, x[:1], spec, backend="reference")
    assert np.array_equal(fast.output, slow.output) and fast.events == slow.events


def test_fused_equals_two_floors(network) -> None:
    graph, x = network
    fused = acs.simulate(graph, x)
    apart = acs.simulate(graph, x, keep="all")
    assert np.array_equal(fused.output, apart.output) and fused.events == apart.events


def test_batches_do_not_change_results(network) -> None:
    graph, x = network
    many = np.concatenate([x] * 6)[:130]
    together = acs.simulate(graph, many).output
    single = np.concatenate([acs.simulate(graph, many[i : i + 1]).output for i in (0, 63, 64, 65, 127, 129)])
    assert np.array_equal(together[[0, 63, 64, 65, 127, 129]], single)


def test_events_count_samples(network) -> None:
    graph, x = network
    spec = with_accumulators(bits=14, overflow="wrap")
    whole = acs.simulate(graph, x, spec).events
    parts = [acs.simulate(graph, x[i : i + 8], spec).events for i in (0, 8, 16)]
    for index, event in enumerate(whole):
        assert event.outputs_with_events == sum(part[index].outputs_with_events for part in parts)
        assert event.outputs == 24 * graph.tensors[graph.mac_ops[index].output].elements


def test_overflow_raise_names_the_layer(network) -> None:
    graph, x = network
    with pytest.raises(AccelsimError, match="layer 'stem'.*overflow"):
        acs.simulate(graph, x, with_accumulators(bits=10, overflow="raise"))


def test_saturating_order_that_contradicts_the_schedule(network) -> None:
    graph, x = network
    with pytest.raises(AccelsimError, match="fold.*ends after 16.*divisor of 16"):
        acs.simulate(graph, x[:1], with_accumulators(bits=16, overflow="saturate", order="tree:3"))
    acs.simulate(graph, x[:1], with_accumulators(bits=16, overflow="wrap", order="tree:3"))  # commutes


def test_mapping_order_on_output_stationary_is_serial(network) -> None:
    graph, x = network
    spec = EDGE.replace(**{"array.dataflow": "output_stationary"})
    runs = [
        acs.simulate(
            graph,
            x[:4],
            spec.replace(
                **{
                    f"array.accumulators.{k}": v
                    for k, v in {"bits": 14, "overflow": "saturate", "order": order}.items()
                }
            ),
        )
        for order in ("serial", "mapping")
    ]
    assert np.array_equal(runs[0].output, runs[1].output)


def test_codes_and_reals_are_the_same_input(network) -> None:
    graph, x = network
    codes = acs.simulate(graph, x, keep="all").tensors["x"]
    assert np.array_equal(acs.simulate(graph, codes).output, acs.simulate(graph, x).output)
    assert np.array_equal(acs.simulate(graph, {"x": x}).output, acs.simulate(graph, (x,)).output)


def test_tensors_that_were_not_kept(network) -> None:
    graph, x = network
    run = acs.simulate(graph, x[:1])
    with pytest.raises(AccelsimError, match="keep='all'"):
        run.real("stem")
    assert acs.simulate(graph, x[:1], keep="all").real("stem").shape[0] == 1


def test_a_planted_error_in_the_weights_is_seen(network) -> None:
    """The comparison above can fail: one weight code changed by one changes the output."""
    graph, x = network
    stem = graph.op("stem")
    weight = stem.weight.copy()
    weight[0, 1, 1, 0] ^= 1
    mutated = replace(graph, ops=tuple(replace(op, weight=weight) if op is stem else op for op in graph.ops))
    a, b = acs.simulate(graph, x[:1], keep="all"), acs.simulate(mutated, x[:1], keep="all", backend="reference")
    assert not np.array_equal(a.accumulators["stem"], b.accumulators["stem"])
