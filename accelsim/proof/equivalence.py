"""Are two requantizers equal? Exhaustively, by thresholds, or for all multipliers at once with a solver."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from accelsim_kernels.names import SCHEMES

from accelsim.errors import AccelsimError
from accelsim.proof.sides import SchemeSide, Side, make_side
from accelsim.proof.user_code import PythonRequantizer
from accelsim.requant import Requantizer

METHODS = ("auto", "exhaustive", "thresholds", "smt")
#: accumulators evaluated at a time where a side is the user's own code
_BLOCK = 2**20
#: accumulators that are counted one by one at most, some minutes of them
_MOST_ACCUMULATORS = 2**36
#: codes whose thresholds are searched for at once
_MOST_STEPS = 2**17

_NEEDS_MONOTONE = "thresholds need two monotone schemes: use method='exhaustive'"


@dataclass(frozen=True)
class Counterexample:
    """An accumulator for which the sides differ: values before zero point and clamp, and codes after.

    a, b: None where a side has no value before its clamp (the user's own code). multiplier, shift: where the
    solver chose them, else None.
    """

    accumulator: int
    a: int | None
    b: int | None
    code_a: int
    code_b: int
    multiplier: int | None = None
    shift: int | None = None


@dataclass(frozen=True)
class Proof:
    """The outcome of prove().

    differing: how many accumulators of the domain get different values before zero point and clamp; visible: how
    many different codes after; None where the method does not count them. equal: neither has any (of those that
    are counted). counterexamples: nearest to zero first, visible ones or not. method: "exhaustive", "thresholds"
    or "smt". seconds: wall-clock time.
    """

    equal: bool
    method: str
    counterexamples: tuple[Counterexample, ...]
    differing: int | None
    visible: int | None
    seconds: float
    domain: tuple[int, int]
    a: dict[str, Any]
    b: dict[str, Any]
    request: dict[str, Any]

    def __bool__(self) -> bool:
        return self.equal

    def save(self, path: Any) -> None:
        """Write the certificate, JSON, that recheck() verifies."""
        from accelsim.proof.certificates import save

        save(self, path)

    def __str__(self) -> str:
        names = [side.get("scheme") or side.get("name") or side["kind"] for side in (self.a, self.b)]
        lines = [
            f"{names[0]} and {names[1]} are {'equal' if self.equal else 'different'} for accumulators "
            f"{self.domain[0]} .. {self.domain[1]} ({self.method}, {self.seconds:.3g} s)"
        ]
        if self.differing is not None:
            lines.append(f"  {self.differing} accumulators differ before the clamp")
        if self.visible is not None:
            lines.append(f"  {self.visible} after zero point and clamp")
        for c in self.counterexamples:
            chosen = f" (multiplier {c.multiplier}, shift {c.shift})" if c.multiplier is not None else ""
            raw = "" if c.a is None or c.b is None else f"{c.a} against {c.b}, "
            lines.append(f"  acc {c.accumulator}: {raw}codes {c.code_a} against {c.code_b}{chosen}")
        return "\n".join(lines)


def prove(
    a: Any, b: Any, *, scale: Any = None, multiplier: int | None = None, shift: int | None = None,
    zero_point: int = 0, qmin: int = -128, qmax: int = 127, accumulator_range: tuple[int, int] | None = None,
    params_a: dict[str, Any] | None = None, params_b: dict[str, Any] | None = None, method: str = "auto",
    limit: int = 10,
) -> Proof:  # fmt: skip
    """Whether two requantizers give the same result for every accumulator; else counterexamples.

    a, b: names of schemes (with options: "shift:half_even"), Requantizers, or the user's own: a Python function
    (int64 array to array, or one integer to another), a CRequantizer or a VerilogRequantizer.
    scale: a real scale, decomposed by each scheme's own rule (a number, or (input_scale, weight_scale,
    output_scale)); or multiplier and shift (TFLite's: positive is left), which schemes without them take as the
    scale multiplier * 2**(shift - 31); or params_a and params_b.
    Without a multiplier both must be integer schemes with one: then all multipliers are compared at once, at
    `shift` or, without it, at every legal shift (method "smt", needs bitwuzla).
    accumulator_range: (lowest, highest); default every int32 value that both sides are defined for.
    method: "exhaustive" counts every accumulator; "thresholds" (both sides monotone) compares the
    accumulators at which the codes step; "auto" chooses exhaustive, or smt where the multiplier is open.
    limit: how many counterexamples. Raises AccelsimError where a side cannot be built or a method not
    apply.
    """
    if method not in METHODS:
        raise AccelsimError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    if scale is not None and (multiplier is not None or shift is not None):
        raise AccelsimError("give a scale, or multiplier and shift, not both")
    _check_integers(multiplier=multiplier, shift=shift, zero_point=zero_point, qmin=qmin, qmax=qmax, limit=limit)
    accumulator_range = _pair(accumulator_range)
    if limit < 0:
        raise AccelsimError(f"limit must be 0 or more counterexamples, got {limit}")
    if qmin > qmax:
        raise AccelsimError(f"qmin {qmin} is above qmax {qmax}")
    for name, given in (("params_a", params_a), ("params_b", params_b)):
        if given is not None and not isinstance(given, Mapping):
            raise AccelsimError(f"{name} must be a dict of the scheme's parameters, got {given!r}")
    start = time.perf_counter()
    request = {"method": method, "limit": limit, "accumulator_range": accumulator_range}
    numbers = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    explicit = params_a is not None or params_b is not None or not (isinstance(a, str) and isinstance(b, str))
    if method == "smt" or (method == "auto" and scale is None and multiplier is None and not explicit):
        integer = isinstance(a, str) and isinstance(b, str) and _has_multiplier(a) and _has_multiplier(b)
        if integer and multiplier is None and scale is None and not explicit:
            if accumulator_range is not None:
                raise AccelsimError(
                    "the solver takes every accumulator that both schemes are defined for: leave accumulator_range "
                    "out, or give a multiplier or a scale"
                )
            from accelsim.proof.smt import prove_all_multipliers

            return prove_all_multipliers(a, b, shift=shift, **numbers, request=request)
        if method == "smt":
            raise AccelsimError("the solver compares two schemes with an integer multiplier, left open")
    common = {"scale": scale, "multiplier": multiplier, "shift": shift, **numbers}
    side_a, side_b = make_side(a, params=params_a, **common), make_side(b, params=params_b, **common)
    domain = _domain((side_a, side_b), accumulator_range, method)
    chosen = "thresholds" if method == "thresholds" else "exhaustive"
    if isinstance(side_a, SchemeSide) and isinstance(side_b, SchemeSide):
        if method == "thresholds" and not (side_a.monotone and side_b.monotone):
            raise AccelsimError(_NEEDS_MONOTONE)
        compare = _by_thresholds if method == "thresholds" else _exhaustive_schemes
        found = compare(side_a, side_b, domain, limit)
    elif method == "thresholds":
        raise AccelsimError(_NEEDS_MONOTONE)
    else:
        found = _exhaustive(side_a, side_b, domain, limit)
    differing, visible, counterexamples = found
    return Proof(
        not (differing or visible), chosen, tuple(counterexamples), differing, visible, time.perf_counter() - start,
        domain, side_a.describe(), side_b.describe(), request,
    )  # fmt: skip


def _check_integers(**given: Any) -> None:
    """AccelsimError naming the first argument that is no integer; multiplier and shift may be left out."""
    for name, value in given.items():
        if value is None and name in ("multiplier", "shift"):
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise AccelsimError(f"{name} must be an integer, got {value!r}")


def _pair(wanted: Any) -> tuple[int, int] | None:
    """accumulator_range as two Python integers."""
    if wanted is None:
        return None
    try:
        low, high = wanted
        _check_integers(lowest=low, highest=high)
    except (TypeError, ValueError):
        raise AccelsimError(f"accumulator_range must be two integers (lowest, highest), got {wanted!r}") from None
    return int(low), int(high)


def _has_multiplier(name: str) -> bool:
    return name in SCHEMES and SCHEMES[name].params == ("multiplier", "shift")


def _domain(sides: tuple[Side, Side], wanted: tuple[int, int] | None, method: str) -> tuple[int, int]:
    ranges = [side.accumulator_range() for side in sides]
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if wanted is None:
        low, high = max(low, -(2**31)), min(high, 2**31 - 1)
        if low > high:
            raise AccelsimError("no int32 accumulator is legal for both sides: give an accumulator_range")
        return low, high
    if wanted[0] > wanted[1]:
        raise AccelsimError(f"accumulator range {wanted[0]} .. {wanted[1]}: give the lowest first")
    if not low <= wanted[0] <= wanted[1] <= high:
        raise AccelsimError(
            f"accumulator range {wanted[0]} .. {wanted[1]} leaves the domain {low} .. {high} of the two sides"
        )
    if wanted[1] - wanted[0] >= _MOST_ACCUMULATORS and method != "thresholds":
        raise AccelsimError(
            f"accumulator range {wanted[0]} .. {wanted[1]} is too large to count: give at most 2**36 accumulators, or "
            "method='thresholds' for two monotone schemes"
        )
    return wanted


def _exhaustive_schemes(a: SchemeSide, b: SchemeSide, domain: tuple[int, int], limit: int):
    raw_a, raw_b = a.unclamped, b.unclamped
    after = [(part, _counts(a, b, part)) for part in _unsettled(a, b, domain)]
    visible = sum(int(counts.sum()) for _, counts in after)
    differing = None
    # sides may be equal before the clamp and still clamp, or move the zero point, otherwise
    shown, parts = (a, b), after
    if raw_a is not None and raw_b is not None:
        before = _counts(raw_a, raw_b, domain)
        differing = int(before.sum())
        if differing:
            shown, parts = (raw_a, raw_b), [(domain, before)]
    found: list[int] = []
    for low, high in sorted((span for part in parts for span in _blocks(*part)), key=_distance):
        if len(found) >= limit and (not found or abs(found[-1]) < _distance((low, high))):
            break
        acc = np.arange(low, high + 1)
        found += acc[shown[0].codes(acc) != shown[1].codes(acc)].tolist()
        found = sorted(found, key=_nearest)[:limit]
    return differing, visible, [_counterexample(v, a, b) for v in found]


def _counts(a: SchemeSide, b: SchemeSide, span: tuple[int, int]) -> np.ndarray:
    """How many accumulators of each block of a span differ."""
    from accelsim_kernels.comparison import count_differences

    return count_differences(a.bound, b.bound, *span, chunk=_BLOCK)


def _blocks(span: tuple[int, int], counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """The blocks of a span that have differences."""
    for i in np.flatnonzero(counts).tolist():
        low = span[0] + i * _BLOCK
        yield low, min(low + _BLOCK - 1, span[1])


def _unsettled(a: SchemeSide, b: SchemeSide, domain: tuple[int, int]) -> list[tuple[int, int]]:
    """Where codes can differ: the domain, less the ends where two monotone sides sit at the same code."""
    if not (a.monotone and b.monotone) or max(_width(side) for side in (a, b)) > _MOST_STEPS:
        return [domain]
    edges = np.concatenate([steps_of(side, *domain) for side in (a, b)])
    low, high = domain
    if a.code(low) == b.code(low):
        low = int(edges.min(initial=high + 1))
    if a.code(high) == b.code(high):
        high = int(edges.max(initial=low) - 1)
    return [(low, high)] if low <= high else []


def steps_of(side: SchemeSide, low: int, high: int) -> np.ndarray:
    """Every accumulator in (low, high] at which the code of a monotone side rises, sorted: one bisection.

    Raises AccelsimError where [qmin, qmax] has more than 2**17 codes.
    """
    if _width(side) > _MOST_STEPS:
        raise AccelsimError(f"{_width(side)} codes are too many for thresholds: use method='exhaustive'")
    # the powers of two bracket most steps narrowly, since they lie around zero
    powers = np.int64(1) << np.arange(62)
    probes = np.unique(np.clip(np.concatenate([[low, 0, high], powers, -powers]), low, high))
    at = side.codes(probes)
    wanted = np.arange(at[0] + 1, at[-1] + 1)
    after = np.searchsorted(at, wanted)
    first, last = probes[after - 1] + 1, probes[after]
    while (first < last).any():
        middle = (first + last) >> 1
        reached = side.codes(middle) >= wanted
        first, last = np.where(reached, first, middle + 1), np.where(reached, middle, last)
    return np.unique(first)


def _width(side: SchemeSide) -> int:
    return int(side.bound.qmax[0] - side.bound.qmin[0])


def _distance(span: tuple[int, int]) -> int:
    return 0 if span[0] <= 0 <= span[1] else min(abs(span[0]), abs(span[1]))


def _exhaustive(a: Side, b: Side, domain: tuple[int, int], limit: int):
    """Codes of every accumulator from both sides, block by block outwards from zero."""
    for side in (a, b):
        if isinstance(side, PythonRequantizer):
            side.check(domain)
    visible, found = 0, []
    every = np.ones((domain[1] - domain[0]) // _BLOCK + 1, bool)
    for low, high in sorted(_blocks(domain, every), key=_distance):
        acc = np.arange(low, high + 1)
        codes_a, codes_b = a.codes(acc), b.codes(acc)
        differ = np.flatnonzero(codes_a != codes_b)
        visible += len(differ)
        chosen = sorted(differ.tolist(), key=lambda i: _nearest(int(acc[i])))[:limit]
        found += [Counterexample(int(acc[i]), None, None, int(codes_a[i]), int(codes_b[i])) for i in chosen]
        found = sorted(found, key=lambda c: _nearest(c.accumulator))[:limit]
    return None, visible, found


def _by_thresholds(a: SchemeSide, b: SchemeSide, domain: tuple[int, int], limit: int):
    """Between two neighbouring steps of either side both codes are constant."""
    low, high = domain
    edges = np.unique(np.concatenate([[low], steps_of(a, low, high), steps_of(b, low, high)]))
    differ = np.flatnonzero(a.codes(edges) != b.codes(edges))
    after = np.append(edges[1:], high + 1)
    spans = [(int(edges[i]), int(after[i]) - 1) for i in differ]
    visible = sum(last - first + 1 for first, last in spans)
    nearest = [0 if first <= 0 <= last else first if first > 0 else last for first, last in spans]
    found = [_counterexample(v, a, b) for v in sorted(nearest, key=_nearest)[:limit]]
    return None, visible, found


def _counterexample(acc: int, a: SchemeSide, b: SchemeSide) -> Counterexample:
    raw_a, raw_b = (None if side.unclamped is None else side.unclamped.code(acc) for side in (a, b))
    return Counterexample(acc, raw_a, raw_b, a.code(acc), b.code(acc))


def _nearest(acc: int) -> tuple[int, int]:
    return abs(acc), acc


def requantizer_of(description: dict[str, Any]) -> Requantizer:
    """The Requantizer that a side's description stands for."""
    fields = {k: v for k, v in description.items() if k not in ("kind", "definition", "scheme")}
    limits = {k: fields.pop(k) for k in ("zero_point", "qmin", "qmax")}
    return Requantizer(description["scheme"], fields, **limits)
