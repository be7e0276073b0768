"""Which intermediate tensors stay on chip between the layers that make and use them (layer fusion)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accelsim.dataflow.machine import Level, Machine
from accelsim.errors import AccelsimError
from accelsim.shapes import ElementwiseNest, LoopNest, Nest

#: share of the buffer that resident tensors may take; the rest is for the tiles of the running layer
RESIDENT_SHARE = 0.5
Edges = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Residency:
    """Of one layer: share of its inputs that are on chip already, whether its output stays there, and the
    room that all resident tensors take meanwhile, its own included.
    """

    inputs: float = 0.0
    output: bool = False
    reserved_bits: int = 0


def residency(layers: Sequence[tuple[str, str, Nest]], edges: Edges, machine: Machine) -> dict[str, Residency]:
    """By layer name. A tensor stays if all its consumers are known and, with those already staying, it takes
    no more than `RESIDENT_SHARE` of the buffer from its producer to its last consumer; earlier tensors go
    first.

    edges: (producer, consumer) names. A layer without a nest (reshape) hands its tensor on. Raises
    AccelsimError for unknown names and for consumers before their producer.
    """
    place = {name: i for i, (name, _, _) in enumerate(layers)}
    for edge in edges:
        if any(name not in place for name in edge) or place[edge[0]] >= place[edge[1]]:
            raise AccelsimError(f"edge {edge[0]!r} → {edge[1]!r}: unknown layer, or consumer before producer")
    level = machine.level_of("input")
    room = float(level.size_bits) * RESIDENT_SHARE if level.name == machine.level_of("output").name else 0.0
    taken = [0.0] * len(layers)
    stays: set[int] = set()
    consumers = {name: _users(name, layers, edges, place) for name in place}
    for i, (name, _, nest) in enumerate(layers):
        if nest is None or not consumers[name]:
            continue
        bits, last = _output_bits(nest, level), max(consumers[name])
        if all(used + bits <= room for used in taken[i : last + 1]):
            stays.add(i)
            taken[i : last + 1] = [used + bits for used in taken[i : last + 1]]
    result = {}
    for i, (name, _, nest) in enumerate(layers):
        here = [j for j in stays if i in consumers[layers[j][0]]]
        share = float(bool(here))
        if isinstance(nest, ElementwiseNest):
            held = sum(_elements(made) for j in here if (made := layers[j][2]) is not None)
            share = min(1.0, held / max(1, sum(elements for elements, _ in nest.inputs)))
        result[name] = Residency(share, i in stays, int(taken[i]))
    return result


def _users(name: str, layers: Sequence, edges: Edges, place: dict[str, int]) -> list[int]:
    users: list[int] = []
    for producer, consumer in edges:
        if producer == name:
            if layers[place[consumer]][2] is None:
                users += _users(consumer, layers, edges, place)
            else:
                users.append(place[consumer])
    return users


def _elements(nest: LoopNest | ElementwiseNest) -> int:
    return nest.output_count if isinstance(nest, LoopNest) else nest.output_elements


def _output_bits(nest: LoopNest | ElementwiseNest, level: Level) -> float:
    return float(_elements(nest) * level.stored_bits(nest.output_bits))
