"""diff: the first layer, element and arithmetic stage at which two runs differ, and a guess why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelsim_kernels.names import SCHEMES

from accelsim.errors import AccelsimError
from accelsim.ops.base import Op
from accelsim.ops.mac import MacOp
from accelsim.requant import Requantizer
from accelsim.simulator import Run

#: what a scheme does, in the words of a guess
_ROUNDS = {
    "tflite-double": "rounds twice: the high multiply, then a shift with ties away from zero",
    "tflite-ruy": "rounds twice, ties up both times",
    "tflite-single": "rounds once, ties up",
    "tosa-single": "rounds once, ties up",
    "tosa-double": "rounds twice: ties away from zero by a sign-dependent nudge",
    "cmsis-nn": "rounds twice: the high multiply, then a shift with ties away from zero",
    "tflite-int16x8": "reduces the multiplier to 16 bits and rounds once",
    "cmsis-nn-s64": "uses a 16-bit multiplier and keeps one extra bit",
    "onnx-float": "multiplies in float32, ties to even",
    "onnx-reference": "multiplies in float64, adds the zero point before it rounds, ties to even",
    "real-double": "multiplies in float64, ties away from zero",
    "qnnpack-q31": "uses a 24-bit multiplier and rounds twice",
    "qnnpack-precise": "uses a 24-bit multiplier and rounds once, ties away from zero",
    "xnnpack-rndnu": "uses a 24-bit multiplier and rounds once, ties up",
}


#: elements on which slips are tried
_TRIED = 2000


@dataclass(frozen=True)
class Difference:
    """Where two runs part.

    equal: nowhere. layer, tensor, index: the first element that differs (None where equal). a, b: its codes.
    stage: "input", "accumulator" or "requantize"; "output" where the operator has no such stages. differing:
    elements of that tensor that differ, of `elements`. guess: why, where a known scheme explains it.
    """

    equal: bool
    layer: str | None = None
    tensor: str | None = None
    index: tuple[int, ...] | None = None
    a: int | None = None
    b: int | None = None
    stage: str | None = None
    differing: int = 0
    elements: int = 0
    guess: str = ""
    explanation: str = ""

    def __bool__(self) -> bool:
        """Whether there is a difference."""
        return not self.equal

    def __str__(self) -> str:
        if self.equal:
            return "equal: every tensor that both have agrees"
        lines = [
            f"first difference: layer {self.layer!r}, tensor {self.tensor!r}, element {self.index}, "
            f"stage {self.stage}: a has {self.a}, b has {self.b}",
            f"  {self.differing} of {self.elements} elements differ",
        ]
        if self.guess:
            lines.append(f"  {self.guess}")
        return "\n".join(lines) + (f"\n\n{self.explanation}" if self.explanation else "")


def diff(a: Run, b: Run | Mapping[str, Any]) -> Difference:
    """The first difference between two runs of one network, or between a run and tensors from elsewhere.

    a: of simulate(…, keep="all"). b: another such run, or tensor name -> codes (what another runtime gave; those
    present are compared, in the order of a's operators). Raises AccelsimError where shapes differ or nothing
    can be compared.
    """
    if not a.tensors:
        raise AccelsimError("diff needs runs with every tensor: simulate(…, keep='all')")
    others = b.tensors if isinstance(b, Run) else {name: np.asarray(value) for name, value in b.items()}
    known = set(a.tensors)
    if not others or not set(others) & known:
        raise AccelsimError(
            f"nothing to compare: a has {', '.join(sorted(known))}; b has {', '.join(others) or 'none'}"
        )
    for name in a.graph.inputs:
        found = _compare(a, others, name)
        if found is not None:
            return _difference(a, None, name, found, "input", others)
    for op in a.graph.ops:
        found = _compare(a, others, op.output)
        if found is None:
            continue
        stage, guess = _stage(a, b, op, others)
        return _difference(a, op, op.output, found, stage, others, guess)
    return Difference(True)


def _compare(a: Run, others: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Mask of differing elements; None where they agree or b has no such tensor."""
    if name not in others:
        return None
    ours, theirs = a.tensors[name], others[name]
    if ours.shape != theirs.shape:
        raise AccelsimError(f"tensor {name!r} has shape {ours.shape} in a and {theirs.shape} in b")
    differ = ours.astype(np.int64) != theirs.astype(np.int64)
    return differ if differ.any() else None


def _difference(a: Run, op: Op | None, name: str, mask, stage: str, others, guess: str = "") -> Difference:
    from accelsim.proof.explanation import explain

    index = tuple(int(i) for i in np.argwhere(mask)[0])
    text = "" if op is None else str(explain(a, op.output, index))
    return Difference(
        False, name if op is None else op.name, name, index, int(a.tensors[name][index]), int(others[name][index]),
        stage, int(mask.sum()), mask.size, guess, text,
    )  # fmt: skip


def _stage(a: Run, b: Any, op: Any, others: Mapping[str, np.ndarray]) -> tuple[str, str]:
    if not isinstance(op, MacOp):
        if op.kind == "requantize" and op.inputs[0] in a.tensors:
            acc = a.tensors[op.inputs[0]].astype(np.int64) - op.x_zero_point
            return "requantize", _guess(op.requantizer, acc, a.tensors[op.output], others[op.output])
        return "output", ""
    if isinstance(b, Run) and op.name in b.accumulators:
        ours, theirs = a.accumulators[op.name], b.accumulators[op.name]
        if ours.shape == theirs.shape and (ours != theirs).any():
            return "accumulator", _accumulator_guess(a, b, op, ours, theirs)
    if op.requantizer is None:
        return "accumulator", ""
    acc = a.accumulators[op.name]
    return "requantize", _guess(op.requantizer, acc, a.tensors[op.output], others[op.output])


def _accumulator_guess(a: Run, b: Run, op: MacOp, ours: np.ndarray, theirs: np.ndarray) -> str:
    widths = [run.spec.array.accumulators for run in (a, b)]
    if (widths[0].bits, widths[0].overflow) != (widths[1].bits, widths[1].overflow):
        text = [f"{w.overflow} in {w.bits} bits" for w in widths]
        return f"accumulators: a's {text[0]}, b's {text[1]}"
    gaps = (ours.astype(np.int64) - theirs.astype(np.int64)).reshape(-1, ours.shape[-1])
    if (gaps == gaps[0]).all():
        return (
            f"accumulators differ by a constant per channel (channel 0: {int(gaps[0, 0])}): another bias or zero point"
        )
    return "accumulators differ: other weights, zero points or padding"


def _guess(requantizer: Requantizer, acc: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> str:
    """Which known scheme gives b's codes from these accumulators."""
    from accelsim_kernels import requantize

    fits = []
    for name, candidate in candidates(requantizer):
        try:
            codes = requantize(acc, **candidate.kwargs())
        except ValueError:
            continue  # an accumulator outside this candidate's domain: it cannot be the one
        if np.array_equal(codes.astype(np.int64), theirs.astype(np.int64)):
            fits.append(name)
    about_a = _ROUNDS.get(requantizer.scheme, f"is {requantizer.scheme}")
    if fits:
        about_b = _ROUNDS.get(fits[0], fits[0])
        also = f" (as would {', '.join(fits[1:])})" if fits[1:] else ""
        return f"b is explained by {fits[0]}{also}: b {about_b}; a ({requantizer.scheme}) {about_a}"
    slip = _slip(requantizer, acc, theirs)
    if slip:
        return f"b is explained by a slip, {slip}; a ({requantizer.scheme}) {about_a}"
    gap = theirs.astype(np.int64) - ours.astype(np.int64)
    largest = int(np.abs(gap).max())
    kind = "off by one" if largest == 1 else f"off by up to {largest}"
    return f"no known scheme explains b ({kind}); a ({requantizer.scheme}) {about_a}"


def _slip(requantizer: Requantizer, acc: np.ndarray, theirs: np.ndarray) -> str:
    """The bug, of those that requantizers really have, that gives b's codes where they were tried; else nothing."""
    from accelsim.proof.layers import per_channel
    from accelsim.proof.mutants import mutants

    channels = per_channel(requantizer)
    known = [mutants(channel) for channel in channels]
    rng = np.random.default_rng(0)
    tried = rng.permutation(acc.size)[:_TRIED].tolist()
    pairs = [(int(acc.flat[i]), i % acc.shape[-1] % len(channels), int(theirs.flat[i])) for i in tried]
    for name, (what, _) in known[0].items():
        made = [of.get(name) for of in known]
        if None not in made and all(made[c][1](a) == code for a, c, code in pairs):
            return f"{name} ({what}), on all {len(pairs)} elements tried"
    return ""


def candidates(requantizer: Requantizer) -> list[tuple[str, Requantizer]]:
    """Every scheme with the same real scale, zero point and clamp, and common slips of the given one."""
    limits = {k: getattr(requantizer, k) for k in ("zero_point", "qmin", "qmax")}
    params = dict(requantizer.params)
    found: list[tuple[str, Requantizer]] = []

    def offer(name: str, scheme: str, values: dict[str, Any], **changed: Any) -> None:
        try:
            found.append((name, Requantizer(scheme, values, **{**limits, **changed})))
        except AccelsimError:
            return  # this scheme cannot express these parameters

    same = SCHEMES[requantizer.scheme].params
    for name, scheme in SCHEMES.items():
        if scheme.params == same and name not in ("tosa-16", "cmsis-nn-s64") and not scheme.options:
            offer(name, name, params)
    if same == ("multiplier", "shift"):
        scale = np.asarray(params["multiplier"], np.float64) * 2.0 ** (np.asarray(params["shift"], np.float64) - 31)
        single = np.float32(scale).astype(np.float64)
        for name in ("onnx-float", "onnx-reference", "qnnpack-precise", "xnnpack-rndnu", "qnnpack-q31"):
            offer(name, name, {"scale": single})
        offer("real-double", "real-double", {"scale": scale})
    if same == ("scale",) and requantizer.scheme != "real-double":
        offer("real-double", "real-double", params)
    if same[-1] == "shift" and requantizer.scheme == "shift":
        for rounding in SCHEMES["shift"].options["rounding"]:
            offer(f"shift with {rounding}", "shift", {**params, "rounding": rounding})
    for step in (-1, 1):
        zero_point = np.asarray(requantizer.zero_point) + step
        offer(f"{requantizer.scheme} with the zero point off by {step:+d}", requantizer.scheme, params,
              zero_point=zero_point)  # fmt: skip
    return found
