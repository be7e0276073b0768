"""explain: one output element, every step of its arithmetic, in decimal, hexadecimal and binary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from accelsim_kernels.reference.requantization import channel_parameters

from accelsim.dataflow.accumulation import accumulation_order
from accelsim.errors import AccelsimError
from accelsim.ops.base import Op
from accelsim.ops.float_mac import FloatConv2d, FloatLinear
from accelsim.ops.grouped_linear import GroupedLinear
from accelsim.ops.mac import Conv2d, MacOp
from accelsim.ops.tailed import requantizer_of
from accelsim.ops.transpose_conv import TransposeConv2d, walked_weight
from accelsim.proof.stages import Stage, stages
from accelsim.requant import Requantizer
from accelsim.simulator import Run


@dataclass(frozen=True)
class Tap:
    """One product of an accumulation: where the activation was read (None: padding), and the running sum."""

    position: tuple[int, ...] | None
    x: int
    w: int
    product: int
    partial_sum: int


@dataclass(frozen=True)
class Explanation:
    """The arithmetic of one output element.

    taps: the products in walking order (MAC layers), with the exact running sum. bias: what it starts from or
    ends with. parameters: of the layer and its requantizer, for this channel. stages: from the accumulator to the
    code. value: the element, as the run has it.
    """

    layer: str
    kind: str
    tensor: str
    index: tuple[int, ...]
    scheme: str | None
    taps: tuple[Tap, ...]
    bias: int
    parameters: dict[str, int | float | str]
    stages: tuple[Stage, ...]
    value: int

    def __str__(self) -> str:
        lines = [f"{self.tensor}{list(self.index)} = {self.value}   ({self.kind} {self.layer!r}, {self.scheme or '–'})"]
        if self.taps:
            lines += ["", f"  {'tap':>4} {'input':>18} {'x - zx':>8} {'w - zw':>8}  {'product':44} partial sum"]
        for number, tap in enumerate(self.taps):
            where = "padding" if tap.position is None else str(list(tap.position))
            product, total = _number(tap.product), _number(tap.partial_sum)
            lines.append(f"  {number:4} {where:>18} {tap.x:8} {tap.w:8}  {product:44} {total}")
        if self.taps:
            lines.append(f"  {'bias':18} {_number(self.bias)}")
        lines.append("")
        for name, value in self.parameters.items():
            lines.append(f"  {name:18} {value if isinstance(value, str) else _number(value)}")
        if self.parameters:
            lines.append("")
        for stage in self.stages:
            lines.append(f"  {stage.name:18} {_number(stage.value):52} {stage.formula}")
            if stage.decision:
                lines.append(f"  {'':18} {stage.decision}")
        return "\n".join(lines)


def explain(run: Run, tensor: str, index: tuple[int, ...]) -> Explanation:
    """Every step of one element of a tensor of a run.

    run: of simulate(…, keep="all"). tensor: its name, or its layer's. index: with the sample first. The
    accumulator is the run's own (narrow ones wrap or saturate); the products and exact partial sums are computed
    again in Python integers. Raises AccelsimError where the tensor or element is not there, or no operator
    computes it.
    """
    op = _producer(run, tensor)
    if not run.tensors:
        raise AccelsimError("explain needs a run with every tensor: simulate(…, keep='all')")
    values = run.tensors[op.output]
    if len(index) != values.ndim or any(not -n <= i < n for i, n in zip(index, values.shape, strict=True)):
        raise AccelsimError(f"tensor {op.output!r} has shape {values.shape}: {tuple(index)} is no index of it")
    index = tuple(int(i) % n for i, n in zip(index, values.shape, strict=True))
    value = int(values[index])
    if isinstance(op, MacOp):
        return _explain_mac(run, op, index, value)
    requantizer = getattr(op, "requantizer", None)
    parameters = {} if requantizer is None else _parameters(requantizer, index[-1])
    steps = tuple(_other(run, op, index))
    return Explanation(op.name, op.kind, op.output, index, _scheme(op), (), 0, parameters, steps, value)


def _producer(run: Run, tensor: str) -> Op:
    for op in run.graph.ops:
        if tensor in (op.output, op.name):
            return op
    known = ", ".join(op.output for op in run.graph.ops)
    raise AccelsimError(f"no operator computes a tensor {tensor!r}; computed tensors: {known}")


def _scheme(op: Op) -> str | None:
    requantizer = getattr(op, "requantizer", None)
    return getattr(op, "arithmetic", None) if requantizer is None else requantizer.scheme


def _explain_mac(run: Run, op: MacOp, index: tuple[int, ...], value: int) -> Explanation:
    if isinstance(op, GroupedLinear):
        raise op.refuse("its groups are rescaled inside the sum, which explain does not walk yet")
    how = accumulation_order(op.loop_nest(run.graph.tensors, 1), run.spec)
    positions = _positions(run, op, index)
    channel = index[-1]
    x = run.tensors[op.inputs[0]]
    zw = np.broadcast_to(np.asarray(op.weight_params.zero_point), op.weight.shape[0])
    weights = walked_weight(op)[channel].reshape(-1).astype(int) - int(zw[channel])
    bias = 0 if op.bias is None else int(op.bias[channel])
    total = bias if how["bias_at"] == "preload" else 0
    taps = []
    for position, w in zip(positions, weights.tolist(), strict=True):
        v = 0 if position is None else int(x[position]) - op.x_zero_point
        total += v * w
        taps.append(Tap(position, v, w, v * w, total))
    exact = total + (bias if how["bias_at"] == "after" else 0)
    acc = int(run.accumulators[op.name][index])
    requantizer, place = requantizer_of(op, channel)
    if requantizer is None:
        parameters: dict[str, Any] = {}
        steps = [Stage("accumulator", "acc", acc)]
    else:
        parameters = _parameters(requantizer, place)
        steps = stages(acc, requantizer.bound(), place)
    if acc != exact:
        bits = run.spec.array.accumulators.bits
        note = f"the exact sum is {exact}: {run.spec.array.accumulators.overflow} in {bits} bits"
        steps[0] = Stage("accumulator", "acc", acc, note)
    if isinstance(op, FloatConv2d | FloatLinear) and steps[-1].value != value:
        steps.append(Stage("float32 sum", "summed in float32", value, "its rounding error crosses a tie"))
    zeros = {"input zero point": op.x_zero_point, "weight zero point": int(zw[channel])}
    return Explanation(
        op.name, op.kind, op.output, index, _scheme(op), tuple(taps), bias, {**zeros, **parameters}, tuple(steps), value
    )


def _parameters(requantizer: Requantizer, channel: int) -> dict[str, Any]:
    """The numbers of a requantizer for one channel, thresholds aside (there may be thousands)."""
    bound = requantizer.bound()
    values, zero_point, qmin, qmax = channel_parameters(bound, channel)
    named = {n: v for n, v in zip(bound.scheme.params, values, strict=False) if not isinstance(v, list)}
    return {**named, **bound.options, "zero point": zero_point, "qmin": qmin, "qmax": qmax}


def _positions(run: Run, op: MacOp, index: tuple[int, ...]) -> list[tuple[int, ...] | None]:
    """Where each tap reads the input, in walking order; None outside the image."""
    if isinstance(op, TransposeConv2d):
        sample, oy, ox, _ = index
        height, width, _ = run.graph.tensors[op.inputs[0]].shape
        read: list[tuple[int, ...] | None] = []
        for ky, kx, c in np.ndindex(*op.weight.shape[1:]):
            iy, ix = op.source(oy, ky, height, 0), op.source(ox, kx, width, 1)
            read.append(None if iy is None or ix is None else (sample, iy, ix, c))
        return read
    if not isinstance(op, Conv2d):
        return [(*index[:-1], c) for c in range(op.weight.shape[1])]
    sample, oy, ox, k = index
    height, width, _ = run.graph.tensors[op.inputs[0]].shape
    _, fy, fx, channels = op.weight.shape
    first = k // (op.weight.shape[0] // op.groups) * channels
    positions: list[tuple[int, ...] | None] = []
    for ky, kx, c in np.ndindex(fy, fx, channels):
        iy = oy * op.stride[0] + ky * op.dilation[0] - op.padding[0][0]
        ix = ox * op.stride[1] + kx * op.dilation[1] - op.padding[1][0]
        inside = 0 <= iy < height and 0 <= ix < width
        positions.append((sample, iy, ix, first + c) if inside else None)
    return positions


def _other(run: Run, op: Any, index: tuple[int, ...]) -> list[Stage]:
    """What went into an element of any other operator."""
    steps = []
    for name in op.inputs:
        x = run.tensors[name]
        if x.shape == run.tensors[op.output].shape:
            steps.append(Stage("input", f"{name}{list(index)}", int(x[index])))
    if op.kind == "add" and op.arithmetic == "rescale":
        steps += _add(op, [int(s.value) for s in steps])
    elif op.kind == "requantize":
        steps += stages(int(steps[0].value) - op.x_zero_point, op.requantizer.bound(), index[-1])
    elif op.kind == "mean":
        steps += _mean(run, op, index)
    return steps


def _add(op: Any, codes: list[int]) -> list[Stage]:
    from accelsim_kernels import domain

    p, wide = op.params, {"qmin": -(2**31), "qmax": 2**31 - 1}
    steps, total = [], 0
    for name, code, zero in (("a", codes[0], op.a_zero_point), ("b", codes[1], op.b_zero_point)):
        shifted = (code - zero) << p["left_shift"]
        bound = domain.bind(p["scheme"], (p[f"{name}_multiplier"], p[f"{name}_shift"]), **wide)
        part = stages(shifted, bound)[:-2]
        steps += [Stage(f"{name}: {s.name}", s.formula, s.value, s.decision) for s in part]
        total += int(part[-1].value)
    limits = {"zero_point": op.zero_point, "qmin": op.qmin, "qmax": op.qmax}
    return steps + stages(total, domain.bind(p["scheme"], (p["multiplier"], p["shift"]), **limits))


def _mean(run: Run, op: Any, index: tuple[int, ...]) -> list[Stage]:
    x = run.tensors[op.inputs[0]][index[0], ..., index[-1]].astype(int)
    total = int(x.sum()) - x.size * op.x_zero_point
    steps = [Stage("sum", f"sum of {x.size} codes - {x.size} * {op.x_zero_point}", total)]
    return steps if op.requantizer is None else steps + stages(total, op.requantizer.bound(), index[-1])


def _number(value: int | float) -> str:
    """Decimal, hexadecimal and binary, two's complement in the fewest whole bytes."""
    if isinstance(value, float):
        return f"{value!r} ({value.hex()})"
    magnitude = value if value >= 0 else -value - 1
    bits = -(-(magnitude.bit_length() + 1) // 8) * 8
    code = value % 2**bits
    return f"{value} 0x{code:0{bits // 4}x} 0b{code:0{bits}b}"
