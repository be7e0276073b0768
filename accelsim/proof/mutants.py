"""Mutation score: would these vectors catch the bugs that requantizers really have?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from accelsim_kernels import domain
from accelsim_kernels.reference.requantization import channel_parameters, code_of

from accelsim.errors import AccelsimError
from accelsim.proof.datapath import FLOAT_SCHEMES
from accelsim.proof.float32 import float_mutants
from accelsim.proof.golden import GoldenVectors, beside_steps
from accelsim.requant import Requantizer

Mutant = Callable[[int], int]
#: schemes that round the high multiply, then a shift
_TWO_ROUNDINGS = ("tflite-double", "tflite-ruy", "tosa-double", "cmsis-nn")


@dataclass(frozen=True)
class MutationScore:
    """Which mutants a set of vectors tells from the original.

    killed, survived: mutant -> the first vector that kills it / what it does. equivalent: mutants that
    neither fresh vectors nor the accumulators beside the code's steps tell apart; they do not count. wrong: vectors
    whose expected code is not the requantizer's own (a corrupted golden file). score: killed of all that count.
    """

    killed: dict[str, int]
    survived: dict[str, str]
    equivalent: tuple[str, ...]
    wrong: int

    @property
    def score(self) -> float:
        alive = len(self.killed) + len(self.survived)
        return len(self.killed) / alive if alive else 1.0

    def __str__(self) -> str:
        lines = [f"mutation score {self.score:.0%}: {len(self.killed)} of {len(self.killed) + len(self.survived)}"]
        lines += [f"  survives: {name}: {text}" for name, text in self.survived.items()]
        if self.equivalent:
            lines.append(f"  equivalent here: {', '.join(self.equivalent)}")
        if self.wrong:
            lines.append(f"  {self.wrong} vectors are wrong: their code is not the requantizer's own")
        return "\n".join(lines)


def mutation_score(vectors: GoldenVectors, probe: GoldenVectors | None = None) -> MutationScore:
    """Score vectors, own or the user's, against every mutant of their requantizers.

    probe: vectors among which a surviving mutant must differ to count; default: freshly made ones, ten times as
    dense near ties.
    """
    if len(vectors) == 0:
        raise AccelsimError("no vectors to score")
    killed: dict[str, int] = {}
    candidates: dict[str, str] = {}
    wrong = 0
    for number, requantizer in enumerate(vectors.requantizers):
        bound = requantizer.bound()
        mine = np.flatnonzero(vectors.which == number)
        acc = [int(a) for a in vectors.accumulator[mine]]
        own = [code_of(a, bound) for a in acc]
        # a wrong vector fails the right design, too: it tells nothing apart
        right = [t for t in zip(mine, acc, own, strict=True) if t[2] == int(vectors.code[t[0]])]
        wrong += len(acc) - len(right)
        for name, (text, mutant) in mutants(requantizer).items():
            hit = next((i for i, a, code in right if mutant(a) != code), None)
            if hit is not None:
                killed.setdefault(name, int(hit))
            else:
                candidates[name] = text
    from accelsim.proof.golden import golden_vectors

    survived, equivalent = {}, []
    open_names = {n: t for n, t in candidates.items() if n not in killed}
    if open_names:
        probe = probe or golden_vectors(vectors.requantizers, count=4000, seed=vectors.seed + 1)
        for name, text in open_names.items():
            if _differs(name, probe):
                survived[name] = text
            else:
                equivalent.append(name)
    return MutationScore(killed, survived, tuple(equivalent), int(wrong))


def _differs(name: str, probe: GoldenVectors) -> bool:
    for number, requantizer in enumerate(probe.requantizers):
        found = mutants(requantizer).get(name)
        if found is None:
            continue
        mine = np.flatnonzero(probe.which == number)
        if any(found[1](int(probe.accumulator[i])) != int(probe.code[i]) for i in mine):
            return True
        bound = requantizer.bound()
        if any(found[1](a) != code_of(a, bound) for a in beside_steps(bound)):
            return True
    return False


def mutants(requantizer: Requantizer) -> dict[str, tuple[str, Mutant]]:
    """name -> (what it does, accumulator -> code) for a per-tensor requantizer."""
    bound = requantizer.bound()
    values, zero, low, high = channel_parameters(bound, 0)
    clamp = lambda v: min(max(v, low), high)  # noqa: E731
    raw = _raw(bound)
    found: dict[str, tuple[str, Mutant]] = {
        "saturation high off by one": ("clamps at qmax - 1", lambda a: min(raw_code(a), high - 1)),
        "saturation low off by one": ("clamps at qmin + 1", lambda a: max(raw_code(a), low + 1)),
        "saturation high wraps": ("no upper clamp: wraps", lambda a: _wrap(max(unclamped(a), low), low, high)),
        "saturation low wraps": ("no lower clamp: wraps", lambda a: _wrap(min(unclamped(a), high), low, high)),
        "output off by one": ("adds 1 to every code", lambda a: clamp(unclamped(a) + 1)),
        "sign dropped": ("takes |acc|", lambda a: code_of(_held(abs(a), bound), bound)),
        "accumulator truncated to 24 bits": ("keeps 24 bits", lambda a: code_of(_wrap(a, -(2**23), 2**23 - 1), bound)),
        "accumulator truncated to 31 bits": ("keeps 31 bits", lambda a: code_of(_wrap(a, -(2**30), 2**30 - 1), bound)),
    }
    raw_code = lambda a: code_of(a, bound)  # noqa: E731
    unclamped = lambda a: raw(a) + zero  # noqa: E731
    if bound.name in ("onnx-reference", "ap-fixed", "finn-thresholds"):
        for name in ("saturation high wraps", "saturation low wraps", "output off by one"):
            found.pop(name)
    if zero:
        found["zero point dropped"] = ("adds no zero point", lambda a: clamp(raw(a)))
        found["zero point after the clamp"] = ("clamps first", lambda a: _wrap(clamp(raw(a)) + zero, low, high))
        found["zero point negated"] = ("subtracts it", lambda a: clamp(raw(a) - zero))
    exact = _exact(bound)
    if exact is not None:
        for name, rounding in (
            ("nudge dropped (floor)", _floor), ("truncation toward zero", _trunc), ("ties up", _half_up),
            ("ties down", _half_down), ("ties away from zero", _half_away), ("ties to even", _half_even),
        ):  # fmt: skip
            found[name] = ("rounds the exact product otherwise", _rounded_by(rounding, exact, clamp, zero))
    if bound.name in FLOAT_SCHEMES:
        found |= float_mutants(values[0], lambda rounded: clamp(rounded + zero))
    if bound.scheme.params == ("multiplier", "shift"):
        multiplier, shift = values
        right = _digits(bound.name) - shift
        if bound.name in _TWO_ROUNDINGS:
            found["second rounding floors"] = ("floor in the last shift", _floored_last(multiplier, shift, zero, clamp))
        for width, what in ((32, "high half lost"), (48, "top bits lost")):
            narrow = _narrow_product(multiplier, right, zero, clamp, width)
            found[f"product truncated to {width} bits"] = (what, narrow)
        for name, changed in (
            ("multiplier off by one", (multiplier ^ 1, shift)), ("shift off by one", (multiplier, shift - 1)),
            ("multiplier's low 16 bits lost", (multiplier >> 16 << 16, shift)),
        ):  # fmt: skip
            other = _changed(requantizer, *changed)
            if other is not None:
                found[name] = ("another parameter", _held_code(other))
    return found


def _rounded_by(
    rounding: Callable[[Fraction], int], exact: Callable[[int], Fraction], clamp: Mutant, zero: int
) -> Mutant:
    return lambda a: clamp(rounding(exact(a)) + zero)


def _digits(scheme: str) -> int:
    """Fraction digits of the scheme's multiplier."""
    return 15 if scheme in ("tosa-16", "cmsis-nn-s64") else 31


