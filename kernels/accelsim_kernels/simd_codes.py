"""Sums to 8-bit codes in registers, by instructions that narrow four vectors to one. Imported only to compile."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from accelsim_kernels.simd_ir import FLOAT, INT, WORD, intrinsic, load, splat, store

#: int64 words that describe the codes: address of the first column's float32 scale, columns that exist, zero point,
#: lowest and highest code
WORDS = ("scales", "columns", "zero_point", "qmin", "qmax")
_BYTE, _SHORT = ir.IntType(8), ir.IntType(16)
#: instructions by lanes of 32 bits: round to even, narrow to 16 bits, to signed and to unsigned bytes
_ROUND = {16: "avx512.mask.cvtps2dq.512", 8: "avx.cvt.ps2dq.256", 4: "sse2.cvtps2dq"}
_NARROW = {
    16: ("avx512.packssdw.512", "avx512.packsswb.512", "avx512.packuswb.512"),
    8: ("avx2.packssdw", "avx2.packsswb", "avx2.packuswb"),
    4: ("sse2.packssdw.128", "sse2.packsswb.128", "sse2.packuswb.128"),
}


class Codes:
    """clamp(rint(float32(sum) * scale) + zero_point, qmin, qmax) of four vectors at once (R10, R16).

    Scales lie in [0, 0.99], so that no product leaves 32 bits; what narrowing clips is beyond qmin and qmax anyway.
    The 32 bits of four codes come from one vector: 128-bit block by block, one vector after the other.
    """

    def __init__(self, b: ir.IRBuilder, words_at: ir.Value, lanes: int, signed: bool) -> None:
        self.b, self.lanes, self.signed = b, lanes, signed
        word = {name: load(b, b.add(words_at, WORD(8 * i)), WORD) for i, name in enumerate(WORDS)}
        self.scales_at, self.columns = word["scales"], word["columns"]
        self._zero_point = splat(b, b.trunc(word["zero_point"], _SHORT), 2 * lanes)
        self._ends = [splat(b, b.trunc(word[name], _BYTE), 4 * lanes) for name in ("qmin", "qmax")]

    def scales(self, count: int) -> list[ir.Value]:
        """The scales of that many vectors of columns."""
        kind = ir.VectorType(FLOAT, self.lanes)
        return [load(self.b, self.b.add(self.scales_at, WORD(4 * self.lanes * i)), kind) for i in range(count)]

    def narrow(self, sums: Sequence[ir.Value], scales: Sequence[ir.Value]) -> ir.Value:
        """Codes of four vectors of sums, as bytes."""
        b, lanes = self.b, self.lanes
        words, signed, unsigned = (f"llvm.x86.{name}" for name in _NARROW[lanes])
        whole = [self._rounded(b.fmul(b.sitofp(s, scale.type), scale)) for s, scale in zip(sums, scales, strict=True)]
        halves = []
        for pair in (whole[:2], whole[2:]):
            short = intrinsic(b, words, *pair, result=ir.VectorType(_SHORT, 2 * lanes))
            halves.append(intrinsic(b, f"llvm.sadd.sat.v{2 * lanes}i16", short, self._zero_point))
        codes = intrinsic(b, signed if self.signed else unsigned, *halves, result=ir.VectorType(_BYTE, 4 * lanes))
        kind = "s" if self.signed else "u"
        codes = intrinsic(b, f"llvm.{kind}max.v{4 * lanes}i8", codes, self._ends[0])
        return intrinsic(b, f"llvm.{kind}min.v{4 * lanes}i8", codes, self._ends[1])

    def _rounded(self, real: ir.Value) -> ir.Value:
        b, lanes = self.b, self.lanes
        ints, name = ir.VectorType(INT, lanes), f"llvm.x86.{_ROUND[lanes]}"
        if lanes < 16:
            return intrinsic(b, name, real, result=ints)
        return intrinsic(b, name, real, ir.Constant(ints, None), _SHORT(0xFFFF), INT(4), result=ints)

    def store(self, rows: Sequence[tuple[ir.Value, ir.Value]]) -> None:
        """Store (codes, address) pairs, the columns that exist only."""
        b = self.b
        width = rows[0][0].type.count
        numbers = ir.Constant(ir.VectorType(INT, width), list(range(width)))
        with b.if_else(b.icmp_signed(">=", self.columns, WORD(width))) as (all_exist, some_exist):
            with all_exist:
                for codes, at in rows:
                    store(b, codes, at)
            with some_exist:
                exists = b.icmp_signed("<", numbers, splat(b, b.trunc(self.columns, INT), width))
                for codes, at in rows:
                    pointer = b.inttoptr(at, ir.PointerType())
                    name = f"llvm.masked.store.v{width}i8.p0"
                    intrinsic(b, name, codes, pointer, INT(1), exists, result=ir.VoidType())
