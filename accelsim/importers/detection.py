"""Which profile computed what was seen: operator by operator where its operands are known, else by substitution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.importers.replay_steps import Tensors, Variants, in_batches, runtime_accumulators
from accelsim.importers.tflite import LoweredFile
from accelsim.ops.base import Op
from accelsim.profiles import list_profiles

#: profiles that LiteRT's own kernels follow come first where several explain the data
_FIRST = ("xnnpack", "tflite-ruy", "tflite-reference", "tflm")
_PASSES = 3


def candidates() -> list[str]:
    """Every profile, the likely ones first."""
    return sorted(list_profiles(), key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))


class Detective:
    """What explains the tensors that are known.

    known: codes by tensor of the graph, (samples, …): at least the inputs and outputs.
    """

    def __init__(self, lowered: LoweredFile, known: Tensors) -> None:
        self.lowered = lowered
        self.known = known
        self.variants = Variants(lowered.file)
        self.indices = sorted(set(lowered.sources.values()))
        self.arrays = runtime_accumulators(lowered.graph)

    def local(self, index: int) -> tuple[str, ...] | None:
        """Profiles that give an operator's known results from its known operands; None where they are not known."""
        file, names = self.lowered.file, self.lowered.names
        op = file.operators[index]
        operands = [i for i in dict.fromkeys(op.inputs) if i >= 0 and file.tensors[i].constant is None]
        results = [i for i in op.outputs if i in names]
        if not results or any(names.get(i) not in self.known for i in (*operands, *results)):
            return None
        given = {i: self.known[names[i]] for i in operands}
        verdicts: dict[str, bool] = {}
        matching = []
        for profile in candidates():
            found = self.variants.alone(index, profile)
            if found is None:
                continue
            if found[1] not in verdicts:
                outputs = self._outputs(index, profile, given)
                verdicts[found[1]] = bool(outputs) and all(
                    np.array_equal(outputs[i], self.known[names[i]]) for i in results
                )
            if verdicts[found[1]]:
                matching.append(profile)
        return tuple(matching)

    def _outputs(self, index: int, profile: str, given: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Of the operator under a profile; empty where its arithmetic has no such use (a window with padding …)."""
        try:
            return self.variants.run(index, profile, given) or {}
        except AccelsimError:
            return {}

    def by_substitution(self) -> dict[int, tuple[str, ...]]:
        """Profiles of every operator that leave all known tensors as they were seen, given those of the others.

        Starts from the profile that explains most, improves operator by operator where none explains everything,
        then tries every other arithmetic in every place. Where no assignment explains everything nothing matches.
        """
        groups = {index: self._groups(index) for index in self.indices}
        choice, wrong = self._start(groups)
        for _ in range(_PASSES):
            if not wrong:
                break
            before = wrong
            for index in self.indices:
                for group in groups[index].values():
                    trial = {**choice, index: group}
                    count = self._wrong(trial)
                    if count < wrong:
                        choice, wrong = trial, count
            if wrong == before:
                break
        if wrong:
            return dict.fromkeys(self.indices, ())
        whole = in_batches(self._ops(choice), self._inputs(), self.arrays)
        matching = {}
        for place, index in enumerate(self.indices):
            verdicts: dict[str, bool] = {choice[index][0]: True}
            found = []
            for profile, group in groups[index].items():
                if group[0] not in verdicts:
                    rest = (*group[1], *(op for later in self.indices[place + 1 :] for op in choice[later][1]))
                    verdicts[group[0]] = self._explains(rest, whole)
                if verdicts[group[0]]:
                    found.append(profile)
            matching[index] = tuple(found)
        return matching

    def _groups(self, index: int) -> dict[str, tuple[str, tuple[Op, ...]]]:
        """Profile → digest and operators of the graph, under the whole graph's names."""
        groups: dict[str, tuple[str, tuple[Op, ...]]] = {}
        made: dict[str, tuple[str, tuple[Op, ...]]] = {}
        for profile in candidates():
            found = self.variants.alone(index, profile)
            if found is None:
                continue
            alone, key = found
            if key not in made:
                names = {name: self.lowered.names.get(i, name) for i, name in alone.names.items()}
                ops = tuple(
                    replace(
                        op, inputs=tuple(names.get(n, n) for n in op.inputs), output=names.get(op.output, op.output)
                    )
                    for op in alone.graph.ops
                )
                made[key] = key, ops
            groups[profile] = made[key]
        return groups

    def _start(self, groups: Mapping[int, Mapping[str, tuple]]) -> tuple[dict[int, tuple], float]:
        best: tuple[dict[int, tuple], float] | None = None
        seen: set[tuple[str, ...]] = set()
        for profile in candidates():
            if any(profile not in groups[index] for index in self.indices):
                continue
            choice = {index: groups[index][profile] for index in self.indices}
            key = tuple(group[0] for group in choice.values())
            if key in seen:
                continue
            seen.add(key)
            wrong = self._wrong(choice)
            if best is None or wrong < best[1]:
                best = choice, wrong
            if not wrong:
                break
        if best is None:  # no profile defines everything
            choice = {index: next(iter(groups[index].values())) for index in self.indices}
            best = choice, self._wrong(choice)
        return best

    def _ops(self, choice: Mapping[int, tuple[str, tuple[Op, ...]]]) -> tuple[Op, ...]:
        return tuple(op for index in self.indices for op in choice[index][1])

    def _inputs(self) -> Tensors:
        return {name: self.known[name] for name in self.lowered.graph.inputs}

    def _wrong(self, choice: Mapping[int, tuple[str, tuple[Op, ...]]]) -> float:
        try:
            found = in_batches(self._ops(choice), self._inputs(), self.arrays)
        except AccelsimError:  # an arithmetic that has no such use
            return np.inf
        return sum(int(np.count_nonzero(found[name] != x)) for name, x in self.known.items() if name in found)

    def _explains(self, ops: Sequence[Op], tensors: Tensors) -> bool:
        """Whether operators from some place on still give every known tensor that they define."""
        made = {op.output for op in ops}
        given = {name: x for name, x in tensors.items() if name not in made}
        try:
            found = in_batches(tuple(ops), given, self.arrays)
        except AccelsimError:
            return False
        return all(np.array_equal(found[name], x) for name, x in self.known.items() if name in made)