def _raw(bound: domain.Bound) -> Mutant:
    from accelsim.proof.sides import SchemeSide

    side = SchemeSide(bound).unclamped
    return side.code if side is not None else lambda a: code_of(a, bound)


def _exact(bound: domain.Bound) -> Callable[[int], Fraction] | None:
    """The exact product that the scheme rounds, for schemes that are a scale."""
    values = channel_parameters(bound, 0)[0]
    if bound.scheme.params == ("multiplier", "shift"):
        factor = Fraction(values[0]) * Fraction(2) ** (values[1] - _digits(bound.name))
    elif bound.scheme.params == ("scale",):
        factor = Fraction(values[0])
    elif bound.name == "shift":
        factor = Fraction(2) ** values[0]
    else:
        return None
    return lambda a: a * factor


def _floored_last(multiplier: int, shift: int, zero: int, clamp) -> Mutant:
    right, left = max(-shift, 0), max(shift, 0)
    return lambda a: clamp(((((a << left) * multiplier + 2**30) >> 31) >> right) + zero)


def _narrow_product(multiplier: int, s: int, zero: int, clamp, bits: int) -> Mutant:
    def mutant(a: int) -> int:
        product = _wrap(a * multiplier, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return clamp(((product + 2 ** (s - 1)) >> s) + zero)

    return mutant


def _held_code(bound: domain.Bound) -> Mutant:
    return lambda a: code_of(_held(a, bound), bound)


def _changed(requantizer: Requantizer, multiplier: int, shift: int) -> domain.Bound | None:
    limits = {k: getattr(requantizer, k) for k in ("zero_point", "qmin", "qmax")}
    try:
        return Requantizer(requantizer.scheme, {"multiplier": multiplier, "shift": shift}, **limits).bound()
    except AccelsimError:
        return None  # the changed parameter is illegal: such hardware cannot be built


def _held(acc: int, bound: domain.Bound) -> int:
    low, high = (int(limit[0]) for limit in bound.accumulator_range())
    return min(max(acc, low), high)


def _wrap(value: int, low: int, high: int) -> int:
    return (value - low) % (high - low + 1) + low


def _floor(v: Fraction) -> int:
    return v.__floor__()


def _trunc(v: Fraction) -> int:
    return v.__trunc__()


def _half_up(v: Fraction) -> int:
    return (v + Fraction(1, 2)).__floor__()


def _half_down(v: Fraction) -> int:
    return (v - Fraction(1, 2)).__ceil__()


def _half_away(v: Fraction) -> int:
    return _half_up(v) if v >= 0 else _half_down(v)


def _half_even(v: Fraction) -> int:
    return round(v)
