"""What an exploration may turn: fields of the accelerator and of the quantization, with the values to try."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.hardware import AcceleratorSpec, load_spec

#: short names of fields of a spec; "array" is (rows, cols), or one number for both
ALIASES = {
    "rows": ("array.rows",),
    "cols": ("array.cols",),
    "array": ("array.rows", "array.cols"),
    "dataflow": ("array.dataflow",),
    "pe": ("array.pe",),
    "accumulator_bits": ("array.accumulators.bits",),
    "overflow": ("array.accumulators.overflow",),
    "buffer_bytes": ("memories.{buffer}.size_bytes",),
    "bandwidth_bytes_per_cycle": ("memories.{dram}.bandwidth_bytes_per_cycle",),
}
SPEC = "spec"


@dataclass(frozen=True)
class Knob:
    """values: what is tried. paths: fields of the spec that are set; empty for quantization and for "spec" itself."""

    name: str
    values: tuple[Any, ...]
    paths: tuple[str, ...] = ()
    quantization: bool = False

    @property
    def ordered(self) -> bool:
        """Whether its values are rising numbers."""
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.values)
        return numbers and list(self.values) == sorted(self.values)

    def label(self, index: int) -> Any:
        """A value as it is printed and stored: a number or a text."""
        value = self.values[index]
        if isinstance(value, AcceleratorSpec):
            return value.name
        if isinstance(value, (tuple, list)):
            return "×".join(map(str, value))
        return value if isinstance(value, (int, float, str)) else str(value)


@dataclass(frozen=True)
class Space:
    """All combinations of knobs; a design is one index per knob."""

    knobs: tuple[Knob, ...]
    specs: tuple[AcceleratorSpec, ...]

    @property
    def size(self) -> int:
        return math.prod(len(knob.values) for knob in self.knobs)

    @property
    def sizes(self) -> list[int]:
        return [len(knob.values) for knob in self.knobs]

    def every(self) -> np.ndarray:
        """Indices (designs, knobs) of the whole grid, the last knob fastest."""
        return np.array(list(product(*map(range, self.sizes))), dtype=np.int64).reshape(-1, len(self.knobs))

    def random(self, count: int, seed: int) -> np.ndarray:
        """So many different designs, evenly drawn; all of them where there are no more."""
        if count >= self.size:
            return self.every()
        chance, chosen = np.random.default_rng(seed), dict[int, None]()
        while len(chosen) < count:
            for number in chance.integers(0, self.size, count).tolist():
                chosen.setdefault(number)
        numbers = np.array(list(chosen)[:count])
        return np.stack(np.unravel_index(numbers, self.sizes), axis=1).astype(np.int64)

    def spread(self, count: int, fixed: Mapping[str, int] | None = None) -> np.ndarray:
        """So many designs that show each value of each knob about equally often, the ends among them."""
        rows = []
        for i in range(count):
            # multiples of different irrational numbers: no two knobs walk in step
            row = [int((i * (math.sqrt(2 + 3 * k) % 1) + i / count) % 1 * n) for k, n in enumerate(self.sizes)]
            rows.append([0] * len(row) if i == 0 else [n - 1 for n in self.sizes] if i == 1 else row)
        table = np.array(rows, dtype=np.int64).reshape(count, len(self.knobs))
        for k, knob in enumerate(self.knobs):
            if knob.name in (fixed or {}):
                table[:, k] = (fixed or {})[knob.name]
        return table

    @cached_property
    def quantization(self) -> list[int]:
        """Places of the knobs that change the integers of the network themselves."""
        return [i for i, knob in enumerate(self.knobs) if knob.quantization]

    @cached_property
    def hardware(self) -> list[int]:
        return [i for i, knob in enumerate(self.knobs) if not knob.quantization]

    def quantized(self, index: Sequence[int]) -> dict[str, Any]:
        """Fields of QuantConfig of a design."""
        return {self.knobs[k].name: self.knobs[k].values[index[k]] for k in self.quantization}


class SpecBuilder:
    """Specs of designs. Parts that several designs share are checked once and put together without a second check of
    every field; what ties parts together (operands and memories, dataflow and registers) is checked each time.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._parts: dict[tuple, Any] = {}
        self._whole: dict[tuple[int, ...], AcceleratorSpec | str] = {}
        self._sized: dict[tuple, AcceleratorSpec] = {}
        which = [k for k in space.hardware if space.knobs[k].name == SPEC]
        self._which = which[0] if which else None
        by_part: dict[str, list[int]] = {}
        for k in space.hardware:
            for part in {path.split(".")[0] for path in space.knobs[k].paths}:
                by_part.setdefault(part, []).append(k)
        self._by_part = by_part

    def of(self, index: Sequence[int]) -> AcceleratorSpec | str:
        """The spec of a design, or why there is none."""
        key = tuple(int(index[k]) for k in self.space.hardware)
        if key not in self._whole:
            try:
                self._whole[key] = self._built(index)
            except AccelsimError as error:
                self._whole[key] = str(error)
        return self._whole[key]

    def sized(self, spec: AcceleratorSpec, widths: tuple[int, int]) -> AcceleratorSpec:
        """`AcceleratorSpec.sized_for`, once for each array and widths."""
        if spec.array.pe != "sized":
            return spec
        key = (id(spec), widths)
        if key not in self._sized:
            bits = {"weight_bits": widths[0], "activation_bits": widths[1]}
            self._sized[key] = spec.model_copy(update={"array": spec.array.model_copy(update=bits)})
        return self._sized[key]

    def _built(self, index: Sequence[int]) -> AcceleratorSpec:
        number = 0 if self._which is None else int(index[self._which])
        base = self.space.specs[number]
        try:
            changed = {part: self._part(part, ks, number, index) for part, ks in self._by_part.items()}
            spec = base.model_copy(update=changed)
            spec._hierarchy()  # type: ignore[operator]  # pydantic's validator, called once more
        except (AccelsimError, ValueError):  # parts that only fit together: all at once says what is wrong
            spec = base.replace(**self._changes(self.space.hardware, number, index))
        return spec

    def _part(self, part: str, knobs: list[int], number: int, index: Sequence[int]) -> Any:
        key = (part, number, *(int(index[k]) for k in knobs))
        if key not in self._parts:
            changes = self._changes(knobs, number, index)
            mine = {path: value for path, value in changes.items() if path.split(".")[0] == part}
            self._parts[key] = getattr(self.space.specs[number].replace(**mine), part)
        return self._parts[key]

    def _changes(self, knobs: Iterable[int], number: int, index: Sequence[int]) -> dict[str, Any]:
        base = self.space.specs[number]
        changes: dict[str, Any] = {}
        names = {"buffer": base.buffer_of("input").name, "dram": base.dram.name}
        for k in knobs:
            knob = self.space.knobs[k]
            value = knob.values[int(index[k])]
            values = value if isinstance(value, (tuple, list)) else [value] * len(knob.paths)
            changes |= {path.format(**names): v for path, v in zip(knob.paths, values, strict=True)}
        return changes


