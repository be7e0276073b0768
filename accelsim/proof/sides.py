"""The two sides of a comparison: a named scheme with parameters, a Requantizer, or code of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from accelsim_kernels import domain
from accelsim_kernels.comparison import unclamped
from accelsim_kernels.names import SCHEMES

from accelsim.errors import AccelsimError
from accelsim.requant import Requantizer, decompose

#: schemes that are not monotone in the accumulator (see kernels/README.md, "monotone")
_NOT_MONOTONE = ("AP_WRAP", "AP_SAT_ZERO", "AP_WRAP_SM", "stochastic")


class Side(Protocol):
    """One requantizer: codes of accumulators, the accumulators it is defined for, and what it is."""

    def codes(self, acc: np.ndarray) -> np.ndarray: ...
    def accumulator_range(self) -> tuple[int, int]: ...
    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class SchemeSide:
    """A named scheme with scalar parameters."""

    bound: domain.Bound

    def codes(self, acc: np.ndarray) -> np.ndarray:
        """Output codes, int64."""
        from accelsim_kernels.requantization import requantize_bound

        return requantize_bound(acc, self.bound).astype(np.int64)

    def code(self, acc: int) -> int:
        """One output code, in Python integers."""
        from accelsim_kernels.reference.requantization import code_of

        return code_of(acc, self.bound)

    @property
    def unclamped(self) -> SchemeSide | None:
        """The same before zero point and clamp; None for thresholds, which clamp by nature."""
        return None if self.bound.name == "finn-thresholds" else SchemeSide(unclamped(self.bound))

    def accumulator_range(self) -> tuple[int, int]:
        low, high = self.bound.accumulator_range()
        return int(low[0]), int(high[0])

    @property
    def monotone(self) -> bool:
        """Whether a lemma says that the codes never fall as the accumulator rises.

        Each scheme is a chain of monotone steps (multiply by a constant >= 0, add, shift with any rounding
        but a stochastic one, clamp); NVDLA's scale may be negative, ap_fixed may wrap.
        """
        if self.bound.name == "nvdla":
            return bool((self.bound.values[1] >= 0).all())
        return not set(self.bound.options.values()) & set(_NOT_MONOTONE)

    def describe(self) -> dict[str, Any]:
        """The definition: scheme, equation and source, parameters, zero point, clamp."""
        scheme = SCHEMES[self.bound.name]
        keywords = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in _keywords(self.bound).items()}
        definition = f"{scheme.equation}: {scheme.summary} ({scheme.source})"
        return {"kind": "scheme", "scheme": self.bound.name, "definition": definition, **keywords}


def _keywords(bound: domain.Bound) -> dict[str, Any]:
    names = (*bound.scheme.params, *(("seed",) if len(bound.values) > len(bound.scheme.params) else ()))
    values = {n: v[0] if v.ndim == 2 else v[0].item() for n, v in zip(names, bound.values, strict=True)}
    limits = {k: getattr(bound, k)[0].item() for k in ("zero_point", "qmin", "qmax")}
    return {**values, **bound.options, **limits}


def scheme_side(requantizer: Requantizer) -> SchemeSide:
    """A per-tensor Requantizer as a side."""
    bound = requantizer.bound()
    if bound.channels is not None:
        raise AccelsimError(f"{requantizer.scheme}: compare one channel at a time, this one has {bound.channels}")
    return SchemeSide(bound)


def make_side(
    which: Any, *, scale: Any, multiplier: int | None, shift: int | None, params: dict[str, Any] | None,
    zero_point: int, qmin: int, qmax: int,
) -> Side:  # fmt: skip
    """A side of prove(): a scheme's name, a Requantizer, a function, or another object with codes().

    A name may go on with the scheme's options after colons: shift:half_even, ap-fixed:AP_RND:AP_SAT.
    """
    if isinstance(which, Requantizer):
        return scheme_side(which)
    if isinstance(which, str):
        name, options = _options(which)
        limits = {"zero_point": zero_point, "qmin": qmin, "qmax": qmax}
        return _named(name, options, scale, multiplier, shift, params, limits)
    if hasattr(which, "codes") and hasattr(which, "accumulator_range"):
        return which
    if callable(which):
        from accelsim.proof.user_code import PythonRequantizer

        return PythonRequantizer(which)
    raise AccelsimError(f"cannot compare a {type(which).__name__}: give a scheme's name, a Requantizer or a function")


def _options(text: str) -> tuple[str, dict[str, str]]:
    """A scheme's name and its options by name."""
    name, *given = text.split(":")
    if name not in SCHEMES:
        raise AccelsimError(f"unknown requantization scheme {name!r}; known: {', '.join(SCHEMES)}")
    legal = SCHEMES[name].options
    if len(given) > len(legal):
        raise AccelsimError(
            f"{name} has {len(legal)} options ({', '.join(legal) or 'none'}); {text!r} gives {len(given)}"
        )
    return name, dict(zip(legal, given, strict=False))


def _named(
    name: str, options: dict[str, str], scale: Any, multiplier, shift, params, limits: dict[str, int]
) -> SchemeSide:
    wanted = SCHEMES[name].params
    try:
        if params is not None:
            return scheme_side(Requantizer(name, {**options, **params}, **limits))
        if multiplier is not None and shift is not None and wanted == ("multiplier", "shift"):
            return scheme_side(Requantizer(name, {"multiplier": multiplier, "shift": shift}, **limits))
        if wanted == ("shift",) and shift is not None and multiplier is None:
            return scheme_side(Requantizer(name, {"shift": shift, **options}, **limits))
        if scale is None:
            if multiplier is None or shift is None:
                raise AccelsimError(f"{name} needs a scale, or {', '.join(wanted)}")
            scale = multiplier * 2.0 ** (shift - 31)
        how: dict[str, Any] = {"product": None} if isinstance(scale, tuple) else {}
        if name == "finn-thresholds":
            return scheme_side(Requantizer.from_scale(name, scale, **limits))
        return scheme_side(Requantizer(name, {**decompose(name, scale, **how), **options}, **limits))
    except AccelsimError as error:
        raise AccelsimError(f"side {name!r}: {error}") from None
