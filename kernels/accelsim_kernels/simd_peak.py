"""The machine's peak: dot products on registers alone, for benchmarks to be measured against."""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd import ENGINES
from accelsim_kernels.simd_ir import INT, count_up, define, load, splat, store
from accelsim_kernels.simd_tile import dot

#: independent sums: enough that none waits for itself, few enough for 16 registers
SUMS = 12


def peak(engine_name: str) -> str:
    """LLVM IR that does `repeats` times SUMS dot products; out: one vector, so that nothing is left out."""
    engine = ENGINES[engine_name]
    _, b, given = define(("repeats", "out", "unused"))
    vector = ir.VectorType(INT, engine.lanes)
    a = load(b, given["out"], vector)
    w = splat(b, b.trunc(given["repeats"], INT), engine.lanes)
    sums = count_up(b, given["repeats"], [a] * SUMS, lambda _, sums: [dot(b, engine, total, a, w) for total in sums])
    result = sums[0]
    for index, total in enumerate(sums[1:]):
        result = b.xor(result, b.add(total, ir.Constant(vector, [index] * engine.lanes)))
    store(b, result, given["out"])
    b.ret_void()
    return str(b.module)