def space_of(knobs: Mapping[str, Any], spec: str | Path | AcceleratorSpec | Sequence[Any], quantization: bool) -> Space:
    """knobs: name → values (or one value): ALIASES, dotted fields of the spec, fields of QuantConfig.

    spec: several make a knob "spec". quantization: whether the network can be quantized (a float network). Raises
    AccelsimError for unknown names, empty or repeated values, and values that no spec takes.
    """
    from accelsim.frontend.config import QuantConfig

    chosen = [spec] if isinstance(spec, (str, Path, AcceleratorSpec)) else list(spec)
    if not chosen:
        raise AccelsimError("explore: give at least one spec")
    specs = tuple(load_spec(one) for one in chosen)
    made: list[Knob] = [] if len(specs) == 1 else [Knob(SPEC, specs)]
    config_fields = {f.name for f in fields(QuantConfig)}
    for name, given in knobs.items():
        values = _values(name, given)
        if name in config_fields:
            if not quantization:
                raise AccelsimError(
                    f"knob {name!r} quantizes the network, but this one is already quantized: give the float network "
                    "and its calibration data"
                )
            for value in values:
                QuantConfig(**{name: value})
            made.append(Knob(name, values, quantization=True))
            continue
        paths = ALIASES.get(name, (name,) if "." in name or name in AcceleratorSpec.model_fields else ())
        if not paths:
            known = ", ".join([*ALIASES, "weight_bits", "activation_bits"])
            raise AccelsimError(
                f"unknown knob {name!r}; known: {known}, other fields of QuantConfig, and dotted fields of a spec such "
                "as 'memories.buffer.word_bits'"
            )
        for value in values:
            if isinstance(value, (tuple, list)) and len(value) != len(paths):
                raise AccelsimError(f"knob {name!r}: {value!r} should be one value or {len(paths)} of them")
        made.append(Knob(name, values, paths))
    space = Space(tuple(made), specs)
    _check_values(space)
    return space


def _values(name: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, (str, int, float, Mapping)) or not isinstance(given, Iterable):
        given = [given]
    values = tuple(v.item() if isinstance(v, np.generic) else v for v in given)
    if not values:
        raise AccelsimError(f"knob {name!r} has no values")
    if len({repr(value) for value in values}) < len(values):
        raise AccelsimError(f"knob {name!r} has a value twice: {values}")
    return values


def _check_values(space: Space) -> None:
    """Each value alone must suit one of the specs; a value that none takes is a mistake, not a design."""
    builder = SpecBuilder(space)
    for k in space.hardware:
        knob = space.knobs[k]
        for value in range(len(knob.values) if knob.name != SPEC else 0):
            problems = []
            for number, base in enumerate(space.specs):
                index = [0] * len(space.knobs)
                index[k] = value
                try:
                    base.replace(**builder._changes([k], number, index))
                except AccelsimError as error:
                    problems.append(str(error))
            # a dataflow may need what another knob brings: only what no combination can mend is refused here
            if len(problems) == len(space.specs) and knob.name not in ("dataflow", "array.dataflow"):
                raise AccelsimError(f"knob {knob.name!r}, value {knob.values[value]!r}: {problems[0]}")
