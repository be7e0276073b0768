"""Golden vectors of a requantizer: corners crossed, ties and steps met, every stage recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from accelsim_kernels import domain
from accelsim_kernels.reference.requantization import code_of

from accelsim.errors import AccelsimError
from accelsim.proof.datapath import FLOAT_SCHEMES
from accelsim.proof.float32 import float_corners
from accelsim.proof.sides import SchemeSide
from accelsim.proof.stages import stages
from accelsim.requant import Requantizer

#: how many rounded values around each end and around zero have their ties and steps taken
_NEAR = (0, 1, 2, 3, 5, 8)


@dataclass(frozen=True)
class GoldenVectors:
    """Accumulators with what a requantizer must make of them.

    requantizers: one per row of `which` indices. accumulator, rounded (before zero point and clamp), code: int64,
    one entry per vector. seed: of the random part.
    """

    requantizers: tuple[Requantizer, ...]
    which: np.ndarray
    accumulator: np.ndarray
    rounded: np.ndarray
    code: np.ndarray
    seed: int

    def __len__(self) -> int:
        return len(self.accumulator)

    def coverage(self) -> dict[str, int]:
        """How many vectors fall into each class: sign, tie, saturation, shift, and all of them crossed.

        A crossed class that no accumulator of any requantizer can reach stays at 0.
        """
        counts: dict[str, int] = {}
        for i in range(len(self)):
            for name in self._classes(i):
                counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    def _classes(self, i: int) -> list[str]:
        requantizer = self.requantizers[self.which[i]]
        bound = requantizer.bound()
        acc = int(self.accumulator[i])
        sign = "negative" if acc < 0 else "zero" if acc == 0 else "positive"
        steps = stages(acc, bound)
        tie = "tie" if any(s.decision.startswith("a tie") for s in steps) else "no tie"
        last = steps[-1].decision
        saturation = last if last.startswith("clamped") else "in range"
        shift = requantizer.params.get("shift")
        kind = "no shift" if not shift else "left shift" if shift > 0 else "right shift"
        return [f"sign: {sign}", f"tie: {tie}", f"saturation: {saturation}", f"shift: {kind}",
                f"{sign} x {tie} x {saturation} x {kind}"]  # fmt: skip


def golden_vectors(
    requantizers: Requantizer | Sequence[Requantizer], *, count: int = 10000, seed: int = 0
) -> GoldenVectors:
    """Vectors for one or several per-tensor requantizers, in equal parts; about `count` in all.

    Taken first: the corners of the accumulator's domain (0, ±1, ±2**k, ±2**k ± 1, both ends) and the
    neighbourhood of output steps and ties near zero and near both clamps, for float32 scales the accumulators whose
    roundings carry into the exponent, then both sides of the code's steps, furthest from zero first; the rest is
    random, half of it near a tie. Codes are computed in Python integers.
    Raises AccelsimError for per-channel requantizers.
    """
    given = (requantizers,) if isinstance(requantizers, Requantizer) else tuple(requantizers)
    if not given or count < 1:
        raise AccelsimError("golden vectors need at least one requantizer and one vector")
    rng = np.random.default_rng(seed)
    parts, owners = [], []
    for number, requantizer in enumerate(given):
        bound = requantizer.bound()
        if bound.channels is not None:
            raise AccelsimError("golden vectors are made for one channel at a time: give scalar parameters")
        share = count // len(given) + (number < count % len(given))
        acc = _accumulators(bound, share, rng)
        parts.append(acc)
        owners.append(np.full(len(acc), number))
    accumulator, which = np.concatenate(parts), np.concatenate(owners)
    bounds = [r.bound() for r in given]
    code = np.array([code_of(int(a), bounds[w]) for a, w in zip(accumulator, which, strict=True)], np.int64)
    rounded = np.array([_rounded(int(a), bounds[w]) for a, w in zip(accumulator, which, strict=True)], np.int64)
    return GoldenVectors(given, which, accumulator, rounded, code, seed)


def _rounded(acc: int, bound: domain.Bound) -> int:
    return next(int(s.value) for s in stages(acc, bound) if s.name == "rounded")


def _accumulators(bound: domain.Bound, count: int, rng: np.random.Generator) -> np.ndarray:
    low, high = (int(limit[0]) for limit in bound.accumulator_range())
    low, high = max(low, -(2**47)), min(high, 2**47 - 1)
    corners = [0, 1, -1, low, low + 1, high - 1, high]
    for k in range(1, 48):
        corners += [s * 2**k + d for s in (1, -1) for d in (-1, 0, 1)]
    near = step_neighbours(bound, low, high)
    rare = [v for v in rare_corners(bound) if low <= v <= high]
    first = np.array([v for v in dict.fromkeys([*rare, *corners, *near]) if low <= v <= high], np.int64)
    if len(first) >= count:
        kept = len(rare) if 2 * len(rare) <= count else 0
        others = rng.choice(np.arange(kept, len(first)), count - kept, replace=False)
        return first[np.sort(np.concatenate([np.arange(kept), others]))]
    first = np.concatenate([first, np.array(beside_steps(bound)[: (count - len(first)) // 2], np.int64)])
    rest = count - len(first)
    span = max(abs(v) for v in near) if near else high
    span = min(max(2 * span, 16), high)
    visible = rng.integers(max(-span, low), span + 1, rest - rest // 2)
    ties = rng.choice(np.array(near or [0], np.int64), rest // 2) + rng.integers(-1, 2, rest // 2)
    return np.concatenate([first, visible, np.clip(ties, low, high)])


def rare_corners(bound: domain.Bound) -> list[int]:
    """Accumulators at which a float32 datapath carries or ties; none for the other schemes."""
    return float_corners(float(bound.values[0][0])) if bound.name in FLOAT_SCHEMES else []


def step_neighbours(bound: domain.Bound, low: int, high: int) -> list[int]:
    """Accumulators beside the steps of the output and of the rounded value, near zero and near both clamps."""
    side = SchemeSide(bound)
    if not side.monotone:
        return []
    raw = side.unclamped or side
    zero, bottom, top = (int(v[0]) for v in (bound.zero_point, bound.qmin, bound.qmax))
    targets = {base + s * d for base in (0, bottom - zero, top - zero) for d in _NEAR for s in (1, -1)}
    targets |= {base + 1 + s * d for base in (bottom - zero, top - zero) for d in _NEAR for s in (1, -1)}
    found = []
    for target in sorted(targets):
        step = _first_at_least(raw, target, low, high)
        if step is not None:
            found += [step - 2, step - 1, step, step + 1]
    return [v for v in dict.fromkeys(found) if low <= v <= high]


def beside_steps(bound: domain.Bound) -> list[int]:
    """The accumulators on both sides of the steps of a monotone requantizer's code, furthest from zero first.

    Of 2**11 steps at most: a multiplier that is slightly wrong moves the furthest ones.
    """
    from accelsim.proof.equivalence import steps_of

    side = SchemeSide(bound)
    if not side.monotone or int(bound.qmax[0] - bound.qmin[0]) > 2**16:
        return []
    low, high = side.accumulator_range()
    steps = steps_of(side, max(low, -(2**47)), min(high, 2**47))
    steps = steps[:: len(steps) // 2**11 + 1]
    steps = steps[np.argsort(-np.abs(steps), kind="stable")]
    return np.stack([steps - 1, steps], axis=1).reshape(-1).tolist()


def _first_at_least(side: SchemeSide, target: int, low: int, high: int) -> int | None:
    """The lowest accumulator whose value reaches the target; None where none or all do."""
    if side.code(low) >= target or side.code(high) < target:
        return None
    first, last = low, high
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if side.code(middle) >= target else (middle + 1, last)
    return first


def with_codes(vectors: GoldenVectors, codes: Any) -> GoldenVectors:
    """The same accumulators with other expected codes (a file that the user brings)."""
    codes = np.asarray(codes, np.int64)
    if codes.shape != vectors.code.shape:
        raise AccelsimError(f"{len(vectors)} accumulators but {codes.shape} codes")
    return replace(vectors, code=codes)
