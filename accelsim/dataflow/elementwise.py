"""What a layer without MACs moves and computes: through the buffers and the vector unit, once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from accelsim.dataflow.machine import Machine, compressed
from accelsim.dataflow.problem import Ints
from accelsim.dataflow.residency import Residency
from accelsim.shapes import ElementwiseNest


@dataclass(frozen=True)
class ElementwisePlan:
    """reads, writes: {memory: {operand: elements}}; bits: of an element of each operand; stored: as it
    lies in each memory."""

    reads: dict[str, dict[str, Ints]]
    writes: dict[str, dict[str, Ints]]
    bits: dict[str, Ints]
    stored: dict[str, dict[str, Ints]]
    operations: Ints
    vector_cycles: Ints
    latency_cycles: Ints


def elementwise_plan(
    nest: ElementwiseNest,
    machine: Machine,
    stays: Residency | None = None,
    coded: tuple[float, float] = (1.0, 1.0),
) -> ElementwisePlan:
    """Each input comes from DRAM into its buffer and from there to the vector unit; outputs go the way back;
    what is resident stays in the buffer. coded: shares of inputs and outputs that a compressed link carries.

    Numbers of the nest, the machine and what stays may be columns: one entry per layer that is planned.
    Transfers and work overlap where the buffers are double buffered, else they add up.
    """
    stays = stays or Residency()
    names = [f"input{i}" if i else "input" for i in range(len(nest.inputs))]
    bits = {**dict(zip(names, (b for _, b in nest.inputs), strict=True)), "output": nest.output_bits}
    reads: dict[str, dict[str, Ints]] = {level.name: {} for level in machine.levels}
    writes: dict[str, dict[str, Ints]] = {level.name: {} for level in machine.levels}
    buffer_in, buffer_out = machine.level_of("input").name, machine.level_of("output").name
    for name, (elements, _) in zip(names, nest.inputs, strict=True):
        fetched = np.rint(elements * (1 - np.asarray(stays.inputs))).astype(np.int64)
        reads[machine.dram.name][name] = writes[buffer_in][name] = fetched
        reads[buffer_in][name] = elements
    writes[buffer_out]["output"] = nest.output_elements
    leaving = nest.output_elements * (1 - np.asarray(stays.output, dtype=np.int64))
    if np.any(leaving):
        reads[buffer_out]["output"] = writes[machine.dram.name]["output"] = leaving
    operations = np.ceil(nest.operations).astype(np.int64)
    vector_cycles = -(-operations // machine.vector_lanes)
    stored = {level.name: {o: level.stored_bits(b) for o, b in bits.items()} for level in machine.levels}
    link = stored[machine.dram.name]
    for operand in link:
        share = coded[1] if operand == "output" else coded[0]
        link[operand] = compressed(link[operand], share, machine.dram.compression)
    times = [vector_cycles]
    for level in machine.levels:
        moved = sum(
            elements * stored[level.name][operand]
            for side in (reads, writes)
            for operand, elements in side[level.name].items()
        )
        times.append(np.ceil(moved / level.bits_per_cycle).astype(np.int64))
    buffered = np.all([level.double_buffered for level in machine.levels[1:] if level.kind == "sram"], axis=0)
    inside = reduce(np.maximum, times[2:], times[0])
    latency = np.where(buffered, np.maximum(inside, times[1]), inside + times[1])
    return ElementwisePlan(reads, writes, bits, stored, operations, vector_cycles, latency)
