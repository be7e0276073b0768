"""Accumulators that saturate in the top bits of a 32-bit lane, so that one instruction multiplies, adds and clips.

An accumulator of n bits holding v lies in its lane as v * 2**s + tag, s = 32 - n. Products come scaled by 2**s, so an
addition leaves the lane exactly where it leaves the accumulator, and the instruction's saturation is the accumulator's.
It leaves the low s bits all ones at the upper end and all zeros at the lower, and additions keep them: an accumulator
that started with tag 1 still has it if and only if nothing was clipped (A3, and events for nothing).

Kinds: "scaled" as said; "doubled", where one more bit is needed, adds every product twice; "short" has accumulators of
16 bits in lanes of 16 bits, where saturation needs no scale but leaves no tag.
"""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.mac_saturate import SHARED, TAG
from accelsim_kernels.mac_saturate_plan import RUN_WORDS
from accelsim_kernels.simd import ENGINES
from accelsim_kernels.simd_ir import INT, WORD, count_up, define, intrinsic, load, splat, store
from accelsim_kernels.simd_tile import dot

#: of tiles: outputs come in blocks, each with a row of `runs`; sums: lanes of all vectors of one output after another
TILE = ("blocks", "runs", "base", "count", "weights", "sums", "taps")
_SHORT = ir.IntType(16)
#: of settle_tile
SETTLE = ("sums", "rows", "out", "final", "events", "low", "high", "shift")
#: of widen_row, and items that it takes at a time
WIDEN = ("source", "count", "to", "subtract", "scale")
_WIDE = 32
#: of compress_row
COMPRESS = ("source", "pixels", "channels", "part", "parts", "entries", "room", "starts", "ends")


