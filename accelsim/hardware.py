"""An accelerator as data: array, accumulators, memories, vector unit and technology, each checked on loading.

Specs are frozen: `spec.replace(**{"array.rows": 32})` gives a changed and revalidated copy.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from accelsim.accumulators import AccumulatorLevel, AccumulatorSpec
from accelsim.specfile import SpecModel, list_data, merged, read_spec_file, validated
from accelsim.technology import Constant, TechnologySpec, load_technology, rescaled

__all__ = [
    "AcceleratorSpec",
    "AccumulatorLevel",
    "AccumulatorSpec",
    "ArraySpec",
    "Constant",
    "DmaSpec",
    "MemorySpec",
    "TechnologySpec",
    "VectorSpec",
    "list_presets",
    "load_spec",
    "load_technology",
    "rescaled",
]

Dataflow = Literal["weight_stationary", "output_stationary", "input_stationary", "row_stationary"]
Operand = Literal["weight", "input", "output", "psum"]
_DATAFLOW_ALIASES = {
    "ws": "weight_stationary",
    "os": "output_stationary",
    "is": "input_stationary",
    "rs": "row_stationary",
}
Width = Annotated[int, Field(ge=1, le=32)]


class ArraySpec(SpecModel):
    """rows × cols processing elements.

    pe, for operands narrower than the element: "sized" (built for the network's widest operands), "fixed"
    (they are sign-extended), "fused" (more narrow products per cycle), "serial" (cycles in proportion to the
    bits of serial_operand). weight_bits, activation_bits: the widths the elements are built for.

    overlap_folds: the next stationary operands are loaded behind the running fold. efficiency: share of
    cycles in which elements have their operands (fitted to silicon where known). load_bits_per_cycle: bus
    that loads the weights of a row-stationary pass. zero_gating: a zero input stops the multiplier and what
    hangs on it. clock_gating: idle elements pay no clock.

    area_overhead: area of an element with its share of control and pipeline over that of its arithmetic
    (fitted to silicon where known).
    """

    rows: int = Field(ge=1, le=65536)
    cols: int = Field(ge=1, le=65536)
    dataflow: Dataflow = "weight_stationary"
    pe: Literal["sized", "fixed", "fused", "serial"] = "sized"
    weight_bits: Width = 8
    activation_bits: Width = 8
    serial_operand: Literal["weight", "activation", "both"] = "weight"
    accumulators: AccumulatorSpec = AccumulatorSpec()
    overlap_folds: bool = False
    efficiency: float = Field(default=1.0, gt=0, le=1)
    load_bits_per_cycle: int = Field(default=64, ge=1)
    area_overhead: float = Field(default=1.0, ge=1)
    zero_gating: bool = False
    clock_gating: bool = False

    @model_validator(mode="before")
    @classmethod
    def _aliases(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("dataflow"), str):
            name = data["dataflow"].replace("-", "_").replace(" ", "_").lower()
            return {**data, "dataflow": _DATAFLOW_ALIASES.get(name, name)}
        return data

    @property
    def pes(self) -> int:
        return self.rows * self.cols


class MemorySpec(SpecModel):
    """One level: DRAM, an SRAM shared by some operands, or a register file in each processing element.

    size_bytes: of one instance, 0 for DRAM. word_bits: what one access moves. bandwidth_bytes_per_cycle:
    reads and writes together, all banks. packing of narrow elements: "tight" (bits run on across words),
    "word" (as many whole elements as fit in a word) or "byte" (an element takes 1, 2, 4 or 8 bytes).

    ports: accesses that each bank takes per cycle; energy and area are those of single-ported arrays. ways: an
    SRAM in ways of equal size, so many for each operand (biases lie with weights, sums with outputs unless they
    have ways of their own); none: shared freely.

    device: a DRAM kind or SRAM cell of the technology. per_pe: one instance in each processing element.
    compression of inputs and outputs on the DRAM link, where the share of zeros is known: "rlc" (run length)
    or "zvc" (zero value).
    """

    name: str = Field(min_length=1)
    kind: Literal["dram", "sram", "registers"]
    operands: tuple[Operand, ...] = ("weight", "input", "output", "psum")
    size_bytes: int = Field(default=0, ge=0)
    word_bits: int = Field(default=64, ge=1, le=65536)
    bandwidth_bytes_per_cycle: float = Field(gt=0)
    banks: int = Field(default=1, ge=1)
    ports: int = Field(default=1, ge=1, le=8)
    ways: dict[Operand, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    double_buffered: bool = True
    packing: Literal["tight", "word", "byte"] = "word"
    device: str | None = None
    burst_bytes: int = Field(default=1, ge=1)
    compression: Literal["none", "rlc", "zvc"] = "none"
    per_pe: bool = False

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.kind != "dram" and self.size_bytes == 0:
            raise ValueError(f"memory {self.name!r}: size_bytes is needed")
        if self.kind == "dram" and self.per_pe:
            raise ValueError(f"memory {self.name!r}: DRAM cannot be per_pe")
        if not self.operands:
            raise ValueError(f"memory {self.name!r}: operands is empty; remove the level instead")
        if self.ways and (self.kind != "sram" or set(self.ways) - set(self.operands)):
            raise ValueError(f"memory {self.name!r}: ways belong to an sram and to operands that it holds")
        missing = {"weight", "input", "output"} & set(self.operands) - set(self.ways)
        if self.ways and missing:
            raise ValueError(f"memory {self.name!r}: ways of {', '.join(sorted(missing))} are missing")
        return self

    @property
    def port_bytes_per_cycle(self) -> float:
        """What all ports of all banks move together."""
        return self.banks * self.ports * self.word_bits / 8

    @property
    def way_shares(self) -> tuple[tuple[str, float], ...]:
        """(operand, its share of the memory) where there are ways."""
        whole = sum(self.ways.values())
        return tuple((operand, count / whole) for operand, count in self.ways.items())


class VectorSpec(SpecModel):
    """The unit that requantizes, adds, pools and sums rows: lanes elements per cycle, lane_bits wide. lut_bytes: a
    table of functions in each lane; 0: tables lie in the buffer of the outputs.
    """

    lanes: int = Field(default=16, ge=1)
    lane_bits: int = Field(default=32, ge=8, le=64)
    lut_bytes: int = Field(default=0, ge=0)


class DmaSpec(SpecModel):
    """The engine that moves tiles between DRAM and buffers: bytes_per_cycle bounds the DRAM link (None: the
    link's own bandwidth), each transfer takes setup_cycles first, and up to `outstanding` transfers are under
    way at once, which hides set-up.
    """

    bytes_per_cycle: float | None = Field(default=None, gt=0)
    setup_cycles: int = Field(default=0, ge=0)
    outstanding: int = Field(default=1, ge=1)


class AcceleratorSpec(SpecModel):
    """A whole accelerator. memories: outermost (DRAM) first; every operand must be held by an on-chip level.

    uncore_area_mm2: control, DMA and interfaces, where known.
    """

    name: str
    description: str = ""
    technology: TechnologySpec
    clock_hz: float = Field(gt=0)
    array: ArraySpec
    memories: tuple[MemorySpec, ...]
    vector: VectorSpec = VectorSpec()
    dma: DmaSpec = DmaSpec()
    uncore_area_mm2: float = Field(default=0.0, ge=0)
    sources: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _named_technology(cls, data: Any) -> Any:
        technology = data.get("technology") if isinstance(data, dict) else None
        if isinstance(technology, str):
            return {**data, "technology": load_technology(technology)}
        if isinstance(technology, dict):
            return {**data, "technology": rescaled(TechnologySpec.model_validate(technology))}
        return data

    @model_validator(mode="after")
    def _hierarchy(self) -> Self:
        names = [memory.name for memory in self.memories]
        if len(set(names)) != len(names):
            raise ValueError(f"memories: names must differ, got {names}")
        if [i for i, m in enumerate(self.memories) if m.kind == "dram"] != [0]:
            raise ValueError("memories: the first level, and only it, must have kind dram")
        for operand in ("weight", "input", "output"):
            holders = [m.name for m in self.memories if m.kind == "sram" and operand in m.operands]
            if len(holders) != 1:
                raise ValueError(f"memories: operand {operand!r} needs exactly one sram level, has {holders}")
        if sum(m.kind == "sram" and "psum" in m.operands for m in self.memories) > 1:
            raise ValueError("memories: operand 'psum' can be in one sram level only")
        if any(m.compression != "none" for m in self.memories[1:]):
            raise ValueError("memories: compression is a property of the DRAM link only")
        held = {operand for m in self.memories if m.kind == "registers" for operand in m.operands}
        if self.array.dataflow == "row_stationary" and not held >= {"weight", "input", "psum"}:
            raise ValueError("row_stationary needs register files (kind: registers) for weight, input and psum")
        if any(m.kind == "registers" and not m.per_pe for m in self.memories):
            raise ValueError("memories: kind registers is a register file in each element: set per_pe: true")
        return self

    @property
    def dram(self) -> MemorySpec:
        return self.memories[0]

    @property
    def link_bytes_per_cycle(self) -> float:
        """What crosses the DRAM link per cycle: the slower of DRAM and DMA engine."""
        link = self.dram.bandwidth_bytes_per_cycle
        return link if self.dma.bytes_per_cycle is None else min(link, self.dma.bytes_per_cycle)

    def buffer_of(self, operand: str) -> MemorySpec:
        """The sram level that holds an operand; partial sums fall back to the level of the outputs."""
        for memory in self.memories:
            if memory.kind == "sram" and operand in memory.operands:
                return memory
        return self.buffer_of("output")

    def replace(self, **changes: Any) -> AcceleratorSpec:
        """A copy with dotted fields changed and everything checked again.

        Example: spec.replace(**{"array.rows": 32, "memories.buffer.size_bytes": 65536}). An element of a list
        is named by its `name` or its index. Raises AccelsimError that names the field.
        """
        data = self.model_dump(exclude_unset=True)
        for path, value in changes.items():
            data = merged(data, path.split("."), value, f"spec {self.name!r}, field {path}")
        return validated(AcceleratorSpec, data, f"spec {self.name!r}")

    def sized_for(self, weight_bits: int, activation_bits: int) -> AcceleratorSpec:
        """Itself, with "sized" elements rebuilt for these widths (the network's widest operands)."""
        if self.array.pe != "sized":
            return self
        return self.replace(**{"array.weight_bits": weight_bits, "array.activation_bits": activation_bits})


def load_spec(name_or_path: str | Path | AcceleratorSpec) -> AcceleratorSpec:
    """A spec by preset name, by path of a YAML file, or itself. AccelsimError names file, field and line."""
    if isinstance(name_or_path, AcceleratorSpec):
        return name_or_path
    return _preset(str(name_or_path)) if _is_preset(str(name_or_path)) else _from_file(name_or_path)


def _from_file(name_or_path: str | Path) -> AcceleratorSpec:
    data, where, lines = read_spec_file(name_or_path, "accelerators")
    return validated(AcceleratorSpec, data, where, lines)


_is_preset = cache(lambda name: name in list_presets())
_preset = cache(_from_file)  # specs are frozen, and reading one takes longer than many a simulation


def list_presets() -> list[str]:
    """Names of the accelerators that come with the package."""
    return list_data("accelerators")
