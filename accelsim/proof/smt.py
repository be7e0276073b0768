"""Two integer schemes compared for every accumulator and every multiplier at once, by a solver (bitwuzla).

The product of accumulator and multiplier is replaced by a free 64-bit variable of the right sign and range:
what holds for every such variable holds for every product (Armando and Mantovani call this an abstraction).
A model of the negation is no counterexample yet: real ones are then searched for among accumulators near
ties, and the scalar definitions confirm them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from accelsim_kernels import domain as legal
from accelsim_kernels.comparison import unclamped
from accelsim_kernels.names import SCHEMES

from accelsim.errors import AccelsimError
from accelsim.proof.equivalence import Counterexample, Proof
from accelsim.proof.sides import SchemeSide

#: schemes that the solver has a definition of: with multipliers below 2**31 and 32-bit accumulators …
_KNOWN = ("tflite-double", "tflite-ruy", "tflite-single", "cmsis-nn", "tosa-single", "tosa-double")
#: … and with multipliers below 2**15 and 48-bit accumulators; tflite-int16x8 reduces 31 bits to these
_NARROW = ("tflite-int16x8", "tosa-16", "cmsis-nn-s64")
_WIDTH = 64


def prove_all_multipliers(
    a: str, b: str, *, shift: int | None, zero_point: int, qmin: int, qmax: int, request: dict[str, Any]
) -> Proof:
    """Compare two schemes for all multipliers, 0 .. 2**31 - 1 or 2**15 - 1, at one shift or at all legal for both.

    tflite-int16x8 is given each multiplier below 2**15 times 2**16, which it reduces to that multiplier: so all that
    it can multiply by are compared. Raises AccelsimError where a scheme has no definition for the solver, one
    multiplier is not the other's, or bitwuzla is not installed.
    """
    start = time.perf_counter()
    known = (*_KNOWN, *_NARROW)
    for name in (a, b):
        if name not in known:
            raise AccelsimError(f"the solver has no definition of {name!r}; it knows {', '.join(known)}")
    if (a in _NARROW) != (b in _NARROW):
        raise AccelsimError(
            f"{a} and {b} have multipliers of {_digits(a)} and {_digits(b)} bits, which stand for other scales: "
            "give a scale"
        )
    ranges = [legal.SHIFT_RANGE[name] for name in (a, b)]
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if shift is not None and not low <= shift <= high:
        raise AccelsimError(f"shift {shift} is outside {low} .. {high}, legal for both {a} and {b}")
    limits = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
    found: list[Counterexample] = []
    shifts = [shift] if shift is not None else sorted(range(low, high + 1), key=lambda s: (abs(s), s))
    for s in shifts:
        if not _equal_at(a, b, s):
            found = _search(a, b, s, limits, max(request["limit"], 1))
            if not found:
                raise AccelsimError(
                    f"{a} and {b} at shift {s}: neither shown equal, nor a counterexample found; give a "
                    "multiplier to compare exhaustively"
                )
            break
    top = 2 ** (_bits(a) - 1) if shift is None else _largest(a, b, shift)
    domain = (-top, top - 1)
    sides: list[dict[str, Any]] = [
        {
            "kind": "scheme",
            "scheme": n,
            "definition": f"{SCHEMES[n].equation}: {SCHEMES[n].summary} ({SCHEMES[n].source})",
            **limits,
        }
        for n in (a, b)
    ]
    for side in sides:
        reduced = " after its reduction" if side["scheme"] == "tflite-int16x8" else ""
        side |= {
            "multiplier": f"0 .. 2**{_digits(a)} - 1{reduced}",
            "shift": f"{low} .. {high}" if shift is None else shift,
        }
    return Proof(
        not found, "smt", tuple(found[: request["limit"]]), None, None, time.perf_counter() - start, domain,
        sides[0], sides[1], {**request, "shift": shift},
    )  # fmt: skip


def _equal_at(a: str, b: str, shift: int) -> bool:
    """Whether no product of the right sign and range gives different values at this shift."""
    bz = _bitwuzla()
    manager = bz.TermManager()
    options = bz.Options()
    solver = bz.Bitwuzla(manager, options)
    t = Terms(bz, manager)
    x = manager.mk_const(manager.mk_bv_sort(_WIDTH), "accumulator")
    p = manager.mk_const(manager.mk_bv_sort(_WIDTH), "product")
    top, multiplier = _largest(a, b, shift), 2 ** _digits(a) - 1
    solver.assert_formula(t.between(x, -top, top - 1))
    negative = t.less(x, t.number(0))
    within = manager.mk_term(bz.Kind.ITE, [
        negative,
        t.between(p, -top * multiplier, 0),
        t.between(p, 0, (top - 1) * multiplier),
    ])  # fmt: skip
    solver.assert_formula(within)
    solver.assert_formula(manager.mk_term(bz.Kind.DISTINCT, [_value(t, n, x, p, shift) for n in (a, b)]))
    return solver.check_sat() == bz.Result.UNSAT


def _largest(a: str, b: str, shift: int) -> int:
    """2**k: accumulators -2**k .. 2**k - 1 are legal for both schemes at this shift, whatever the multiplier."""
    bits = _bits(a)
    if a in _NARROW:  # the result with one bit more fits int32
        return 2 ** min(bits - 1, max(30 - shift, 0))
    if {a, b} - {"tosa-single", "tosa-double"}:  # acc << left, or the largest result, fits int32
        bits -= max(shift, 0)
    if {a, b} & {"tosa-single", "tosa-double"}:  # |acc| < 2**(30 - shift)
        bits = min(bits, 31 - shift)
    return 2 ** (bits - 1)


def _digits(scheme: str) -> int:
    return 15 if scheme in _NARROW else 31


def _bits(scheme: str) -> int:
    return SCHEMES[scheme].accumulator_bits


def _value(t: Terms, name: str, x: Any, p: Any, shift: int) -> Any:
    """The scheme's rounded value from accumulator x and product p = x * multiplier, as in its source."""
    left, right = max(shift, 0), max(-shift, 0)
    if name in ("tosa-single", "tflite-single", "tosa-double"):
        s = 31 - shift
        rounded = t.add(p, t.number(2 ** (s - 1)))
        if name == "tosa-double" and s > 31:
            positive = t.not_(t.less(x, t.number(0)))
            rounded = t.add(rounded, t.ite(positive, t.number(2**30), t.number(-(2**30))))
        return t.shift_right(rounded, s)
    if name in ("tosa-16", "tflite-int16x8"):
        return t.shift_right(t.add(p, t.number(2 ** (14 - shift))), 15 - shift)
    if name == "cmsis-nn-s64":
        return t.shift_right(t.add(t.shift_right(p, 14 - shift), t.number(1)), 1)
    product = t.shift_left(p, left)
    high = t.shift_right(t.add(product, t.number(2**30)), 31)
    if name == "cmsis-nn":
        high = t.wrap32(high)
    if name == "tflite-ruy":
        return t.shift_right(t.add(high, t.number(2**right // 2)), right)
    # RoundingDivideByPOT: remainder against a threshold that grows by one for negative values
    mask = 2**right - 1
    threshold = t.add(t.number(mask >> 1), t.bit(t.less(high, t.number(0))))
    remainder = t.and_(high, t.number(mask))
    return t.add(t.shift_right(high, right), t.bit(t.less(threshold, remainder)))


class Terms:
    """Signed 64-bit terms of one manager."""

    def __init__(self, bz: Any, manager: Any) -> None:
        self.kinds, self.manager = bz.Kind, manager
        self.sort = manager.mk_bv_sort(_WIDTH)

    def number(self, value: int) -> Any:
        return self.manager.mk_bv_value(self.sort, value % 2**_WIDTH)

    def add(self, a: Any, b: Any) -> Any:
        return self.manager.mk_term(self.kinds.BV_ADD, [a, b])

    def and_(self, a: Any, b: Any) -> Any:
        return self.manager.mk_term(self.kinds.BV_AND, [a, b])

    def not_(self, a: Any) -> Any:
        return self.manager.mk_term(self.kinds.NOT, [a])

    def ite(self, condition: Any, a: Any, b: Any) -> Any:
        return self.manager.mk_term(self.kinds.ITE, [condition, a, b])

    def less(self, a: Any, b: Any) -> Any:
        return self.manager.mk_term(self.kinds.BV_SLT, [a, b])

    def bit(self, condition: Any) -> Any:
        return self.ite(condition, self.number(1), self.number(0))

    def shift_left(self, a: Any, count: int) -> Any:
        return self.manager.mk_term(self.kinds.BV_SHL, [a, self.number(count)])

    def shift_right(self, a: Any, count: int) -> Any:
        return self.manager.mk_term(self.kinds.BV_ASHR, [a, self.number(count)])

    def wrap32(self, a: Any) -> Any:
        return self.shift_right(self.shift_left(a, 32), 32)

    def between(self, a: Any, low: int, high: int) -> Any:
        inside = [self.not_(self.less(a, self.number(low))), self.not_(self.less(self.number(high), a))]
        return self.manager.mk_term(self.kinds.AND, inside)


def _search(a: str, b: str, shift: int, limits: dict[str, Any], most: int) -> list[Counterexample]:
    """Accumulators at which the scalar definitions differ, `most` for each multiplier tried, small ones first."""
    rng = np.random.default_rng(0)
    half = 2 ** (_digits(a) - 1)
    multipliers = [half, half + 1, half + half // 3, 2 * half - 1, *rng.integers(half, 2 * half, 60).tolist()]
    found = []
    for m in multipliers:
        sides = [SchemeSide(legal.bind(n, multiplier=_given(n, m), shift=shift, **limits)) for n in (a, b)]
        low = max(side.accumulator_range()[0] for side in sides)
        high = min(side.accumulator_range()[1] for side in sides)
        acc = np.unique(np.clip(np.concatenate([np.arange(-4096, 4097), _ties(m, shift, _digits(a))]), low, high))
        raw = [SchemeSide(unclamped(side.bound)) for side in sides]
        differ = acc[raw[0].codes(acc) != raw[1].codes(acc)]
        for v in differ[np.argsort(np.abs(differ), kind="stable")][:most].tolist():
            a_raw, b_raw, a_code, b_code = (side.code(v) for side in (*raw, *sides))
            found.append(Counterexample(v, a_raw, b_raw, a_code, b_code, multiplier=m, shift=shift))
    return sorted(found, key=lambda c: (abs(c.accumulator), c.accumulator))


def _given(scheme: str, multiplier: int) -> int:
    """The parameter that makes a scheme multiply by a number of _digits(scheme) bits."""
    return multiplier << 16 if scheme == "tflite-int16x8" else multiplier


def _ties(multiplier: int, shift: int, digits: int) -> np.ndarray:
    """Accumulators whose exact product is nearest to a half: where roundings differ."""
    halves = np.concatenate([2 * np.arange(0, 2000) + 1, -2 * np.arange(0, 2000) - 1]).astype(np.float64)
    centre = np.clip(halves * 2.0 ** (digits - 1 - shift) / multiplier, -(2.0**31), 2.0**31 - 1).astype(np.int64)
    return np.concatenate([centre - 1, centre, centre + 1])


def _bitwuzla() -> Any:
    try:
        import bitwuzla
    except ImportError as error:
        raise AccelsimError("comparing all multipliers needs bitwuzla: pip install 'accelsim[proof]'") from error
    return bitwuzla
