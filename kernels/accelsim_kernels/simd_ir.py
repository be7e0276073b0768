"""Small words for writing vector code with llvmlite. Imported only to compile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

WORD, INT, FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()


def define(names: Sequence[str]) -> tuple[ir.Module, ir.IRBuilder, dict[str, ir.Value]]:
    """A module with a function `kernel` on int64 arguments of those names, a builder at its start, the arguments."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [WORD] * len(names)), "kernel")
    return (module, ir.IRBuilder(function.append_basic_block("entry")), dict(zip(names, function.args, strict=True)))


def load(b: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    """An unaligned load: NumPy's arrays are aligned to 16 bytes at best."""
    return b.load(b.inttoptr(address, ir.PointerType()), align=1, typ=kind)


def store(b: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    """An unaligned store."""
    b.store(value, b.inttoptr(address, ir.PointerType()), align=1)


def splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """The value in every lane."""
    single = b.insert_element(ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), value, INT(0))
    return b.shuffle_vector(single, single, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))


def hidden(b: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    """The vector itself, in an x86 register, so that LLVM does not see that all its lanes are equal.

    Else it turns broadcast(load) ^ splat into broadcast(load ^ scalar): two instructions more per activation where the
    load could broadcast by itself. Worth 1 % of VPDPBUSD tiles, 16 % of VPMADDWD tiles.
    """
    register = "v" if vector.type.count * vector.type.element.width == 512 else "x"
    same = ir.FunctionType(vector.type, [vector.type])
    return b.call(ir.InlineAsm(same, "", f"={register},0", side_effect=False), [vector])


def intrinsic(b: ir.IRBuilder, name: str, *args: ir.Value, result: ir.Type | None = None) -> ir.Value:
    """Call an LLVM intrinsic; its result has the type of the first argument unless given."""
    function = b.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result or args[0].type, [arg.type for arg in args])
        function = ir.Function(b.module, kind, name)
    return b.call(function, args)


def count_up(
    b: ir.IRBuilder,
    end: ir.Value,
    carried: Sequence[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]],
) -> list[ir.Value]:
    """for index in range(end): carried = body(index, carried). Leaves b behind the loop; returns what is carried."""
    before = b.block
    loop, done = b.append_basic_block("loop"), b.append_basic_block("done")
    b.cbranch(b.icmp_signed(">", end, WORD(0)), loop, done)
    b.position_at_end(loop)
    index = b.phi(WORD)
    inside = [b.phi(value.type) for value in carried]
    following = list(body(index, inside))
    again = b.add(index, WORD(1))
    last = b.block
    b.cbranch(b.icmp_signed("<", again, end), loop, done)
    index.add_incoming(WORD(0), before)
    index.add_incoming(again, last)
    for phi, first, next_ in zip(inside, carried, following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_, last)
    b.position_at_end(done)
    results = [b.phi(value.type) for value in carried]
    for phi, first, next_ in zip(results, carried, following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_, last)
    return results
