"""Instruction sets: which ones this machine has, which one is used, and how each multiplies narrow integers.

`ACCELSIM_ISA` (one of ISAS) overrides the choice at run time. Every instruction set gives the same bits.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from types import MappingProxyType

from accelsim_kernels.settings import SettingError

#: best first; "portable" is plain LLVM vectors without a named instruction
ISAS = ("avx512vnni", "avx2", "portable")
_NEEDS = {"avx512vnni": ("avx512f", "avx512bw", "avx512vl", "avx512vnni"), "avx2": ("avx2",), "portable": ()}


@dataclass(frozen=True)
class Engine:
    """An exact dot product: each of `lanes` int32 sums takes `unit` products of `item_bytes`-wide operands a step.

    Bytes are activations 0..255 times weights -128..127; words are int16 times int16. Sums are modulo 2**32.
    rows: the tallest register tile for each width in vectors, measured. planar: a step's units lie one after the other,
    each with all its lanes, instead of side by side in each lane.
    """

    name: str
    lanes: int
    unit: int
    item_bytes: int
    rows: MappingProxyType[int, int]
    planar: bool = False

    @property
    def widest(self) -> int:
        return max(self.rows)


_ZMM_ROWS = MappingProxyType({1: 8, 2: 8, 3: 8, 4: 6})
_YMM_ROWS = MappingProxyType({1: 6, 2: 5, 3: 3})
ENGINES = MappingProxyType(
    {
        "vpdpbusd512": Engine("vpdpbusd512", 16, 4, 1, _ZMM_ROWS),
        "vpdpwssd512": Engine("vpdpwssd512", 16, 2, 2, _ZMM_ROWS),
        "pmaddwd256": Engine("pmaddwd256", 8, 2, 2, _YMM_ROWS),
        "portable": Engine("portable", 8, 2, 2, _YMM_ROWS),
        # for accumulators that are clipped or watched at every addition
        "walk16": Engine("walk16", 32, 2, 2, MappingProxyType({1: 6, 2: 4}), planar=True),
        "walk32": Engine("walk32", 16, 2, 2, MappingProxyType({1: 6, 2: 4})),
        "vpdpwssd512-walk32": Engine("vpdpwssd512-walk32", 16, 2, 2, MappingProxyType({1: 8, 2: 4, 3: 4, 4: 4})),
        "vpdpbusd512-certify": Engine("vpdpbusd512-certify", 16, 4, 1, MappingProxyType({1: 8, 2: 6, 3: 4, 4: 3})),
    }
)
_BYTES = {"avx512vnni": "vpdpbusd512"}
_WALKS = {"avx512vnni": "vpdpwssd512-walk32"}
_WORDS = {"avx512vnni": "vpdpwssd512", "avx2": "pmaddwd256", "portable": "portable"}


@functools.cache
def available() -> tuple[str, ...]:
    """The instruction sets of this machine, best first."""
    import llvmlite.binding as llvm

    has = llvm.get_host_cpu_features()
    return tuple(isa for isa in ISAS if all(has.get(feature, False) for feature in _NEEDS[isa]))


@functools.cache
def current() -> str:
    """The instruction set in use: ACCELSIM_ISA at the first call if set, else the best of this machine."""
    chosen = os.environ.get("ACCELSIM_ISA")
    if not chosen:
        return available()[0]
    if chosen not in available():
        raise SettingError(f"ACCELSIM_ISA={chosen!r}: this machine has {', '.join(available())}")
    return chosen


def engine(isa: str, narrow: bool) -> Engine:
    """The engine of an instruction set; narrow: both operands have 8 bits."""
    return ENGINES[_BYTES[isa] if narrow and isa in _BYTES else _WORDS[isa]]


def walk_engine(isa: str, kind: str) -> Engine:
    """The engine that clips or watches every addition, by kind of mac_walks."""
    if kind in ("clip16", "sat16"):
        return ENGINES["walk16"]
    return ENGINES["vpdpbusd512-certify" if kind == "certify" else _WALKS.get(isa, "walk32")]


def lanes() -> int:
    """32-bit lanes of a vector."""
    return 16 if current() == "avx512vnni" else 8


@functools.cache
def fuses_multiply_add() -> bool:
    """Whether the CPU rounds a * b + c once in one instruction."""
    import platform

    import llvmlite.binding as llvm

    return platform.machine().lower() in ("aarch64", "arm64") or bool(llvm.get_host_cpu_features().get("fma", False))
