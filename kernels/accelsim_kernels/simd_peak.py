"""The machine's peak: dot products in the nearest cache, for benchmarks to be measured against."""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd import ENGINES, Engine
from accelsim_kernels.simd_ir import WORD, count_up, define, load, store
from accelsim_kernels.simd_tile import dot


def shape(engine: Engine) -> tuple[int, int]:
    """(activations, weights) of a step, each a vector; their products fill the sums. Enough that no sum waits for
    itself, and few enough for 16 registers where vectors are of 256 bits."""
    return (3, 4) if engine.lanes == 16 else (2, 4)


def peak(engine_name: str) -> str:
    """LLVM IR of `repeats` steps: every activation times every weight, each into its own sum.

    out: as many vectors as activations and weights, read at each step, the first replaced by what was found. stride:
    bytes from one step's operands to the next's: 0, which the compiler must not know, or it would multiply but once.
    """
    engine = ENGINES[engine_name]
    rows, columns = shape(engine)
    _, b, given = define(("repeats", "out", "stride"))
    vector, width = ir.VectorType(ir.IntType(32), engine.lanes), engine.lanes * 4

    def step(index: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        at = b.add(given["out"], b.mul(index, given["stride"]))
        operands = [load(b, b.add(at, WORD(width * i)), vector) for i in range(rows + columns)]
        pairs = [(a, w) for a in operands[:rows] for w in operands[rows:]]
        return [dot(b, engine, total, a, w) for total, (a, w) in zip(sums, pairs, strict=True)]

    sums = count_up(b, given["repeats"], [ir.Constant(vector, None)] * (rows * columns), step)
    result = sums[0]
    for index, total in enumerate(sums[1:], 1):
        result = b.xor(result, b.add(total, ir.Constant(vector, [index] * engine.lanes)))
    store(b, result, given["out"])
    b.ret_void()
    return str(b.module)