class _Add:
    """sums + x * w, saturated, in the lanes of a kind."""

    def __init__(self, b: ir.IRBuilder, engine_name: str, kind: str) -> None:
        self.b, self.engine, self.kind = b, ENGINES[engine_name], kind
        lanes = self.engine.lanes
        self.ints = ir.VectorType(INT, lanes)
        self.type = ir.VectorType(_SHORT, 2 * lanes) if kind == "short" else self.ints
        self.bytes = 4 * lanes
        self.shared = SHARED[kind]

    def broadcast(self, address: ir.Value) -> ir.Value:
        """One int16 activation in all lanes, twice where they have 32 bits."""
        return self.b.bitcast(splat(self.b, load(self.b, address, _SHORT), 2 * self.engine.lanes), self.type)

    def load(self, address: ir.Value, number: int) -> ir.Value:
        return load(self.b, self.b.add(address, WORD(self.bytes * number)), self.type)

    def weight_bytes(self, vectors: int) -> int:
        """Bytes of the weights of one product of each output channel."""
        return -(-vectors // self.shared) * self.bytes

    def weights(self, address: ir.Value, vectors: int) -> list[ir.Value]:
        """Weights of each vector's lanes. Where two vectors share 64 bytes, with nothing in the other's half."""
        loaded = [self.load(address, j // self.shared) for j in range(vectors)]
        return [self._half(value, j) for j, value in enumerate(loaded)] if self.shared > 1 else loaded

    def _half(self, value: ir.Value, number: int) -> ir.Value:
        mask = ir.Constant(self.ints, [(0xFFFF, 0xFFFF0000)[number % 2]] * self.engine.lanes)
        return self.b.and_(value, mask)

    def entry(self, address: ir.Value, weights: ir.Value, vectors: int) -> list[tuple[ir.Value, ir.Value]]:
        """An activation of a list and the weights at that address, by vector. Two that share 64 bytes of weights take
        them as they are, and the activation in their own half."""
        if self.shared == 1:
            x = self.broadcast(address)
            return [(x, w) for w in self.weights(weights, vectors)]
        b, lanes = self.b, self.engine.lanes
        word = splat(b, load(b, address, INT), lanes)
        halves = self._half(word, 0), b.shl(word, ir.Constant(self.ints, [16] * lanes))
        return [(halves[j % 2], self.load(weights, j // 2)) for j in range(vectors)]

    def __call__(self, sums: ir.Value, x: ir.Value, w: ir.Value) -> ir.Value:
        b, lanes = self.b, self.engine.lanes
        if self.kind == "short":
            return intrinsic(b, f"llvm.sadd.sat.v{2 * lanes}i16", sums, b.mul(x, w))
        if self.engine.name == "vpdpwssd512":
            pairs = ir.VectorType(_SHORT, 2 * lanes)
            return intrinsic(b, "llvm.x86.avx512.vpdpwssds.512", sums, b.bitcast(x, pairs), b.bitcast(w, pairs))
        return intrinsic(b, f"llvm.sadd.sat.v{lanes}i32", sums, dot(b, self.engine, ir.Constant(self.ints, None), x, w))


def _blocks(b: ir.IRBuilder, given: dict, add: _Add, rows: int, vectors: int, run_bytes: int, inner) -> None:
    """For each block of `rows` outputs: load its sums, inner(address of its runs, sums) -> sums, store them."""
    output_bytes = add.bytes * vectors

    def block(number: ir.Value, nothing: list[ir.Value]) -> list[ir.Value]:
        at = b.add(given["sums"], b.mul(number, WORD(rows * output_bytes)))
        runs = b.add(given["runs"], b.mul(number, WORD(rows * run_bytes)))
        sums = [add.load(b.add(at, WORD(r * output_bytes)), j) for r in range(rows) for j in range(vectors)]
        for i, value in enumerate(inner(runs, sums)):
            store(b, value, b.add(at, WORD(i * add.bytes)))
        return nothing

    count_up(b, given["blocks"], [], block)
    b.ret_void()


def dense_tile(engine_name: str, kind: str, rows: int, vectors: int) -> str:
    """LLVM IR: `count` activations of each output of a block, one after the other.

    runs: one int64 per output, where its window (int16) begins behind `base`; taps: address of the offset in bytes of
    each activation from there, int64; weights: as mac_saturate lays them out.
    """
    module, b, given = define(TILE)
    add = _Add(b, engine_name, kind)

    def inner(runs: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        bases = [b.add(given["base"], load(b, b.add(runs, WORD(8 * r)), WORD)) for r in range(rows)]

        def step(k: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            state = list(state)
            at = b.add(given["weights"], b.mul(k, WORD(add.weight_bytes(vectors))))
            weights = add.weights(at, vectors)
            tap = load(b, b.add(given["taps"], b.mul(k, WORD(8))), WORD)
            for r in range(rows):
                x = add.broadcast(b.add(bases[r], tap))
                for j in range(vectors):
                    state[r * vectors + j] = add(state[r * vectors + j], x, weights[j])
            return state

        return count_up(b, given["count"], sums, step)

    _blocks(b, given, add, rows, vectors, 8, inner)
    return str(module)


def list_tile(engine_name: str, kind: str, rows: int, vectors: int) -> str:
    """LLVM IR: the activations of each output that are not zero, from lists.

    An entry is an activation (int16) and its place (uint16), modulo 2**16. runs: per output the address of the first
    entry, how many there are, and an entry of nothing at the place of the first weights.
    """
    module, b, given = define(TILE)
    add = _Add(b, engine_name, kind)

    def inner(runs: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        words = [
            [load(b, b.add(runs, WORD(8 * (r * RUN_WORDS + i))), WORD) for i in range(RUN_WORDS)] for r in range(rows)
        ]
        longest = words[0][1]
        for run in words[1:]:
            longest = intrinsic(b, "llvm.smax.i64", longest, run[1])

        def step(k: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            state = list(state)
            for r, (first, count, nothing) in enumerate(words):
                entry_at = b.add(first, b.mul(k, WORD(4)))
                if rows > 1:  # a list that ended before the longest
                    entry_at = b.select(
                        b.icmp_signed("<", k, count), entry_at, b.add(runs, WORD(8 * (r * RUN_WORDS + 2)))
                    )
                place = b.sub(load(b, b.add(entry_at, WORD(2)), _SHORT), b.trunc(b.lshr(nothing, WORD(16)), _SHORT))
                at = b.add(given["weights"], b.mul(b.zext(place, WORD), WORD(add.weight_bytes(vectors))))
                for j, (x, w) in enumerate(add.entry(entry_at, at, vectors)):
                    state[r * vectors + j] = add(state[r * vectors + j], x, w)
            return state

        return count_up(b, longest, sums, step)

    _blocks(b, given, add, rows, vectors, 8 * RUN_WORDS, inner)
    return str(module)


def depthwise_tile(engine_name: str, kind: str, rows: int, vectors: int) -> str:
    """LLVM IR: `count` taps of each output of a block, a channel per lane.

    runs, base: where its activations (twice int16) begin; taps: address of the offsets in bytes of the taps, int64;
    weights: as mac_saturate lays them out.
    """
    module, b, given = define(TILE)
    add = _Add(b, engine_name, kind)

    def inner(runs: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        bases = [b.add(given["base"], load(b, b.add(runs, WORD(8 * r)), WORD)) for r in range(rows)]

        def step(k: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
            state = list(state)
            at = b.add(given["weights"], b.mul(k, WORD(add.weight_bytes(vectors))))
            tap = load(b, b.add(given["taps"], b.mul(k, WORD(8))), WORD)
            for j, w in enumerate(add.weights(at, vectors)):
                for r in range(rows):
                    i = r * vectors + j
                    state[i] = add(state[i], add.load(b.add(bases[r], tap), j), w)
            return state

        return count_up(b, given["count"], sums, step)

    _blocks(b, given, add, rows, vectors, 8, inner)
    return str(module)


def settle_tile(engine_name: str, kind: str, vectors: int, after: bool, watched: bool) -> str:
    """LLVM IR: int32 accumulators out of lanes; after: `final` is added; watched: bytes, 1 for an event."""
    module, b, given = define(SETTLE)
    add = _Add(b, engine_name, kind)
    engine = ENGINES[engine_name]
    ints, lanes = add.ints, engine.lanes
    shift, low, high = (splat(b, b.trunc(given[name], INT), lanes) for name in ("shift", "low", "high"))
    ones = ir.Constant(ints, [1] * lanes)
    tags = b.sub(b.shl(ones, shift), ones)
    halves = vectors * (2 if kind == "short" else 1)
    shorts = ir.VectorType(_SHORT, lanes)

    def row(number: ir.Value, nothing: list[ir.Value]) -> list[ir.Value]:
        at = b.add(given["sums"], b.mul(number, WORD(add.bytes * vectors)))
        out = b.add(given["out"], b.mul(number, WORD(4 * lanes * halves)))
        for j in range(halves):
            if kind == "short":
                value = b.sext(load(b, b.add(at, WORD(2 * lanes * j)), shorts), ints)
                clipped = None
            else:
                held = add.load(at, j)
                value = b.ashr(held, shift)
                clipped = b.icmp_unsigned("!=", b.and_(held, tags), ir.Constant(ints, [TAG] * lanes))
            if after:
                total = b.add(value, load(b, b.add(given["final"], WORD(4 * lanes * j)), ints))
                value = intrinsic(b, f"llvm.smin.v{lanes}i32", total, high)
                value = intrinsic(b, f"llvm.smax.v{lanes}i32", value, low)
                if watched:
                    clipped = b.or_(clipped, b.icmp_unsigned("!=", value, total))
            store(b, value, b.add(out, WORD(4 * lanes * j)))
            if watched:
                to = b.add(given["events"], b.mul(number, WORD(lanes * halves)))
                store(b, b.zext(clipped, ir.VectorType(ir.IntType(8), lanes)), b.add(to, WORD(lanes * j)))
        return nothing

    count_up(b, given["rows"], [], row)
    b.ret_void()
    return str(module)


def widen_row(item_bytes: int, signed: bool, twice: bool) -> str:
    """LLVM IR: (source - subtract) << scale of `count` items as int16, once or twice each; nothing else is touched."""
    module, b, given = define(WIDEN)
    subtract, scale = (b.trunc(given[name], _SHORT) for name in ("subtract", "scale"))

    def some(first: ir.Value, lanes: int) -> None:
        kind = ir.VectorType(ir.IntType(8 * item_bytes), lanes)
        items = load(b, b.add(given["source"], b.mul(first, WORD(item_bytes))), kind)
        if item_bytes == 1:
            items = (b.sext if signed else b.zext)(items, ir.VectorType(_SHORT, lanes))
        items = b.shl(b.sub(items, splat(b, subtract, lanes)), splat(b, scale, lanes))
        if twice:
            low = b.zext(items, ir.VectorType(INT, lanes))
            items = b.or_(low, b.shl(low, ir.Constant(low.type, [16] * lanes)))
        store(b, items, b.add(given["to"], b.mul(first, WORD(4 if twice else 2))))

    def block(number: ir.Value, nothing: list[ir.Value]) -> list[ir.Value]:
        some(b.mul(number, WORD(_WIDE)), _WIDE)
        return nothing

    def single(number: ir.Value, nothing: list[ir.Value]) -> list[ir.Value]:
        some(b.add(done, number), 1)
        return nothing

    blocks = b.sdiv(given["count"], WORD(_WIDE))
    count_up(b, blocks, [], block)
    done = b.mul(blocks, WORD(_WIDE))
    count_up(b, b.sub(given["count"], done), [], single)
    b.ret_void()
    return str(module)


def compress_row() -> str:
    """LLVM IR: lists of the activations of some pixels that are not zero, in order, as list_tile reads them.

    source: (pixels, channels) int16, readable for 16 items more. Each pixel is cut into `parts` of `part` channels,
    the last one shorter; starts[pixel * parts + part]: the part's first entry, and behind the last part the end.
    ends: how many there are; if that is more than there is room for, the entries are of no use.
    """
    module, b, given = define(COMPRESS)
    lanes = 16
    ints, shorts = ir.VectorType(INT, lanes), ir.VectorType(_SHORT, lanes)
    numbers = ir.Constant(ints, list(range(lanes)))
    half = ir.Constant(ints, [16] * lanes)

    def pixel(number: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        def one_part(which: ir.Value, inner: list[ir.Value]) -> list[ir.Value]:
            (found,) = inner
            cell = b.add(b.mul(number, given["parts"]), which)
            store(b, b.trunc(found, INT), b.add(given["starts"], b.mul(cell, WORD(4))))
            first = b.mul(which, given["part"])
            length = intrinsic(b, "llvm.smin.i64", b.sub(given["channels"], first), given["part"])
            first = b.add(b.mul(number, given["channels"]), first)

            def step(k: ir.Value, deep: list[ir.Value]) -> list[ir.Value]:
                (found,) = deep
                done = b.mul(k, WORD(lanes))
                place = b.add(first, done)
                x = load(b, b.add(given["source"], b.mul(place, WORD(2))), shorts)
                exists = b.icmp_signed("<", numbers, splat(b, b.trunc(b.sub(length, done), INT), lanes))
                mask = b.and_(exists, b.icmp_unsigned("!=", x, ir.Constant(shorts, None)))
                places = b.shl(b.add(splat(b, b.trunc(place, INT), lanes), numbers), half)
                entries = b.or_(b.zext(x, ints), places)
                packed = intrinsic(b, "llvm.x86.avx512.mask.compress.v16i32", entries, ir.Constant(ints, None), mask)
                to = intrinsic(b, "llvm.smin.i64", found, given["room"])
                store(b, packed, b.add(given["entries"], b.mul(to, WORD(4))))
                count = intrinsic(b, "llvm.ctpop.i16", b.bitcast(mask, ir.IntType(lanes)))
                return [b.add(found, b.zext(count, WORD))]

            steps = b.sdiv(b.add(length, WORD(lanes - 1)), WORD(lanes))
            return count_up(b, steps, [found], step)

        return count_up(b, given["parts"], carried, one_part)

    (found,) = count_up(b, given["pixels"], [WORD(0)], pixel)
    store(b, b.trunc(found, INT), b.add(given["starts"], b.mul(b.mul(given["pixels"], given["parts"]), WORD(4))))
    store(b, found, given["ends"])
    b.ret_void()
    return str(module)
