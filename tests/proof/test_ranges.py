"""certify(): the bounds are those of brute force, witnesses reach them, and A2Q+ agrees."""

from __future__ import annotations

import itertools

import accelsim_kernels as kernels
import numpy as np
import pytest

from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.hardware import load_spec
from accelsim.ops.base import TensorInfo
from accelsim.ops.mac import Conv2d, Linear
from accelsim.proof.ranges import certify, signed_bits
from accelsim.quant import AccumulatorParams, QuantParams


def spec_with(**accumulators):
    data = load_spec("edge-16x16").model_dump(mode="json")
    data["array"]["accumulators"] = {"order": "serial", **accumulators}
    data["array"]["dataflow"] = "output_stationary"
    return type(load_spec("edge-16x16")).model_validate(data)


def linear(weight, *, bits=2, x_zero_point=0, w_zero_point=0, bias=None, signed=True) -> IntegerGraph:
    grid = QuantParams(1.0, x_zero_point, bits=bits, signed=signed)
    weight = np.asarray(weight, np.int8)
    op = Linear("fc", ("x",), "y", weight, QuantParams(1.0, w_zero_point, bits=8), x_zero_point,
                None if bias is None else np.asarray(bias, np.int32), None)  # fmt: skip
    out = AccumulatorParams(1.0)
    tensors = {"x": TensorInfo((weight.shape[1],), grid), "y": TensorInfo((weight.shape[0],), out)}
    return IntegerGraph((op,), ("x",), ("y",), tensors, profile="tflm")


def brute_force(graph, how):
    """Every input on the grid, every prefix, in Python integers."""
    op, grid = graph.ops[0], graph.tensors["x"].params
    zx, zw = op.x_zero_point, int(op.weight_params.zero_point)
    low, high = [], []
    for k, row in enumerate(op.weight.tolist()):
        bias = 0 if op.bias is None else int(op.bias[k])
        seen = []
        for x in itertools.product(range(grid.qmin, grid.qmax + 1), repeat=len(row)):
            if how["zero_point"] == "folded":
                steps = [a * w for a, w in zip(x, row, strict=True)]
                constant = bias - zx * sum(row) - zw * sum(x) + len(row) * zx * zw
            else:
                steps = [(a - zx) * (w - zw) for a, w in zip(x, row, strict=True)]
                constant = bias
            total = 0 if how["bias"] == "after" else constant
            seen.append(total)
            group = int(how["order"].partition(":")[2] or 1)
            for first in range(0, len(steps), group):
                total += sum(steps[first : first + group])
                seen.append(total)
            seen.append(total + (constant if how["bias"] == "after" else 0))
        low.append(min(seen))
        high.append(max(seen))
    return low, high


@pytest.mark.parametrize("bias_at", ["preload", "after"])
@pytest.mark.parametrize("zero_point", ["operand", "folded"])
@pytest.mark.parametrize("order", ["serial", "tree:2"])
def test_bounds_are_those_of_brute_force(bias_at, zero_point, order):
    rng = np.random.default_rng(0)
    how = {"bias": bias_at, "zero_point": zero_point, "order": order}
    for case in range(6):
        graph = linear(
            rng.integers(-8, 8, (3, 5)), x_zero_point=int(rng.integers(-2, 2)), bias=rng.integers(-20, 20, 3),
            w_zero_point=int(rng.integers(-3, 4)) if case % 2 else 0,
        )  # fmt: skip
        layer = certify(graph, spec_with(bits=32, **how)).layer("fc")
        assert (layer.low.tolist(), layer.high.tolist()) == brute_force(graph, how)


def test_inner_levels_are_bounded_span_by_span():
    graph = linear([[8, 16, 24, -32, 40]], signed=False)
    levels = [{"bits": 8, "overflow": "wrap", "span": 2}, {"bits": 16, "overflow": "wrap"}]
    layer = certify(graph, spec_with(levels=levels)).layer("fc")
    inner, outer = layer.levels
    assert (inner.low.item(), inner.high.item()) == (-96, 120)
    assert (outer.low.item(), outer.high.item()) == (-96, 264)
    assert (inner.safe, outer.safe, layer.safe) == (True, True, True)
    wider = linear([[9, 18, 27, -36, 45]], signed=False)
    assert not certify(wider, spec_with(levels=levels)).safe


