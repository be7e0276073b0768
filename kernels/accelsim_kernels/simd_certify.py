"""The certifying tile: exact sums by chunks, and the clipped walk only where a chunk might clip.

For activations of one sign, a chunk's positive and negative products are summed apart. If what an accumulator holds
plus all positive ones, and plus all negative ones, stays in range, no order of the chunk's additions can clip, and the
chunk's exact sum is added at once (A6). Where it might, those lanes walk the chunk product by product.
"""

from __future__ import annotations

import functools

from llvmlite import ir

from accelsim_kernels.simd import ENGINES
from accelsim_kernels.simd_ir import INT, WORD, count_up, define, hidden, intrinsic, load, splat, store
from accelsim_kernels.simd_tile import ARGUMENTS, dot


def certify_tile(engine_name: str, watched: bool, rows: int, vectors: int) -> str:
    """LLVM IR of a tile with the arguments and layout of simd_tile.tile; "extra": simd_walk.EXTRA, steps a chunk.

    Activations are unsigned bytes after the mask. Clips to [low, high] at every product; watched: stores events.
    """
    engine = ENGINES[engine_name]
    module, b, given = define(ARGUMENTS)
    ints = ir.VectorType(INT, engine.lanes)
    zero, width = ir.Constant(ints, None), engine.lanes * 4
    low_word, high_word, final, events, chunk = (load(b, b.add(given["extra"], WORD(8 * i)), WORD) for i in range(5))
    low, high = (splat(b, b.trunc(value, INT), engine.lanes) for value in (low_word, high_word))
    mask = hidden(b, splat(b, b.trunc(given["mask"], INT), engine.lanes))
    walk = _walker(module, engine_name, watched, vectors)
    bases = [b.add(given["a"], load(b, b.add(given["row_offsets"], WORD(8 * i)), WORD)) for i in range(rows)]

    def place(i: int, j: int) -> ir.Value:
        return b.add(b.add(given["out"], b.mul(given["out_stride"], WORD(i))), WORD(width * j))

    def event_place(i: int, j: int) -> ir.Value:
        return b.add(events, WORD(width * (i * vectors + j)))

    def clip_into(i: int, j: int, held: ir.Value, value: ir.Value, event: ir.Value) -> None:
        total = b.add(held, value)
        kept = _clip(b, total, low, high)
        store(b, kept, place(i, j))
        if watched:
            store(b, b.or_(event, b.xor(total, kept)), event_place(i, j))

    for j in range(vectors):
        initial = load(b, b.add(given["initial"], WORD(width * j)), ints)
        for i in range(rows):
            clip_into(i, j, zero, initial, zero)

    def one_chunk(number: ir.Value, nothing: list[ir.Value]) -> list[ir.Value]:
        first = b.mul(number, chunk)
        left = b.sub(given["steps"], first)
        steps = b.select(b.icmp_signed("<", left, chunk), left, chunk)

        def step(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            sums = list(sums)
            k = b.add(first, k)
            depth = load(b, b.add(given["depth_offsets"], b.mul(k, WORD(8))), WORD)
            at = b.add(given["weights"], b.mul(k, WORD(width * vectors)))
            x = [b.xor(splat(b, load(b, b.add(base, depth), INT), engine.lanes), mask) for base in bases]
            for j in range(vectors):
                weights = load(b, b.add(at, WORD(width * j)), ints)
                for sign, name in enumerate(("smax", "smin")):
                    part = _signed_part(b, weights, name, engine.lanes)
                    for i in range(rows):
                        n = 2 * (i * vectors + j) + sign
                        sums[n] = dot(b, engine, sums[n], x[i], part)
            return sums

        sums = count_up(b, steps, [zero] * (2 * rows * vectors), step)
        for i in range(rows):
            sure, most = [], []
            for j in range(vectors):
                positive, negative = sums[2 * (i * vectors + j) : 2 * (i * vectors + j) + 2]
                held = load(b, place(i, j), ints)
                most.append(b.add(held, positive))
                sure.append(b.or_(b.icmp_signed(">", most[-1], high), b.icmp_signed("<", b.add(held, negative), low)))
            some = b.bitcast(functools.reduce(b.or_, sure), ir.IntType(engine.lanes))
            with b.if_else(b.icmp_unsigned("!=", some, ir.Constant(some.type, 0)), likely=False) as (walked, certain):
                with walked:
                    where = b.add(given["weights"], b.mul(first, WORD(width * vectors)))
                    table = b.add(given["depth_offsets"], b.mul(first, WORD(8)))
                    b.call(
                        walk,
                        [
                            bases[i],
                            table,
                            steps,
                            where,
                            place(i, 0),
                            event_place(i, 0) if watched else WORD(0),
                            given["mask"],
                            low_word,
                            high_word,
                        ],
                    )
                with certain:
                    for j in range(vectors):
                        store(b, b.add(most[j], sums[2 * (i * vectors + j) + 1]), place(i, j))
        return nothing

    chunks = b.sdiv(b.add(given["steps"], b.sub(chunk, WORD(1))), chunk)
    count_up(b, chunks, [], one_chunk)
    for i in range(rows):
        for j in range(vectors):
            event = load(b, event_place(i, j), ints) if watched else zero
            clip_into(i, j, load(b, place(i, j), ints), load(b, b.add(final, WORD(width * j)), ints), event)
    b.ret_void()
    return str(module)


def _walker(module: ir.Module, engine_name: str, watched: bool, vectors: int) -> ir.Function:
    """walk(base, depth offsets, steps, weights, held, events, mask, low, high): one row, product by product.

    All vectors of the row go together, also those that cannot clip: one alone would wait for its own additions.
    """
    engine = ENGINES[engine_name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [WORD] * 9), "walk")
    function.linkage = "internal"
    function.attributes.add("noinline")
    base, offsets, steps, weights, held_at, events_at, mask, low, high = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    ints, width = ir.VectorType(INT, engine.lanes), engine.lanes * 4
    low, high, mask = (splat(b, b.trunc(value, INT), engine.lanes) for value in (low, high, mask))

    def step(k: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        held, event = list(state[:vectors]), list(state[vectors:])
        depth = load(b, b.add(offsets, b.mul(k, WORD(8))), WORD)
        four = b.xor(splat(b, load(b, b.add(base, depth), INT), engine.lanes), mask)
        at = b.add(weights, b.mul(k, WORD(width * vectors)))
        w = [load(b, b.add(at, WORD(width * j)), ints) for j in range(vectors)]
        for byte in range(4):
            one = b.and_(four, ir.Constant(ints, [0xFF << (8 * byte)] * engine.lanes))
            for j in range(vectors):
                total = dot(b, engine, held[j], one, w[j])
                held[j] = _clip(b, total, low, high)
                if watched:
                    event[j] = b.or_(event[j], b.xor(total, held[j]))
        return held + event

    start = [load(b, b.add(held_at, WORD(width * j)), ints) for j in range(vectors)]
    state = count_up(b, steps, start + [ir.Constant(ints, None)] * vectors, step)
    for j in range(vectors):
        store(b, state[j], b.add(held_at, WORD(width * j)))
        if watched:
            at = b.add(events_at, WORD(width * j))
            store(b, b.or_(state[vectors + j], load(b, at, ints)), at)
    b.ret_void()
    return function


def _clip(b: ir.IRBuilder, value: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    lanes = value.type.count
    return intrinsic(b, f"llvm.smax.v{lanes}i32", intrinsic(b, f"llvm.smin.v{lanes}i32", value, high), low)


def _signed_part(b: ir.IRBuilder, weights: ir.Value, name: str, lanes: int) -> ir.Value:
    """The positive (smax) or negative (smin) bytes, zero elsewhere."""
    narrow = ir.VectorType(ir.IntType(8), lanes * 4)
    part = intrinsic(b, f"llvm.{name}.v{lanes * 4}i8", b.bitcast(weights, narrow), ir.Constant(narrow, None))
    return b.bitcast(part, ir.VectorType(INT, lanes))
