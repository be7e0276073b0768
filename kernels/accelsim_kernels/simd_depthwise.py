"""The depthwise tile: a few outputs of a row, `width` channels at once, every tap unrolled.

Rows of taps come `unit` at a time. Their bytes are interleaved, so that each 32-bit lane holds one channel's column of
taps and one dot product takes all of it; a column serves every output whose window it lies in. Interleaving works
within 128 bits, which leaves channels in another order: weights are packed in that order (channel_order), and the sums
are put back in the end.
"""

from __future__ import annotations

from llvmlite import ir

from accelsim_kernels.simd import ENGINES
from accelsim_kernels.simd_codes import Codes
from accelsim_kernels.simd_ir import INT, WORD, define, intrinsic, load, splat, store
from accelsim_kernels.simd_tile import dot

#: addresses of the window's first column in each row are rows[ky] + offset; columns are `pixel` bytes apart; `mask` is
#: xored to each four bytes; `channels` of the width exist in memory
ARGUMENTS = ("rows", "offset", "pixel", "weights", "initial", "out", "out_stride", "mask", "channels", "extra")


def depthwise_tile(engine_name: str, width: int, outputs: int, fy: int, fx: int, stride_x: int, dilation_x: int) -> str:
    """LLVM IR of out[o, c] = initial[c] + sum of x[ky][o * stride + kx * dilation][c] * w[c][ky][kx]; x as 0..255.

    weights: (fx, groups of `unit` rows, unit, width, unit) in channel_order. out: int32 (outputs, width).
    """
    module, b, given, lane, sums = _sums(engine_name, width, outputs, fy, fx, stride_x, dilation_x)
    for o in range(outputs):
        row = b.add(given["out"], b.mul(given["out_stride"], WORD(o)))
        for q, part in enumerate(lane.in_order(sums[o])):
            at = WORD(q * lane.bytes)
            store(b, b.add(part, load(b, b.add(given["initial"], at), lane.sums_type)), b.add(row, at))
    b.ret_void()
    return str(module)


def scaled_tile(
    engine_name: str, signed: bool, width: int, outputs: int, fy: int, fx: int, stride_x: int, dilation_x: int
) -> str:
    """As depthwise_tile, with 8-bit codes in place of sums: out is bytes, "extra" the address of simd_codes.WORDS.

    initial and scales: in channel_order, in which narrowing takes them.
    """
    module, b, given, lane, sums = _sums(engine_name, width, outputs, fy, fx, stride_x, dilation_x)
    codes = Codes(b, given["extra"], lane.lanes, signed)
    scales = codes.scales(lane.unit)
    initial = [load(b, b.add(given["initial"], WORD(q * lane.bytes)), lane.sums_type) for q in range(lane.unit)]
    made = []
    for o in range(outputs):
        total = [b.add(part, first) for part, first in zip(sums[o], initial, strict=True)]
        made.append((codes.narrow(total, scales), b.add(given["out"], b.mul(given["out_stride"], WORD(o)))))
    codes.store(made)
    b.ret_void()
    return str(module)


