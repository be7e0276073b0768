"""Verification of a FlatBuffers file before any accessor touches it.

The accessors of generated code follow offsets without looking. verify() walks every table, vector and string that a
layout declares and refuses what leaves the buffer; a budget bounds its time and the memory that a reader of the
file can be made to use, since a small file may name one long vector many times.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

_UINT16, _UINT32, _INT32 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<i")
MAX_DEPTH = 16


@dataclass(frozen=True)
class Scalar:
    """A number of that many bytes."""

    size: int


@dataclass(frozen=True)
class Vector:
    """A vector of numbers (a Scalar) or of tables (the name of one)."""

    of: Scalar | str


@dataclass(frozen=True)
class Union:
    """A table whose layout depends on the number in the field before it: number → name of the table."""

    tables: Mapping[int, str]


STRING = Vector(Scalar(1))  # the terminating zero is not needed to read one
Layout = Mapping[str, Mapping[int, Scalar | Vector | Union | str]]


class CorruptError(ValueError):
    """The buffer is no FlatBuffers file of this layout; the message says where."""


def verify(buffer: bytes, layout: Layout, root: str, *, budget_per_byte: int = 4) -> None:
    """Raises CorruptError unless every declared field lies inside the buffer.

    layout: table → field number → what it holds (a name is a table). Fields that it does not declare are not
    looked at, and must not be read. Time and memory are bounded by budget_per_byte * len(buffer).
    """
    _Walk(buffer, layout, budget_per_byte * len(buffer) + 1024).table(root, 0, 0)


class _Walk:
    def __init__(self, buffer: bytes, layout: Layout, budget: int) -> None:
        self.buffer = buffer
        self.layout = layout
        self.budget = budget

    def table(self, name: str, at: int, depth: int) -> None:
        """A table behind the offset that is stored at `at`."""
        if depth > MAX_DEPTH:
            raise CorruptError(f"tables are nested more than {MAX_DEPTH} deep")
        start = self.follow(at, name)
        distance = _INT32.unpack_from(self.buffer, self.inside(start, 4, name))[0]
        vtable = self.inside(start - distance, 4, f"the vtable of {name}")
        length = _UINT16.unpack_from(self.buffer, vtable)[0]
        size = _UINT16.unpack_from(self.buffer, vtable + 2)[0]
        if length < 4 or length % 2 or size < 4:
            raise CorruptError(f"the vtable of {name} at byte {vtable} has a length of {length}")
        self.inside(vtable, length, f"the vtable of {name}")
        self.inside(start, size, name)
        self.spend(length + size)
        fields = self.layout[name]
        for number, kind in fields.items():
            place = self.field(vtable, length, number)
            if not place:
                continue
            width = kind.size if isinstance(kind, Scalar) else 4
            where = f"{name}, field {number}"
            if place + width > size:
                raise CorruptError(f"{where} lies outside its table")
            if isinstance(kind, Scalar):
                continue
            if isinstance(kind, Vector):
                self.vector(kind, start + place, where, depth)
            elif isinstance(kind, Union):
                tag = self.field(vtable, length, number - 1)
                chosen = kind.tables.get(self.buffer[start + tag]) if tag and tag < size else None
                if chosen is not None:
                    self.table(chosen, start + place, depth + 1)
            else:
                self.table(kind, start + place, depth + 1)

    def field(self, vtable: int, length: int, number: int) -> int:
        """Place of a field in its table, 0 where the table has none."""
        entry = 4 + 2 * number
        return _UINT16.unpack_from(self.buffer, vtable + entry)[0] if entry + 2 <= length else 0

    def vector(self, kind: Vector, at: int, where: str, depth: int) -> None:
        start = self.follow(at, where)
        count = _UINT32.unpack_from(self.buffer, self.inside(start, 4, where))[0]
        width = kind.of.size if isinstance(kind.of, Scalar) else 4
        self.inside(start + 4, count * width, where)
        self.spend(count * width)
        if isinstance(kind.of, str):
            for index in range(count):
                self.table(kind.of, start + 4 + 4 * index, depth + 1)

    def follow(self, at: int, what: str) -> int:
        target = at + _UINT32.unpack_from(self.buffer, self.inside(at, 4, what))[0]
        return self.inside(target, 4, what)

    def inside(self, start: int, length: int, what: str) -> int:
        if start < 0 or start + length > len(self.buffer):
            raise CorruptError(f"{what}: bytes {start} to {start + length} of a file of {len(self.buffer)}")
        return start

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise CorruptError("its parts add up to many times its size")