def convolution(padding=((1, 1), (1, 1)), size=(5, 6), stride=(1, 1)) -> IntegerGraph:
    rng = np.random.default_rng(1)
    weight = rng.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8)
    grid = QuantParams(0.1, -7, bits=8)
    weights = QuantParams(np.full(4, 0.1), np.zeros(4, np.int64), axis=0)
    bias = rng.integers(-1000, 1000, 4).astype(np.int32)
    how = {"stride": stride, "padding": padding, "groups": 2}
    op = Conv2d("conv", ("x",), "y", weight, weights, -7, bias, None, **how)
    shape = op.output_shape([(*size, 4)])
    tensors = {"x": TensorInfo((*size, 4), grid), "y": TensorInfo(shape, AccumulatorParams(1.0))}
    return IntegerGraph((op,), ("x",), ("y",), tensors, profile="tflm")


@pytest.mark.parametrize("bias_at", ["preload", "after"])
@pytest.mark.parametrize("zero_point", ["operand", "folded"])
@pytest.mark.parametrize("order", ["serial", "tree:2"])
def test_a_witness_reaches_the_bound_on_its_way(bias_at, zero_point, order):
    rng = np.random.default_rng(3)
    spec = spec_with(bits=32, bias=bias_at, zero_point=zero_point, order=order)
    group, before_the_end = int(order.partition(":")[2] or 1), 0
    for _ in range(12):
        graph = linear(
            rng.integers(-8, 8, (3, 5)), bits=4, x_zero_point=int(rng.integers(-8, 8)), bias=rng.integers(-90, 90, 3),
            w_zero_point=int(rng.integers(-3, 4)),
        )  # fmt: skip
        op, found = graph.ops[0], certify(graph, spec)
        zx, zw = op.x_zero_point, int(op.weight_params.zero_point)
        for channel, end in itertools.product(range(3), ("low", "high")):
            seen = found.witness("fc", channel, end)
            x, w = seen.x[0].tolist(), op.weight[channel].tolist()
            steps, constant = [(a - zx) * (b - zw) for a, b in zip(x, w, strict=True)], int(op.bias[channel])
            assert seen.accumulator == sum(steps) + constant
            if zero_point == "folded":
                steps = [a * b for a, b in zip(x, w, strict=True)]
                constant += -zx * sum(w) - zw * sum(x) + 5 * zx * zw
            total = 0 if bias_at == "after" else constant
            held = [total]
            for first in range(0, 5, group):
                total += sum(steps[first : first + group])
                held.append(total)
            held.append(seen.accumulator)
            assert seen.reached == getattr(found.layer("fc"), end)[channel] == (max if end == "high" else min)(held)
            before_the_end += seen.reached != seen.accumulator
    assert (before_the_end > 0) == (bias_at == "after" or zero_point == "folded")


@pytest.mark.parametrize("size", [(5, 6), (3, 3), (2, 2), (1, 4)])
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_witness_reaches_the_bound(size, end):
    graph = convolution(size=size)
    spec = spec_with(bits=32)
    found = certify(graph, spec)
    op = graph.ops[0]
    for channel in range(4):
        witness = found.witness("conv", channel, end)
        values, _ = op.accumulate([witness.x], kernels, spec.array.accumulators.kernel_kwargs())
        bound = getattr(found.layer("conv"), end)[channel]
        if end == "low":
            bound = min(bound, values[witness.index]) if bound == op.bias[channel] else bound
        assert values[witness.index] == witness.accumulator == bound


def worst_over_every_position(op, size, grid, channel):
    """Per output position: bias + the best code of every tap inside the image, in Python integers."""
    zx, outputs = op.x_zero_point, op.output_shape([(*size, 4)])
    ends = []
    for oy, ox in np.ndindex(*outputs[:2]):
        low = high = int(op.bias[channel])
        for ky, kx, c in np.ndindex(*op.weight.shape[1:]):
            iy = oy * op.stride[0] + ky - op.padding[0][0]
            ix = ox * op.stride[1] + kx - op.padding[1][0]
            if 0 <= iy < size[0] and 0 <= ix < size[1]:
                products = [(code - zx) * int(op.weight[channel, ky, kx, c]) for code in (grid.qmin, grid.qmax)]
                low, high = low + min(products), high + max(products)
        ends.append((low, high))
    return min(low for low, _ in ends), max(high for _, high in ends)