def _sums(
    engine_name: str, width: int, outputs: int, fy: int, fx: int, stride_x: int, dilation_x: int
) -> tuple[ir.Module, ir.IRBuilder, dict[str, ir.Value], _Lane, list[list[ir.Value]]]:
    """A kernel up to the sums of each output, in channel_order and without `initial`."""
    unit = ENGINES[engine_name].unit
    module, b, given = define(ARGUMENTS)
    lane = _Lane(b, engine_name, width)
    column_type = ir.VectorType(ir.IntType(8), width)
    mask = b.bitcast(splat(b, b.trunc(given["mask"], INT), width // 4), column_type)
    # without instructions for it, a masked load is a branch per byte: those callers leave room behind the last channel
    masked = engine_name == "vpdpbusd512"
    numbers = ir.Constant(ir.VectorType(INT, width), list(range(width)))
    exists = b.icmp_signed("<", numbers, splat(b, b.trunc(given["channels"], INT), width))
    rows = [b.add(load(b, b.add(given["rows"], WORD(8 * ky)), WORD), given["offset"]) for ky in range(fy)]
    zero = ir.Constant(column_type, None)
    sums = [[ir.Constant(lane.sums_type, None)] * unit for _ in range(outputs)]
    row_groups = -(-fy // unit)
    columns = sorted({o * stride_x + kx * dilation_x for o in range(outputs) for kx in range(fx)})
    for column in columns:
        uses = [
            (o, (column - o * stride_x) // dilation_x)
            for o in range(outputs)
            if (column - o * stride_x) % dilation_x == 0 and 0 <= column - o * stride_x < fx * dilation_x
        ]
        shift = b.mul(given["pixel"], WORD(column))
        for group in range(row_groups):
            taps = []
            for ky in range(group * unit, (group + 1) * unit):
                if ky >= fy:
                    taps.append(zero)
                    continue
                at = b.add(rows[ky], shift)
                if masked:
                    pointer = b.inttoptr(at, ir.PointerType())
                    loaded = intrinsic(
                        b, f"llvm.masked.load.v{width}i8.p0", pointer, INT(1), exists, zero, result=column_type
                    )
                else:
                    loaded = load(b, at, column_type)
                taps.append(b.xor(loaded, mask))
            interleaved = lane.interleave(taps)
            for o, kx in uses:
                at = b.add(given["weights"], WORD((kx * row_groups + group) * unit * lane.bytes))
                for q in range(unit):
                    weights = load(b, b.add(at, WORD(q * lane.bytes)), lane.sums_type)
                    sums[o][q] = dot(b, ENGINES[engine_name], sums[o][q], interleaved[q], weights)
    return module, b, given, lane, sums


class _Lane:
    """Interleaving of `unit` vectors of `width` bytes, and its inverse on sums."""

    def __init__(self, b: ir.IRBuilder, engine_name: str, width: int) -> None:
        self.b, self.width = b, width
        self.unit = ENGINES[engine_name].unit
        self.lanes = width // self.unit
        self.bytes = self.lanes * 4
        self.sums_type = ir.VectorType(INT, self.lanes)

    def _pick(self, first: ir.Value, second: ir.Value, places: list[int]) -> ir.Value:
        return self.b.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT, len(places)), places))

    def _unpack(self, first: ir.Value, second: ir.Value, high: bool) -> ir.Value:
        """Items of the low or high half of each 128 bits, alternating."""
        count = first.type.count
        each = count // (self.bytes // 16)
        half = each // 2
        places = [
            block * each + high * half + i + side * count
            for block in range(count // each)
            for i in range(half)
            for side in (0, 1)
        ]
        return self._pick(first, second, places)

    def interleave(self, taps: list[ir.Value]) -> list[ir.Value]:
        """`unit` vectors of 32-bit lanes, each holding the taps of one channel, in channel_order."""
        b = self.b
        if self.unit == 2:
            wide = [b.zext(tap, ir.VectorType(ir.IntType(16), self.width)) for tap in taps]
            return [b.bitcast(self._unpack(wide[0], wide[1], high), self.sums_type) for high in (False, True)]
        words = ir.VectorType(ir.IntType(16), self.width // 2)
        result = []
        for high in (False, True):
            pairs = [b.bitcast(self._unpack(taps[i], taps[i + 1], high), words) for i in (0, 2)]
            result += [b.bitcast(self._unpack(pairs[0], pairs[1], inner), self.sums_type) for inner in (False, True)]
        return result

    def in_order(self, sums: list[ir.Value]) -> list[ir.Value]:
        """Sums in the order of channels: 128-bit blocks are transposed between the vectors."""
        blocks = self.lanes // 4
        every = sums[0]
        for following in sums[1:]:
            every = self._pick(
                every,
                self._same_length(following, every.type.count),
                list(range(every.type.count + following.type.count)),
            )
        return [
            self._pick(
                every,
                every,
                [
                    (part % self.unit) * self.lanes + (part // self.unit) * 4 + i
                    for part in range(q * blocks, (q + 1) * blocks)
                    for i in range(4)
                ],
            )
            for q in range(self.unit)
        ]

    def _same_length(self, value: ir.Value, count: int) -> ir.Value:
        return self._pick(value, value, [min(i, value.type.count - 1) for i in range(count)])
