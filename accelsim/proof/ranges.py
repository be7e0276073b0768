"""certify: can any accumulator of a network overflow? Worst case from weights and grids, no data needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.dataflow.accumulation import accumulation_order
from accelsim.errors import AccelsimError
from accelsim.graph import IntegerGraph
from accelsim.hardware import AcceleratorSpec, load_spec
from accelsim.ops.batch_matmul import BatchMatMul
from accelsim.ops.mac import MacOp
from accelsim.proof.sums import chunks, inner_spans, positions, prefixes, terms_of, weights_of

if TYPE_CHECKING:
    from accelsim.proof.witness import Witness


@dataclass(frozen=True)
class LevelRange:
    """One accumulator of the chain: what it must hold, exactly, over every input and every prefix of its sums."""

    bits: int
    span: int | None
    low: np.ndarray
    high: np.ndarray

    @property
    def safe_bits(self) -> np.ndarray:
        """Fewest bits of a signed accumulator that holds [low, high], per output channel."""
        return signed_bits(self.low, self.high)

    @property
    def safe(self) -> bool:
        return bool((self.safe_bits <= self.bits).all())


@dataclass(frozen=True)
class LayerRange:
    """The accumulators of one layer, per output channel.

    levels: innermost first; low, high of the outermost include the bias. observed_low, observed_high: of the
    final accumulators on data, None without data. a2q_plus_bits: the fewest bits that the A2Q+ condition
    (2**N - 1) * ||w||_1 <= 2**P - 2 allows for the products alone (Colbert et al., 2024): never more than an
    unbiased, zero-centred layer needs.
    """

    name: str
    levels: tuple[LevelRange, ...]
    a2q_plus_bits: np.ndarray
    observed_low: np.ndarray | None = None
    observed_high: np.ndarray | None = None

    @property
    def low(self) -> np.ndarray:
        return self.levels[-1].low

    @property
    def high(self) -> np.ndarray:
        return self.levels[-1].high

    @property
    def safe_bits(self) -> int:
        """Fewest bits for every channel of the outermost accumulator."""
        return int(self.levels[-1].safe_bits.max())

    @property
    def safe(self) -> bool:
        return all(level.safe for level in self.levels)


@dataclass(frozen=True)
class Certification:
    """What certify() found: one LayerRange per MAC layer, in order."""

    graph: IntegerGraph
    spec: AcceleratorSpec
    layers: tuple[LayerRange, ...]

    @property
    def spec_name(self) -> str:
        return self.spec.name

    @property
    def safe(self) -> bool:
        """No input whatsoever can make any accumulator overflow."""
        return all(layer.safe for layer in self.layers)

    def __bool__(self) -> bool:
        return self.safe

    def layer(self, name: str) -> LayerRange:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise AccelsimError(f"no MAC layer {name!r}; those certified: {', '.join(x.name for x in self.layers)}")

    def witness(self, name: str, channel: int | None = None, end: str = "high") -> Witness:
        """An input of the layer that drives an output of the channel (default: the worst) to its bound.

        end: "high" or "low". Raises AccelsimError for another end, a channel that is not there, or no such layer.
        """
        from accelsim.proof.witness import witness

        layer = self.layer(name)
        if end not in ("low", "high"):
            raise AccelsimError(f"end must be 'low' or 'high', got {end!r}")
        if channel is None:
            channel = int(layer.high.argmax() if end == "high" else layer.low.argmin())
        if not 0 <= channel < len(layer.high):
            raise AccelsimError(f"layer {name!r} has channels 0 to {len(layer.high) - 1}, not {channel}")
        op = self.graph.op(name)
        if not isinstance(op, MacOp):
            raise op.refuse("a witness is made for convolutions and linear layers")
        how = accumulation_order(op.loop_nest(self.graph.tensors, 1), self.spec)
        return witness(self.graph, op, how, channel, end)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "graph": self.graph.name,
            "spec": self.spec_name,
            "safe": self.safe,
            "layers": [
                {
                    "name": layer.name,
                    "safe": layer.safe,
                    "safe_bits": layer.safe_bits,
                    "a2q_plus_bits": int(layer.a2q_plus_bits.max()),
                    "low": int(layer.low.min()),
                    "high": int(layer.high.max()),
                    "observed_low": None if layer.observed_low is None else int(layer.observed_low.min()),
                    "observed_high": None if layer.observed_high is None else int(layer.observed_high.max()),
                    "levels": [
                        {"bits": level.bits, "span": level.span, "safe": level.safe,
                         "safe_bits": int(level.safe_bits.max())}
                        for level in layer.levels
                    ],
                }
                for layer in self.layers
            ],
        }  # fmt: skip

    def __str__(self) -> str:
        verdict = "no accumulator can overflow" if self.safe else "some accumulators can overflow"
        lines = [f"{self.graph.name} on {self.spec_name}: {verdict}"]
        head = f"{'layer':24} {'lowest':>12} {'highest':>12} {'observed':>26} {'needs':>6} {'A2Q+':>5} {'has':>5}"
        lines.append(head)
        for layer in self.layers:
            seen = "–"
            if layer.observed_low is not None and layer.observed_high is not None:
                seen = f"{layer.observed_low.min()} … {layer.observed_high.max()}"
            has = "+".join(str(level.bits) for level in layer.levels)
            mark = "" if layer.safe else "  can overflow"
            lines.append(
                f"{layer.name:24.24} {layer.low.min():12} {layer.high.max():12} {seen:>26} {layer.safe_bits:6} "
                f"{int(layer.a2q_plus_bits.max()):5} {has:>5}{mark}"
            )
        return "\n".join(lines)


def certify(
    graph: IntegerGraph, spec: str | Path | AcceleratorSpec = "edge-16x16", *, data: Any = None
) -> Certification:
    """The worst-case range of every accumulator, over all inputs on the grids, in the order of the spec.

    Zero points, bias, padding, order, levels and where the bias enters are those of graph and spec; each bound
    is reached (see Certification.witness). data: inputs of the network; then the range of the final accumulators
    on them is reported beside. Raises AccelsimError as simulate() does.
    """
    spec = load_spec(spec)
    observed = _observed(graph, spec, data) if data is not None else {}
    layers = []
    for op in graph.ops:
        if isinstance(op, (MacOp, BatchMatMul)):
            how = accumulation_order(op.loop_nest(graph.tensors, 1), spec)
            seen = observed.get(op.name, (None, None))
            if isinstance(op, MacOp):
                layers.append(_layer_range(graph, op, how, *seen))
            else:
                layers.append(_product_range(graph, op, how, *seen))
    return Certification(graph, spec, tuple(layers))


def signed_bits(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Fewest bits b with [low, high] within [-2**(b-1), 2**(b-1) - 1]."""
    magnitude = np.maximum(np.maximum(high, 0), np.maximum(-low - 1, 0))
    return np.array([int(m).bit_length() + 1 for m in magnitude.reshape(-1)]).reshape(magnitude.shape)


