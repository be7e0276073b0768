"""The saturating tile: `rows` x `vectors` accumulators in registers, clipped or watched at every addition.

Operands are int16 with their zero points taken off, two depths a step. 16-bit accumulators live in 16-bit lanes, where
one saturating addition does all; wider ones in 32-bit lanes, where the multiply adds and a minimum and a maximum clip.
"""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd import ENGINES, Engine
from accelsim_kernels.simd_ir import INT, WORD, count_up, define, intrinsic, load, splat, store
from accelsim_kernels.simd_tile import ARGUMENTS, dot

#: int64 words behind the last argument: lowest and highest value, address of what is added last (int32 per column),
#: address for the events (int32 per output, not zero where one happened)
EXTRA = ("low", "high", "final", "events")
_SHORT = ir.IntType(16)
SHORT_KINDS = ("clip16", "sat16")


def walk_tile(engine_name: str, kind: str, group: int, watched: bool, rows: int, vectors: int) -> str:
    """LLVM IR of a tile with the arguments of simd_tile.tile; what is not said here is as there.

    kind: "clip16" and "clip32" clip to [low, high], "sat16" and "sat32" to all of the lane,
    "watch32" sums exactly, for events alone.
    group: products summed exactly before each addition, 1 or even; 1 in 16-bit lanes. watched: also store events.
    weights: (steps, vectors, 2, lanes) in 16-bit lanes, else (steps, vectors, lanes, 2).
    """
    engine = ENGINES[engine_name]
    module, b, given = define(ARGUMENTS)
    ints = ir.VectorType(INT, engine.lanes)
    how = _How(b, kind, engine.lanes, watched, *(load(b, b.add(given["extra"], WORD(8 * i)), WORD) for i in range(2)))
    final = load(b, b.add(given["extra"], WORD(16)), WORD)
    width = engine.lanes * 4
    bases = [b.add(given["a"], load(b, b.add(given["row_offsets"], WORD(8 * i)), WORD)) for i in range(rows)]
    start = [
        how.add(
            ir.Constant(ints, None), load(b, b.add(given["initial"], WORD(width * j)), ints), ir.Constant(ints, None)
        )
        for j in range(vectors)
    ]
    carried = [value for _ in range(rows) for pair in start for value in pair]
    narrow = kind in SHORT_KINDS
    if narrow:
        carried = [how.to_short(value, index % 2) for index, value in enumerate(carried)]
    pairs = max(1, group // 2)

    def step(k: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        state = list(state)
        sums: list[ir.Value] = [ir.Constant(ints, None)] * (rows * vectors)
        for pair in range(pairs):
            at_step = b.add(b.mul(k, WORD(pairs)), WORD(pair))
            depth = load(b, b.add(given["depth_offsets"], b.mul(at_step, WORD(8))), WORD)
            at = b.add(given["weights"], b.mul(at_step, WORD(width * vectors)))
            if narrow:
                kinds = ir.VectorType(_SHORT, engine.lanes)
                for half in range(2):
                    weights = [load(b, b.add(at, WORD(width * j + half * width // 2)), kinds) for j in range(vectors)]
                    for i in range(rows):
                        x = splat(b, load(b, b.add(b.add(bases[i], depth), WORD(2 * half)), _SHORT), engine.lanes)
                        for j in range(vectors):
                            n = 2 * (i * vectors + j)
                            state[n : n + 2] = how.add_short(state[n], b.mul(x, weights[j]), state[n + 1])
                continue
            weights = [load(b, b.add(at, WORD(width * j)), ints) for j in range(vectors)]
            for i in range(rows):
                x = load(b, b.add(bases[i], depth), INT)
                if group > 1:
                    x = splat(b, x, engine.lanes)
                    for j in range(vectors):
                        sums[i * vectors + j] = dot(b, engine, sums[i * vectors + j], x, weights[j])
                    continue
                for mask in (0xFFFF, 0xFFFF0000):
                    one = splat(b, b.and_(x, INT(mask)), engine.lanes)
                    for j in range(vectors):
                        n = 2 * (i * vectors + j)
                        state[n : n + 2] = how.multiply_add(engine, state[n], one, weights[j], state[n + 1])
        if group > 1:
            for n, total in enumerate(sums):
                state[2 * n : 2 * n + 2] = how.add(state[2 * n], total, state[2 * n + 1])
        return state

    state = count_up(b, b.sdiv(given["steps"], WORD(pairs)), carried, step)
    events = load(b, b.add(given["extra"], WORD(24)), WORD)
    for i in range(rows):
        row = b.add(given["out"], b.mul(given["out_stride"], WORD(i)))
        for j in range(vectors):
            held, event = state[2 * (i * vectors + j) : 2 * (i * vectors + j) + 2]
            if narrow:
                held, event = b.sext(held, ints), b.sext(event, ints)
            last = load(b, b.add(final, WORD(width * j)), ints)
            held, event = how.add(held, last, event)
            store(b, held, b.add(row, WORD(width * j)))
            if watched:
                store(b, how.verdict(event), b.add(events, WORD(width * (i * vectors + j))))
    b.ret_void()
    return str(module)


class _How:
    """One addition, and what it remembers: bits that differ after clipping, or that lie beyond the accumulator."""

    def __init__(self, b: ir.IRBuilder, kind: str, lanes: int, watched: bool, low: ir.Value, high: ir.Value) -> None:
        self.b, self.kind, self.lanes, self.watched = b, kind, lanes, watched
        self.low, self.high = (splat(b, b.trunc(value, INT), lanes) for value in (low, high))
        self.short_low, self.short_high = (splat(b, b.trunc(value, _SHORT), lanes) for value in (low, high))
        self.beyond = b.not_(b.sub(self.high, self.low))

    def add(self, held: ir.Value, value: ir.Value, event: ir.Value) -> tuple[ir.Value, ir.Value]:
        b = self.b
        total = b.add(held, value)
        if self.kind == "watch32":
            return total, b.or_(event, b.sub(total, self.low)) if self.watched else event
        if self.kind == "sat32":
            kept = intrinsic(b, f"llvm.sadd.sat.v{self.lanes}i32", held, value)
        else:
            kept = self._clip(total, self.low, self.high, 32)
        return kept, b.or_(event, b.xor(total, kept)) if self.watched else event

    def multiply_add(
        self,
        engine: Engine,
        held: ir.Value,
        x: ir.Value,
        w: ir.Value,
        event: ir.Value,
    ) -> tuple[ir.Value, ir.Value]:
        """add(held, x * w), where the multiplier can add."""
        if self.kind == "sat32":
            return self.add(held, dot(self.b, engine, ir.Constant(held.type, None), x, w), event)
        return self._after(dot(self.b, engine, held, x, w), event)

    def _after(self, total: ir.Value, event: ir.Value) -> tuple[ir.Value, ir.Value]:
        return self.add(total, ir.Constant(total.type, None), event)

    def add_short(self, held: ir.Value, value: ir.Value, event: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The same in 16-bit lanes: saturation to 16 bits, then to fewer; clipping twice is clipping once."""
        b = self.b
        saturated = intrinsic(b, f"llvm.sadd.sat.v{self.lanes}i16", held, value)
        kept = saturated if self.kind == "sat16" else self._clip(saturated, self.short_low, self.short_high, 16)
        if self.watched:
            event = b.or_(event, b.or_(b.xor(b.add(held, value), saturated), b.xor(saturated, kept)))
        return kept, event

    def to_short(self, value: ir.Value, is_event: int) -> ir.Value:
        b, shorts = self.b, ir.VectorType(_SHORT, self.lanes)
        if is_event:
            return b.sext(b.icmp_signed("!=", value, ir.Constant(value.type, None)), shorts)
        return b.trunc(value, shorts)

    def verdict(self, event: ir.Value) -> ir.Value:
        """Not zero where there was an event."""
        return self.b.and_(event, self.beyond) if self.kind == "watch32" else event

    def _clip(self, value: ir.Value, low: ir.Value, high: ir.Value, bits: int) -> ir.Value:
        b = self.b
        value = intrinsic(b, f"llvm.smin.v{self.lanes}i{bits}", value, high)
        return intrinsic(b, f"llvm.smax.v{self.lanes}i{bits}", value, low)
