"""What a replay found: one row per operator of the file, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.files import write_atomically

_NAMED = 3  # profiles in a line of text; JSON has all


@dataclass(frozen=True)
class TensorComparison:
    """Codes of one tensor beside the runtime's: `differing` of `elements`, by at most `largest` codes."""

    tensor: str
    elements: int
    differing: int
    largest: int

    def plus(self, other: TensorComparison) -> TensorComparison:
        """Of the same tensor for more samples."""
        largest = max(self.largest, other.largest)
        return TensorComparison(self.tensor, self.elements + other.elements, self.differing + other.differing, largest)


@dataclass(frozen=True)
class OperatorReplay:
    """An operator of the file.

    tensors: its results in the network's own run. alone: the same with the runtime's operands given to this operator,
    so that what an earlier one did does not count; None where the runtime does not show them. scheme: how the profile
    rescales here. matching: profiles whose arithmetic gives the runtime's codes exactly (looked for where something
    differs, or everywhere by detect); None where it was not looked for.
    """

    index: int
    kind: str
    tensors: tuple[TensorComparison, ...]
    alone: TensorComparison | None
    scheme: str | None
    matching: tuple[str, ...] | None

    def plus(self, other: OperatorReplay) -> OperatorReplay:
        """The same operator for more samples; what matches must match all of them."""
        alone = self.alone or other.alone
        if self.alone is not None and other.alone is not None:
            alone = self.alone.plus(other.alone)
        matching = other.matching if self.matching is None else self.matching
        if self.matching is not None and other.matching is not None:
            matching = tuple(name for name in self.matching if name in other.matching)
        tensors = tuple(map(TensorComparison.plus, self.tensors, other.tensors))
        return dataclasses.replace(self, tensors=tensors, alone=alone, matching=matching)

    @property
    def differing(self) -> int:
        return sum(tensor.differing for tensor in self.tensors)


@dataclass(frozen=True, eq=False)
class Replay:
    """A file run bit for bit, beside a runtime or stored outputs.

    against: None where nothing was compared. outputs: codes by tensor. compared: final outputs. operators: in the
    file's order. detected: with detect, the profiles that explain everything that was seen, best first.
    versions: of runtimes and packages. seconds: by stage; "runtime" is the runtime's own, "total" is all.
    """

    model: str
    profile: str
    against: str | None
    samples: int
    outputs: Mapping[str, np.ndarray]
    compared: tuple[TensorComparison, ...]
    operators: tuple[OperatorReplay, ...]
    detected: tuple[str, ...] | None
    versions: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs."""
        return not any(op.differing for op in self.operators) and not any(t.differing for t in self.compared)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the codes, for JSON."""
        skipped = {"outputs", "operators", "compared"}
        whole = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in skipped}
        return {
            **{k: list(v) if isinstance(v, tuple) else dict(v) if isinstance(v, Mapping) else v
               for k, v in whole.items()},
            "equal": self.equal,
            "compared": [dataclasses.asdict(t) for t in self.compared],
            "operators": [dataclasses.asdict(op) for op in self.operators],
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the table as JSON."""
        write_atomically(Path(path), json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")
        return Path(path)

    def __str__(self) -> str:
        if self.against is None:
            head = f"{self.model} under {self.profile}: {self.samples} samples, nothing to compare with"
        else:
            verdict = "equal in every element" if self.equal else "different"
            head = f"{self.model} under {self.profile} against {self.against}, {self.samples} samples: {verdict}"
        lines = [head, "versions: " + ", ".join(f"{k} {v}" for k, v in self.versions.items())]
        rows: list[tuple[str, ...]] = [("#", "operator", "elements", "differ", "by", "alone", "scheme", "what matches")]
        rows += [self._row(op) for op in self.operators]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
        for row in rows:
            cells = [cell.rjust(w) if i in (0, 2, 3, 4, 5) else cell.ljust(w) for i, (cell, w) in
                     enumerate(zip(row[:-1], widths, strict=True))]  # fmt: skip
            lines.append("  ".join([*cells, row[-1]]).rstrip())
        for tensor in self.compared:
            lines.append(f"output {tensor.tensor}: {tensor.differing} of {tensor.elements} differ, "
                         f"by at most {tensor.largest}")  # fmt: skip
        if self.detected is not None:
            lines.append(f"detected: {', '.join(self.detected) or 'no profile explains everything'}")
        if self.seconds:
            lines.append("seconds: " + ", ".join(f"{stage} {time:.3g}" for stage, time in self.seconds.items()))
        return "\n".join([*lines, *self.notes])

    @staticmethod
    def _row(op: OperatorReplay) -> tuple[str, ...]:
        shown = bool(op.tensors)
        matching = ""
        if op.matching is not None and not (op.alone is not None and op.alone.differing == 0):
            more = len(op.matching) - _NAMED
            matching = ", ".join(op.matching[:_NAMED]) or "none of the profiles"
            matching += f" and {more} more" if more > 0 else ""
        return (
            str(op.index),
            op.kind.lower(),
            str(sum(t.elements for t in op.tensors)) if shown else "not shown",
            str(op.differing) if shown else "",
            str(max(t.largest for t in op.tensors)) if shown else "",
            "" if op.alone is None else str(op.alone.differing),
            op.scheme or "",
            matching,
        )
