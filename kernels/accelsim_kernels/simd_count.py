"""Counting of toggled bits and zeros in two streams, a vector at a time: as they are, or each item so many times."""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd import ENGINES
from accelsim_kernels.simd_ir import INT, WORD, count_up, define, intrinsic, load, splat, store
from accelsim_kernels.simd_tile import dot

ARGUMENTS = ("before", "now", "length", "zero", "totals")
WEIGHTED = ("before", "now", "items", "toggle_times", "zero_times", "zero", "totals")
_BYTES = 64


def count(item_bytes: int) -> str:
    """LLVM IR that adds to totals[0] the bits in which `now` differs from `before`, to totals[1] the items of `now`
    that equal `zero`. length: bytes, a multiple of item_bytes; nothing behind it is read."""
    _, b, given = define(ARGUMENTS)
    bytes_type, words = ir.VectorType(ir.IntType(8), _BYTES), ir.VectorType(WORD, _BYTES // 8)
    item = ir.IntType(8 * item_bytes)
    items = ir.VectorType(item, _BYTES // item_bytes)
    zero = splat(b, b.trunc(given["zero"], item), items.count)
    all_items = ir.Constant(ir.VectorType(ir.IntType(1), items.count), [1] * items.count)

    def add(before: ir.Value, now: ir.Value, exists: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        differ = b.xor(b.bitcast(before, words), b.bitcast(now, words))
        toggles = b.add(carried[0], intrinsic(b, "llvm.ctpop.v8i64", differ))
        equal = b.and_(b.icmp_unsigned("==", b.bitcast(now, items), zero), exists)
        bits = ir.IntType(items.count)
        found = intrinsic(b, f"llvm.ctpop.i{items.count}", b.bitcast(equal, bits))
        return [toggles, b.add(carried[1], found if items.count == 64 else b.zext(found, WORD))]

    def block(number: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        at = b.mul(number, WORD(_BYTES))
        return add(
            load(b, b.add(given["before"], at), bytes_type),
            load(b, b.add(given["now"], at), bytes_type),
            all_items,
            carried,
        )

    blocks = b.sdiv(given["length"], WORD(_BYTES))
    carried = count_up(b, blocks, [ir.Constant(words, None), WORD(0)], block)
    done = b.mul(blocks, WORD(_BYTES))
    left = b.sub(given["length"], done)
    before_block = b.block
    with b.if_then(b.icmp_signed(">", left, WORD(0))):

        def exists(count: int, size: int) -> ir.Value:
            numbers = ir.Constant(ir.VectorType(INT, count), [size * i for i in range(count)])
            return b.icmp_signed("<", numbers, splat(b, b.trunc(left, INT), count))

        nothing = ir.Constant(bytes_type, None)
        parts = [
            intrinsic(
                b,
                "llvm.masked.load.v64i8.p0",
                b.inttoptr(b.add(given[name], done), ir.PointerType()),
                INT(1),
                exists(_BYTES, 1),
                nothing,
                result=bytes_type,
            )
            for name in ("before", "now")
        ]
        tail = add(parts[0], parts[1], exists(items.count, item_bytes), carried)
        tail_block = b.block
    toggles, zeros = b.phi(words), b.phi(WORD)
    for phi, untouched, added in zip((toggles, zeros), carried, tail, strict=True):
        phi.add_incoming(untouched, before_block)
        phi.add_incoming(added, tail_block)
    total = intrinsic(b, "llvm.vector.reduce.add.v8i64", toggles, result=WORD)
    for index, value in enumerate((total, zeros)):
        at = b.add(given["totals"], WORD(8 * index))
        store(b, b.add(load(b, at, WORD), value), at)
    b.ret_void()
    return str(b.module)


def count_weighted(engine_name: str, item_bytes: int) -> str:
    """LLVM IR of count() with each of `items` items taken as often as toggle_times and zero_times say, 0 to 255.

    Both are unsigned numbers as wide as the engine's, readable for a vector behind the last. At most 2**20 items.
    """
    engine = ENGINES[engine_name]
    _, b, given = define(WEIGHTED)
    lanes, size = engine.lanes, engine.lanes * engine.unit
    items = ir.VectorType(ir.IntType(8 * item_bytes), size)
    numbers = ir.VectorType(ir.IntType(8 * engine.item_bytes), size)
    bits = ir.VectorType(ir.IntType(1), size)
    zero = splat(b, b.trunc(given["zero"], items.element), size)
    sums_type = ir.VectorType(INT, lanes)

    def add(
        first: ir.Value, before: ir.Value, now: ir.Value, exists: ir.Value, carried: list[ir.Value]
    ) -> list[ir.Value]:
        toggles = intrinsic(b, f"llvm.ctpop.v{size}i{8 * item_bytes}", b.xor(before, now))
        if engine.item_bytes > item_bytes:
            toggles = b.zext(toggles, numbers)
        zeros = b.zext(b.and_(b.icmp_unsigned("==", now, zero), exists), numbers)
        at = b.mul(first, WORD(engine.item_bytes))
        return [
            dot(b, engine, sums, load(b, b.add(given[times], at), numbers), found)
            for sums, times, found in zip(carried, ("toggle_times", "zero_times"), (toggles, zeros), strict=True)
        ]

    def place(name: str, first: ir.Value) -> ir.Value:
        return b.add(given[name], b.mul(first, WORD(item_bytes)))

    def block(number: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        first = b.mul(number, WORD(size))
        before, now = (load(b, place(name, first), items) for name in ("before", "now"))
        return add(first, before, now, ir.Constant(bits, [1] * size), carried)

    nothing = ir.Constant(sums_type, None)
    blocks = b.sdiv(given["items"], WORD(size))
    carried = count_up(b, blocks, [nothing, nothing], block)
    done = b.mul(blocks, WORD(size))
    left = b.sub(given["items"], done)
    whole_block = b.block
    with b.if_then(b.icmp_signed(">", left, WORD(0))):
        narrow = ir.IntType(16)
        positions = ir.Constant(ir.VectorType(narrow, size), list(range(size)))
        exists = b.icmp_signed("<", positions, splat(b, b.trunc(left, narrow), size))
        before, now = (
            intrinsic(
                b,
                f"llvm.masked.load.v{size}i{8 * item_bytes}.p0",
                b.inttoptr(place(name, done), ir.PointerType()),
                INT(1),
                exists,
                ir.Constant(items, None),
                result=items,
            )
            for name in ("before", "now")
        )
        tail = add(done, before, now, exists, carried)
        tail_block = b.block
    for index, (whole, part) in enumerate(zip(carried, tail, strict=True)):
        sums = b.phi(sums_type)
        sums.add_incoming(whole, whole_block)
        sums.add_incoming(part, tail_block)
        carried[index] = sums
    for index, sums in enumerate(carried):
        wide = b.zext(sums, ir.VectorType(WORD, lanes))
        total = intrinsic(b, f"llvm.vector.reduce.add.v{lanes}i64", wide, result=WORD)
        at = b.add(given["totals"], WORD(8 * index))
        store(b, b.add(load(b, at, WORD), total), at)
    b.ret_void()
    return str(b.module)
