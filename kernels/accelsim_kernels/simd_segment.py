"""A stretch of products into one accumulator of any width, for a few vectors of output channels at a time."""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd_ir import INT, WORD, count_up, define, intrinsic, load, splat, store

#: x: int32 activations; products first .. end; weights: of product 0; held: the accumulator's lanes; flags: lanes that
#: are not zero where it had an event
ARGUMENTS = ("x", "first", "end", "group", "weights", "held", "flags", "low", "high")


def segment(bits: int, lanes: int, vectors: int, weight_bytes: int, saturates: bool, serial: bool) -> str:
    """LLVM IR: add the products in groups of `group` (serial: 1), the last one shorter, clipped or watched each time.

    Lanes have 32 or 64 bits, which must hold every sum. weights: (product, vectors * lanes) of 2 or 4 bytes.
    """
    _, b, given = define(ARGUMENTS)
    item, narrow = ir.IntType(bits), ir.IntType(8 * weight_bytes)
    vector, zero = ir.VectorType(item, lanes), ir.Constant(ir.VectorType(item, lanes), None)
    low, high = (splat(b, given[name] if bits == 64 else b.trunc(given[name], item), lanes) for name in ("low", "high"))

    def products(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        x = load(b, b.add(given["x"], b.mul(k, WORD(4))), INT)
        x = splat(b, b.sext(x, item) if bits == 64 else x, lanes)
        at = b.add(given["weights"], b.mul(k, WORD(weight_bytes * lanes * vectors)))
        totals = []
        for j, held in enumerate(sums):
            w = load(b, b.add(at, WORD(weight_bytes * lanes * j)), ir.VectorType(narrow, lanes))
            w = b.sext(w, vector) if 8 * weight_bytes < bits else w
            totals.append(b.add(held, b.mul(x, w)))
        return totals

    def add(totals: list[ir.Value], flags: list[ir.Value]) -> list[ir.Value]:
        held, seen = [], []
        for total, flag in zip(totals, flags, strict=True):
            if saturates:
                kept = intrinsic(b, f"llvm.smin.v{lanes}i{bits}", total, high)
                kept = intrinsic(b, f"llvm.smax.v{lanes}i{bits}", kept, low)
                held.append(kept)
                seen.append(b.or_(flag, b.xor(kept, total)))
            else:
                held.append(total)
                seen.append(b.or_(flag, b.sub(total, low)))
        return held + seen

    def step(number: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        held, flags = state[:vectors], state[vectors:]
        if serial:
            return add(products(b.add(given["first"], number), held), flags)
        first = b.add(given["first"], b.mul(number, given["group"]))
        count = intrinsic(b, "llvm.smin.i64", given["group"], b.sub(given["end"], first))
        sums = count_up(b, count, [zero] * vectors, lambda k, inner: products(b.add(first, k), inner))
        return add([b.add(one, other) for one, other in zip(held, sums, strict=True)], flags)

    places = [WORD(bits // 8 * lanes * j) for j in range(vectors)]
    start = [load(b, b.add(given["held"], place), vector) for place in places]
    length = b.sub(given["end"], given["first"])
    steps = length if serial else b.sdiv(b.add(length, b.sub(given["group"], WORD(1))), given["group"])
    state = count_up(b, steps, start + [zero] * vectors, step)
    # the distance from the lowest value has no bit beyond the accumulator's own where it is in range
    beyond = b.not_(b.sub(high, low))
    for place, held, flag in zip(places, state[:vectors], state[vectors:], strict=True):
        store(b, held, b.add(given["held"], place))
        at = b.add(given["flags"], place)
        store(b, b.or_(load(b, at, vector), flag if saturates else b.and_(flag, beyond)), at)
    b.ret_void()
    return str(b.module)