def _layer_range(graph: IntegerGraph, op: MacOp, how: Mapping[str, Any], seen_low, seen_high) -> LayerRange:
    """The widest of the ranges at the output positions that read the most of the image."""
    levels = how.get("levels") or [(how["accumulator_bits"], how["overflow"], None)]
    weight, zero = weights_of(op)
    x = graph.tensors[op.inputs[0]].grid
    ends, widths = [], []
    for position in positions(graph, op):
        t = terms_of(graph, op, how, position.inside)
        ends.append([*(chunks(t, span, inner) for span, inner in inner_spans(how)), prefixes(t)])
        widths.append((x.qmax - x.qmin) * np.abs((weight - zero)[:, t.inside]).sum(axis=1))
    ranges = [
        LevelRange(bits, span, np.min([low for low, _ in at], axis=0), np.max([high for _, high in at], axis=0))
        for (bits, _, span), at in zip(levels, zip(*ends, strict=True), strict=True)
    ]
    a2q = np.array([int(w + 1).bit_length() for w in np.max(widths, axis=0)])
    return LayerRange(op.name, tuple(ranges), a2q, seen_low, seen_high)


def _product_range(graph: IntegerGraph, op: BatchMatMul, how: Mapping[str, Any], seen_low, seen_high) -> LayerRange:
    """Of products of two activations: any code may meet any other. One range for all outputs.

    With folded zero points the correction is bounded by itself, so the range may be wider than what is reached.
    """
    a, b = (graph.tensors[name].grid for name in op.inputs)
    za, zb = op.a_zero_point, op.b_zero_point
    taps = op.loop_nest(graph.tensors, 1).reduction
    folded = how["zero_point_at"] == "folded"
    corners = [(x - (0 if folded else za)) * (y - (0 if folded else zb))
               for x in (a.qmin, a.qmax) for y in (b.qmin, b.qmax)]  # fmt: skip
    corrections = [za * zb - za * y - zb * x for x in (a.qmin, a.qmax) for y in (b.qmin, b.qmax)]
    low, high = min(0, *corners), max(0, *corners)
    extra = (taps * min(corrections), taps * max(corrections)) if folded else (0, 0)
    levels = how.get("levels") or [(how["accumulator_bits"], how["overflow"], None)]
    ranges = [
        LevelRange(bits, span, np.array([(span or taps) * low]), np.array([(span or taps) * high]))
        for bits, _, span in levels[:-1]
    ]
    ends = np.array([taps * low + min(0, extra[0])]), np.array([taps * high + max(0, extra[1])])
    ranges.append(LevelRange(levels[-1][0], None, *ends))
    seen = (None, None) if seen_low is None else (np.array([seen_low.min()]), np.array([seen_high.max()]))
    return LayerRange(op.name, tuple(ranges), signed_bits(*ends), *seen)


def _observed(graph: IntegerGraph, spec: AcceleratorSpec, data: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from accelsim.simulator import simulate

    run = simulate(graph, data, spec, keep="all")
    result = {}
    for name, accumulators in run.accumulators.items():
        flat = accumulators.reshape(-1, accumulators.shape[-1])
        result[name] = (flat.min(axis=0), flat.max(axis=0))
    return result
