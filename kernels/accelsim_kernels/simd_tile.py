"""The register tile: `rows` x `vectors` int32 sums that stay in registers over the whole depth.

One inner loop serves matrix product and convolution: an operand's address is
base + row_offset[i] + depth_offset[k], with a table of row offsets (the first input byte of each output pixel) and
one of depth offsets (the tap and channel group of each step). Nothing is unfolded.
"""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd import ENGINES, Engine

_WORD, _INT = ir.IntType(64), ir.IntType(32)
#: arguments of a tile, all int64: addresses, the number of steps, bytes between output rows, and a mask that is
#: xored to four bytes of activations (0x80808080 makes int8 unsigned, 0x80008000 makes uint16 signed)
ARGUMENTS = ("a", "row_offsets", "depth_offsets", "steps", "weights", "initial", "out", "out_stride", "mask")


def tile(engine_name: str, rows: int, vectors: int) -> str:
    """LLVM IR of out[i, :] = initial + sum over steps of activations[i] . weights, for i < rows.

    weights: (steps, vectors * lanes, unit); initial: int32 (vectors * lanes). No bounds: every row offset and every
    depth offset must be readable.
    """
    engine = ENGINES[engine_name]
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_WORD] * len(ARGUMENTS)), "kernel")
    given = dict(zip(ARGUMENTS, function.args, strict=True))
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    sums_type = ir.VectorType(_INT, engine.lanes)

    b = ir.IRBuilder(entry)
    offsets = _pointer(b, given["row_offsets"])
    bases = [b.add(given["a"], _load(b, b.gep(offsets, [_WORD(i)], source_etype=_WORD), _WORD)) for i in range(rows)]
    mask = _splat(b, b.trunc(given["mask"], _INT), engine.lanes)
    width = engine.lanes * 4
    start = [_load(b, _pointer(b, b.add(given["initial"], _WORD(width * j))), sums_type) for j in range(vectors)]
    b.cbranch(b.icmp_signed(">", given["steps"], _WORD(0)), loop, done)

    b = ir.IRBuilder(loop)
    step = b.phi(_WORD)
    sums = [[b.phi(sums_type) for _ in range(vectors)] for _ in range(rows)]
    depth = _load(b, b.gep(_pointer(b, given["depth_offsets"]), [step], source_etype=_WORD), _WORD)
    at = b.add(given["weights"], b.mul(step, _WORD(width * vectors)))
    weights = [_load(b, _pointer(b, b.add(at, _WORD(width * j))), sums_type) for j in range(vectors)]
    totals = []
    for i in range(rows):
        activation = _splat(b, _load(b, _pointer(b, b.add(bases[i], depth)), _INT), engine.lanes)
        activation = b.xor(activation, mask)
        totals.append([dot(b, module, engine, sums[i][j], activation, weights[j]) for j in range(vectors)])
    following = b.add(step, _WORD(1))
    b.cbranch(b.icmp_signed("<", following, given["steps"]), loop, done)
    step.add_incoming(_WORD(0), entry)
    step.add_incoming(following, loop)

    b = ir.IRBuilder(done)
    results = [[b.phi(sums_type) for _ in range(vectors)] for _ in range(rows)]
    for i in range(rows):
        for j in range(vectors):
            sums[i][j].add_incoming(start[j], entry)
            sums[i][j].add_incoming(totals[i][j], loop)
            results[i][j].add_incoming(start[j], entry)
            results[i][j].add_incoming(totals[i][j], loop)
            place = b.add(b.add(given["out"], b.mul(given["out_stride"], _WORD(i))), _WORD(width * j))
            b.store(results[i][j], _pointer(b, place), align=1)
    b.ret_void()
    return str(module)


def dot(b: ir.IRBuilder, module: ir.Module, engine: Engine, sums: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
    """sums + a . w in each lane: `unit` products of the narrow operands that lie in 32 bits."""
    if engine.name == "vpdpbusd512":
        narrow = ir.VectorType(ir.IntType(8), engine.lanes * 4)
        return _intrinsic(b, module, "llvm.x86.avx512.vpdpbusd.512", sums, b.bitcast(a, narrow), b.bitcast(w, narrow))
    narrow = ir.VectorType(ir.IntType(16), engine.lanes * 2)
    a, w = b.bitcast(a, narrow), b.bitcast(w, narrow)
    if engine.name == "vpdpwssd512":
        return _intrinsic(b, module, "llvm.x86.avx512.vpdpwssd.512", sums, a, w)
    if engine.name == "pmaddwd256":
        return b.add(sums, _intrinsic(b, module, "llvm.x86.avx2.pmadd.wd", a, w, result=sums.type))
    wide = ir.VectorType(_INT, engine.lanes * 2)
    products = b.mul(b.sext(a, wide), b.sext(w, wide))
    even, odd = (b.shuffle_vector(products, products, ir.Constant(sums.type, list(range(first, engine.lanes * 2, 2))))
                 for first in (0, 1))
    return b.add(sums, b.add(even, odd))


def _intrinsic(b: ir.IRBuilder, module: ir.Module, name: str, *args: ir.Value, result: ir.Type | None = None,
               ) -> ir.Value:
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(result or args[0].type, [arg.type for arg in args]), name)
    return b.call(function, args)


def _pointer(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.inttoptr(address, ir.PointerType())


def _load(b: ir.IRBuilder, pointer: ir.Value, kind: ir.Type) -> ir.Value:
    """An unaligned load: NumPy's arrays are aligned to 16 bytes at best."""
    return b.load(pointer, align=1, typ=kind)


def _splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    kind = ir.VectorType(value.type, lanes)
    single = b.insert_element(ir.Constant(kind, ir.Undefined), value, _INT(0))
    return b.shuffle_vector(single, single, ir.Constant(ir.VectorType(_INT, lanes), [0] * lanes))
