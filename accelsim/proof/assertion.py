"""assert_bit_exact: integers compared in somebody's test suite, and why they differ where they do."""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim.errors import AccelsimError
from accelsim.proof.difference import candidates
from accelsim.proof.stages import stages
from accelsim.requant import Requantizer

EXPLAINED = 2  # differing elements whose arithmetic is shown


def assert_bit_exact(
    got: Any,
    golden: Any,
    *,
    accumulators: Any = None,
    scheme: str | Requantizer | None = None,
    show: int = 5,
    **params: Any,
) -> None:
    """Fail with an explanation unless two integer arrays agree in shape and in every element.

    got, golden: integer arrays (any integer dtype: values are compared). accumulators: what both were requantized
    from, of the same shape, channels last. scheme: how golden is meant to be requantized: a Requantizer, or a
    scheme's name with its parameters as keywords (multiplier=, shift=, zero_point=, qmin=, qmax=, …).
    show: how many differing elements are listed.
    With accumulators and a scheme, the failure shows the golden arithmetic of the first differing elements step by
    step, and names the known scheme that would have given `got`.
    Raises AssertionError where the arrays differ; AccelsimError where the arguments make no sense.
    """
    __tracebackhide__ = True
    ours, theirs = _integers("got", got), _integers("golden", golden)
    requantizer = _requantizer(scheme, params)
    acc = None if accumulators is None else _integers("accumulators", accumulators)
    if acc is not None and acc.shape != theirs.shape:
        raise AccelsimError(f"accumulators have shape {acc.shape}, golden {theirs.shape}")
    if ours.shape != theirs.shape:
        raise AssertionError(f"shapes differ: got {ours.shape}, golden {theirs.shape}")
    differ = ours != theirs
    if differ.any():
        raise AssertionError(_message(ours, theirs, differ, acc, requantizer, show))


def _integers(name: str, values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise AccelsimError(f"{name} must hold integers, not {array.dtype}: bit-exact comparison has no tolerance")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise AccelsimError(f"{name} holds integers beyond 63 bits")
    return array.astype(np.int64)


def _requantizer(scheme: str | Requantizer | None, params: dict[str, Any]) -> Requantizer | None:
    if isinstance(scheme, str):
        limits = {name: params.pop(name) for name in ("zero_point", "qmin", "qmax") if name in params}
        return Requantizer(scheme, params, **limits)
    if params:
        raise AccelsimError(f"{', '.join(params)} belong to a scheme given by name: scheme='tflite-double', …")
    return scheme


def _message(
    got: np.ndarray,
    golden: np.ndarray,
    differ: np.ndarray,
    acc: np.ndarray | None,
    requantizer: Requantizer | None,
    show: int,
) -> str:
    gap = (got - golden)[differ]
    where = np.argwhere(differ)
    lines = [f"{len(where)} of {differ.size} elements differ, got - golden from {gap.min():+} to {gap.max():+}"]
    for index in map(tuple, where[:show].tolist()):
        known = "" if acc is None else f", accumulator {acc[index]}"
        lines.append(f"  at {index}: got {got[index]}, golden {golden[index]}{known}")
    if len(where) > show:
        lines.append(f"  … and {len(where) - show} more")
    if acc is None or requantizer is None:
        missing = [word for word, value in (("accumulators=", acc), ("scheme=", requantizer)) if value is None]
        return "\n".join([*lines, f"give {' and '.join(missing)} to see the arithmetic and which scheme would match"])
    for index in map(tuple, where[: min(show, EXPLAINED)].tolist()):
        lines += ["", f"golden arithmetic at {index} ({requantizer.scheme}):"]
        for stage in stages(int(acc[index]), requantizer.bound(), index[-1] if index else 0):
            decided = f"   {stage.decision}" if stage.decision else ""
            lines.append(f"  {stage.name:16} {stage.value:>16}   {stage.formula}{decided}")
    return "\n".join([*lines, "", _matching(got, golden, acc, requantizer)])


def _matching(got: np.ndarray, golden: np.ndarray, acc: np.ndarray, requantizer: Requantizer) -> str:
    """Which known schemes give these codes from these accumulators."""
    from accelsim_kernels import requantize

    fits: dict[str, list[str]] = {"got": [], "golden": []}
    for name, candidate in [(requantizer.scheme, requantizer), *candidates(requantizer)]:
        try:
            codes = requantize(acc, **candidate.kwargs()).astype(np.int64)
        except ValueError:
            continue  # an accumulator outside this scheme's domain
        for side, wanted in (("got", got), ("golden", golden)):
            if np.array_equal(codes, wanted) and name not in fits[side]:
                fits[side].append(name)
    lines = [f"{side} is what {', '.join(names)} gives" for side, names in fits.items() if names]
    lines += [f"no known scheme gives {side}" for side, names in fits.items() if not names]
    return "\n".join(lines)