@pytest.mark.parametrize("size", [(2, 2), (1, 2), (2, 5), (3, 3), (5, 6)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_no_position_of_a_small_padded_image_is_worse_than_the_bound(size, stride):
    # 2 pixels under 3 taps: taps (1, 2) at one output, (0, 1) at the next, and neither is the worst for every weight
    graph, spec = convolution(size=size, stride=stride), spec_with(bits=32)
    found, op = certify(graph, spec), graph.ops[0]
    for channel in range(4):
        low, high = worst_over_every_position(op, size, graph.tensors["x"].params, channel)
        layer = found.layer("conv")
        assert (layer.low[channel], layer.high[channel]) == (low, high)
        for end, bound in (("low", low), ("high", high)):
            witness = found.witness("conv", channel, end)
            values, _ = op.accumulate([witness.x], kernels, spec.array.accumulators.kernel_kwargs())
            assert values[witness.index] == witness.accumulator == bound


def test_inner_accumulators_of_a_tree_are_bounded_where_it_adds():
    # with folded zero points a padded tap adds -7 * weight: a tree that adds both at once never holds one of them
    graph = convolution(size=(1, 1))
    graph.ops[0].weight[:] = 0
    graph.ops[0].weight[:, 0, 0] = (50, -50)
    levels = [{"bits": 24, "overflow": "wrap", "span": 2}, {"bits": 32, "overflow": "wrap"}]
    for order, low in (("tree:2", 0), ("serial", -350)):
        layer = certify(graph, spec_with(levels=levels, order=order, zero_point="folded")).layer("conv")
        assert set(layer.levels[0].low.tolist()) == {low}
        assert set(layer.levels[0].high.tolist()) == {0}


def test_the_accumulator_overflows_below_the_safe_bits_and_not_at_them():
    graph = convolution()
    bits = certify(graph, spec_with(bits=32)).layer("conv").safe_bits
    worst = certify(graph, spec_with(bits=32))
    layer = worst.layer("conv")
    end = "high" if layer.high.max() > -layer.low.min() - 1 else "low"
    x = worst.witness("conv", end=end).x
    for width, overflows in ((bits, False), (bits - 1, True)):
        spec = spec_with(bits=width, overflow="saturate")
        assert certify(graph, spec).safe == (not overflows)
        _, events = graph.ops[0].accumulate([x], kernels, spec.array.accumulators.kernel_kwargs())
        assert events.any() == overflows


def test_a2q_plus_never_asks_for_more_and_is_met_when_centred():
    layer = certify(convolution(), spec_with(bits=32)).layer("conv")
    assert (layer.a2q_plus_bits <= layer.levels[-1].safe_bits).all()
    # zero-centred weights, no bias: low and high differ by one step of the grid, the width decides
    centred = certify(linear([[3, -3, 5, -5]], bits=8), spec_with(bits=32)).layer("fc")
    assert centred.a2q_plus_bits.tolist() == centred.levels[-1].safe_bits.tolist()
    assert (centred.high - centred.low).item() == 255 * 16


def test_observed_lies_within_the_bound():
    x = np.random.default_rng(2).integers(-128, 128, (8, 5, 6, 4))
    layer = certify(convolution(), spec_with(bits=32), data=x).layer("conv")
    assert (layer.low <= layer.observed_low).all()
    assert (layer.observed_high <= layer.high).all()
    assert (layer.observed_low < layer.observed_high).all()


def test_bits_of_a_range():
    assert signed_bits(np.array([0, -1, -1, -128, -129, 0]), np.array([0, 0, 1, 127, 127, 128])).tolist() == [
        1, 1, 2, 8, 9, 9,
    ]  # fmt: skip


def test_printed_and_plain():
    found = certify(convolution(), "edge-16x16")
    assert "no accumulator can overflow" in str(found)
    assert found.to_dict()["layers"][0]["safe_bits"] == found.layer("conv").safe_bits
    with pytest.raises(AccelsimError, match="no MAC layer 'x'; those certified: conv"):
        found.layer("x")
    with pytest.raises(AccelsimError, match="has channels 0 to 3, not 4"):
        found.witness("conv", 4)
    with pytest.raises(AccelsimError, match="end must be"):
        found.witness("conv", 0, "top")
