"""The register tile: `rows` x `vectors` int32 sums that stay in registers over the whole depth.

One inner loop serves matrix product and convolution: an operand's address is
base + row_offset[i] + depth_offset[k], with a table of row offsets (the first input byte of each output pixel) and
one of depth offsets (the tap and channel group of each step). Nothing is unfolded.
"""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd import ENGINES, Engine
from accelsim_kernels.simd_codes import Codes
from accelsim_kernels.simd_ir import INT, WORD, count_up, define, hidden, intrinsic, load, splat, store

#: arguments of a tile, all int64: addresses, the number of steps, bytes between output rows, and a mask that is
#: xored to four bytes of activations (0x80808080 makes int8 unsigned, 0x80008000 makes uint16 signed)
#: "extra" is for tiles of other kinds
ARGUMENTS = ("a", "row_offsets", "depth_offsets", "steps", "weights", "initial", "out", "out_stride", "mask", "extra")


def tile(engine_name: str, rows: int, vectors: int) -> str:
    """LLVM IR of out[i, :] = initial + sum over steps of activations[i] . weights, for i < rows.

    weights: (steps, vectors * lanes, unit); initial: int32 (vectors * lanes). No bounds: every row offset and every
    depth offset must be readable.
    """
    module, b, given, results = _sums(engine_name, rows, vectors)
    width = ENGINES[engine_name].lanes * 4
    for i in range(rows):
        row = b.add(given["out"], b.mul(given["out_stride"], WORD(i)))
        for j in range(vectors):
            store(b, results[i * vectors + j], b.add(row, WORD(width * j)))
    b.ret_void()
    return str(module)


def scaled_tile(engine_name: str, signed: bool, rows: int, vectors: int) -> str:
    """As tile(), with 8-bit codes in place of sums: out is bytes, "extra" the address of simd_codes.WORDS."""
    module, b, given, results = _sums(engine_name, rows, vectors)
    lanes = ENGINES[engine_name].lanes
    codes = Codes(b, given["extra"], lanes, signed)
    scales = codes.scales(vectors)
    # the dword of four codes that narrowing leaves at 4 * block + vector belongs at 4 * vector + block
    order = [4 * block + vector for vector in range(vectors) for block in range(lanes // 4)]
    made = []
    for i in range(rows):
        own = list(range(i * vectors, (i + 1) * vectors))
        four = [min(j, vectors - 1) for j in range(4)]
        narrow = codes.narrow([results[own[j]] for j in four], [scales[j] for j in four])
        dwords = b.bitcast(narrow, ir.VectorType(INT, lanes))
        moved = b.shuffle_vector(dwords, dwords, ir.Constant(ir.VectorType(INT, len(order)), order))
        at = b.add(given["out"], b.mul(given["out_stride"], WORD(i)))
        made.append((b.bitcast(moved, ir.VectorType(ir.IntType(8), 4 * len(order))), at))
    codes.store(made)
    b.ret_void()
    return str(module)


def _sums(
    engine_name: str, rows: int, vectors: int
) -> tuple[ir.Module, ir.IRBuilder, dict[str, ir.Value], list[ir.Value]]:
    """A kernel up to its sums, row by row."""
    engine = ENGINES[engine_name]
    module, b, given = define(ARGUMENTS)
    sums_type, width = ir.VectorType(INT, engine.lanes), engine.lanes * 4
    bases = [b.add(given["a"], load(b, b.add(given["row_offsets"], WORD(8 * i)), WORD)) for i in range(rows)]
    mask = splat(b, b.trunc(given["mask"], INT), engine.lanes)
    if engine.name != "portable":
        mask = hidden(b, mask)
    start = [load(b, b.add(given["initial"], WORD(width * j)), sums_type) for j in range(vectors)]

    def step(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        depth = load(b, b.add(given["depth_offsets"], b.mul(k, WORD(8))), WORD)
        at = b.add(given["weights"], b.mul(k, WORD(width * vectors)))
        weights = [load(b, b.add(at, WORD(width * j)), sums_type) for j in range(vectors)]
        totals = []
        for i in range(rows):
            activation = splat(b, load(b, b.add(bases[i], depth), INT), engine.lanes)
            activation = b.xor(activation, mask)
            totals += [dot(b, engine, sums[i * vectors + j], activation, weights[j]) for j in range(vectors)]
        return totals

    return module, b, given, count_up(b, given["steps"], start * rows, step)


def dot(b: ir.IRBuilder, engine: Engine, sums: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
    """sums + a . w in each lane: `unit` products of the narrow operands that lie in 32 bits."""
    lanes, bits = sums.type.count, sums.type.count * 32
    if engine.name.startswith("vpdpbusd512"):
        narrow = ir.VectorType(ir.IntType(8), lanes * 4)
        return intrinsic(b, f"llvm.x86.avx512.vpdpbusd.{bits}", sums, b.bitcast(a, narrow), b.bitcast(w, narrow))
    narrow = ir.VectorType(ir.IntType(16), lanes * 2)
    a, w = b.bitcast(a, narrow), b.bitcast(w, narrow)
    if engine.name.startswith("vpdpwssd512"):
        return intrinsic(b, f"llvm.x86.avx512.vpdpwssd.{bits}", sums, a, w)
    if engine.name == "pmaddwd256":
        return b.add(sums, intrinsic(b, "llvm.x86.avx2.pmadd.wd", a, w, result=sums.type))
    wide = ir.VectorType(INT, lanes * 2)
    products = b.mul(b.sext(a, wide), b.sext(w, wide))
    even, odd = (
        b.shuffle_vector(products, products, ir.Constant(sums.type, list(range(first, lanes * 2, 2))))
        for first in (0, 1)
    )
    return b.add(sums, b.add(even, odd))
