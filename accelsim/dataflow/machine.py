"""A spec as columns of numbers: one spec, or many of the same structure, one per priced pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from accelsim.dataflow.problem import Ints, Problems
from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec

#: operands that live in a memory level, and the level kind of MemorySpec.operands that holds them
_HELD_WITH = {"bias": "weight"}
#: counter of zeros before a value of Eyeriss's run-length code
RLC_RUN_BITS = 5


@dataclass(frozen=True)
class Level:
    """One memory: names are the same for all pairs, numbers are scalars or columns. way_shares: share of it that
    each operand with ways of its own may fill.
    """

    name: str
    kind: str
    operands: tuple[str, ...]
    packing: str
    size_bits: Ints
    word_bits: Ints
    bits_per_cycle: Ints
    burst_bits: Ints
    double_buffered: Ints
    compression: str = "none"
    way_shares: Mapping[str, float] = field(default_factory=dict)

    def stored_bits(self, bits: Ints) -> Ints:
        """Bits that an element takes in this level, as a fraction where words are shared (float64)."""
        bits = np.asarray(bits)
        if self.packing == "tight":
            return bits * 1.0
        if self.packing == "byte":
            return 8.0 * 2.0 ** np.ceil(np.log2(np.maximum(np.ceil(bits / 8), 1)))
        words = np.ceil(bits / self.word_bits)
        per_word = np.maximum(self.word_bits // np.maximum(bits, 1), 1)
        return words * self.word_bits / per_word

    def bytes_for(self, elements: Ints, stored: Ints) -> Ints:
        """Bytes that elements of so many stored bits take on this level; whole bursts on DRAM (int64)."""
        bytes_ = np.ceil(elements * stored / 8).astype(np.int64)
        burst = self.burst_bits // 8
        return -(-bytes_ // burst) * burst


@dataclass(frozen=True)
class Machine:
    """What dataflow needs of a spec."""

    dataflow: str
    pe: str
    serial_operand: str
    rows: Ints
    cols: Ints
    weight_bits: Ints
    activation_bits: Ints
    overlap_folds: Ints
    efficiency: Ints
    load_bits_per_cycle: Ints
    accumulator_bits: Ints
    vector_lanes: Ints
    dma_setup_cycles: Ints
    dma_outstanding: Ints
    levels: tuple[Level, ...]

    def level_of(self, operand: str) -> Level:
        """The on-chip buffer of an operand; partial sums live with the outputs where nothing else is said."""
        operand = _HELD_WITH.get(operand, operand)
        for level in self.levels[1:]:
            if level.kind == "sram" and operand in level.operands:
                return level
        return self.level_of("output")

    @property
    def dram(self) -> Level:
        return self.levels[0]

    def lanes_and_steps(self, p: Problems) -> tuple[Ints, Ints]:
        """(products of one sum that an element takes per cycle, cycles per product)."""
        one = np.ones_like(p.weight_bits)
        if self.pe == "fused":
            per_weight = fused_width(self.weight_bits) // fused_width(p.weight_bits)
            per_activation = fused_width(self.activation_bits) // fused_width(p.activation_bits)
            return np.maximum(1, per_weight) * np.maximum(1, per_activation), one
        if self.pe == "serial":
            return one, {
                "weight": p.weight_bits,
                "activation": p.activation_bits,
                "both": p.weight_bits * p.activation_bits,
            }[self.serial_operand]
        return one, one

    def operand_bits(self, p: Problems) -> dict[str, Ints]:
        """Bits of an element of each operand, as it is stored."""
        return {
            "weight": p.weight_bits,
            "input": p.activation_bits,
            "output": p.output_bits,
            "psum": self.accumulator_bits + 0 * p.b,
            "bias": p.bias_bits,
        }

    def stored(self, p: Problems) -> dict[str, dict[str, Ints]]:
        """{level: {operand: bits that an element takes there}}, compressed where the DRAM link compresses."""
        bits = self.operand_bits(p)
        table = {level.name: {o: level.stored_bits(b) for o, b in bits.items()} for level in self.levels}
        for operand, coded in (("input", p.input_coded), ("output", p.output_coded)):
            link = table[self.dram.name]
            link[operand] = compressed(link[operand], coded, self.dram.compression)
        return table

    def registers_of(self, operand: str) -> Ints:
        """Elements that the register files of one processing element hold of an operand."""
        bits = {"weight": self.weight_bits, "input": self.activation_bits, "psum": self.accumulator_bits}
        return sum(
            (
                level.size_bits // bits[operand]
                for level in self.levels
                if level.kind == "registers" and operand in level.operands
            ),
            0,
        )


def compressed(bits: Ints, coded: Ints, compression: str) -> Ints:
    """Mean bits per element on a compressed link that codes a share of the elements, never more than
    uncompressed.

    "rlc": three (5-bit run, element) pairs and a flag in a word, one pair per coded element (Eyeriss, JSSC
    2017); "zvc": a bit per element says whether it follows.
    """
    if compression == "rlc":
        return np.minimum(bits, coded * (bits + RLC_RUN_BITS + 1 / 3))
    if compression == "zvc":
        return np.minimum(bits, coded * bits + 1)
    return bits * 1.0


def way_of(operand: str, shares: Mapping[str, float]) -> str:
    """Whose ways an operand fills: biases those of the weights, sums without ways those of the outputs."""
    operand = _HELD_WITH.get(operand, operand)
    return "output" if operand == "psum" and "psum" not in shares else operand


def fused_width(bits: Ints) -> Ints:
    """Bits that fusible 2-bit bricks spend on an operand: 2, 4, 8, 16 …"""
    return 2 ** np.maximum(1, np.ceil(np.log2(np.maximum(bits, 1)))).astype(np.int64)


def structure(spec: AcceleratorSpec) -> tuple:
    """What must be equal for specs to share columns."""
    array = spec.array
    return (
        array.dataflow,
        array.pe,
        array.serial_operand,
        tuple((m.name, m.kind, m.operands, m.packing, m.compression, m.way_shares) for m in spec.memories),
    )


def machine_of(specs: AcceleratorSpec | Sequence[AcceleratorSpec], index: Ints | None = None) -> Machine:
    """Columns of one spec (scalars) or of many (spec `index[i]` for pair i). Raises where structures differ."""
    many = [specs] if isinstance(specs, AcceleratorSpec) else list(specs)
    if len({structure(spec) for spec in many}) != 1:
        raise AccelsimError("specs that are priced together must have the same dataflow, elements and memories")
    first = many[0]

    def column(values: Sequence[float], dtype: type = np.int64) -> Ints:
        array: Ints = np.array(values, dtype=dtype)
        return array[0] if index is None else array[index]

    levels = []
    for i, memory in enumerate(first.memories):
        rows = [spec.memories[i] for spec in many]
        levels.append(
            Level(
                memory.name,
                memory.kind,
                memory.operands,
                memory.packing,
                size_bits=column([8 * r.size_bytes for r in rows]),
                word_bits=column([r.word_bits for r in rows]),
                bits_per_cycle=column(
                    [
                        8 * (s.link_bytes_per_cycle if i == 0 else r.bandwidth_bytes_per_cycle)
                        for s, r in zip(many, rows, strict=True)
                    ],
                    np.float64,
                ),
                burst_bits=column([8 * r.burst_bytes for r in rows]),
                double_buffered=column([r.double_buffered for r in rows], np.bool_),
                compression=memory.compression,
                way_shares=dict(memory.way_shares),
            )
        )
    arrays = [spec.array for spec in many]
    return Machine(
        first.array.dataflow,
        first.array.pe,
        first.array.serial_operand,
        rows=column([a.rows for a in arrays]),
        cols=column([a.cols for a in arrays]),
        weight_bits=column([a.weight_bits for a in arrays]),
        activation_bits=column([a.activation_bits for a in arrays]),
        overlap_folds=column([a.overlap_folds for a in arrays], np.bool_),
        efficiency=column([a.efficiency for a in arrays], np.float64),
        load_bits_per_cycle=column([a.load_bits_per_cycle for a in arrays]),
        accumulator_bits=column([a.accumulators.bits for a in arrays]),
        vector_lanes=column([spec.vector.lanes for spec in many]),
        dma_setup_cycles=column([spec.dma.setup_cycles for spec in many]),
        dma_outstanding=column([spec.dma.outstanding for spec in many]),
        levels=tuple(levels),
    )
