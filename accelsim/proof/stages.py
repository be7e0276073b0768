"""The arithmetic of a requantizer step by step, in Python integers: what hardware would show at each tap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from accelsim_kernels import domain
from accelsim_kernels.names import AP_QUANTIZATION
from accelsim_kernels.reference.requantization import (
    channel_parameters,
    code_of,
    divide_by_power_of_two,
    float_round,
    high_multiply,
    round_fraction,
    shifted,
)


@dataclass(frozen=True)
class Stage:
    """One step: its name, the formula with numbers in it, the value, and what was decided (rounding, clamp)."""

    name: str
    formula: str
    value: int | float
    decision: str = ""


def stages(acc: int, bound: domain.Bound, channel: int = 0) -> list[Stage]:
    """Every step from an accumulator to its output code; the last value is the code.

    The stages that every scheme has: "accumulator", "rounded" (before the zero point), "zero point", "clamped".
    """
    values, zero_point, qmin, qmax = channel_parameters(bound, channel)
    steps = [Stage("accumulator", "acc", acc)]
    if bound.name == "onnx-reference":
        steps += _onnx_reference(acc, values[0], zero_point)
        return [*steps, _clamp(int(steps[-1].value), qmin, qmax)]
    steps += _STEPS[bound.name](acc, values, bound.options)
    if bound.name == "ap-fixed":
        code = code_of(acc, bound, channel)
        overflow = bound.options["overflow"]
        decision = "in range" if qmin <= steps[-1].value <= qmax else f"out of range: {overflow}"
        return [*steps, Stage("clamped", f"{overflow}({steps[-1].value}, {qmin}, {qmax})", code, decision)]
    rounded = int(steps[-1].value)
    steps.append(Stage("zero point", f"{rounded} + {zero_point}", rounded + zero_point))
    return [*steps, _clamp(rounded + zero_point, qmin, qmax)]


def _clamp(value: int, qmin: int, qmax: int) -> Stage:
    decision = "in range" if qmin <= value <= qmax else "clamped to qmax" if value > qmax else "clamped to qmin"
    return Stage("clamped", f"clamp({value}, {qmin}, {qmax})", min(max(value, qmin), qmax), decision)


def decision(value: int, s: int, rounded: int) -> str:
    """What dropping s bits of a value did to it."""
    if s <= 0:
        return "nothing dropped"
    dropped, half = value % 2**s, 2 ** (s - 1)
    if dropped == 0:
        return "exact"
    where = "a tie" if dropped == half else f"dropped {Fraction(dropped, 2**s).__float__():.6f}"
    return f"{where}, rounded {'up' if rounded > value >> s else 'down'}"


def _two_roundings(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    multiplier, shift = values
    yield from _high(acc, multiplier, shift)
    right = max(-shift, 0)
    high = high_multiply(acc << max(shift, 0), multiplier)
    rounded = divide_by_power_of_two(high, right)
    yield Stage("rounded", f"{high} / 2**{right}, ties away", rounded, decision(high, right, rounded))


def _ruy(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    multiplier, shift = values
    yield from _high(acc, multiplier, shift)
    right = max(-shift, 0)
    high = high_multiply(acc << max(shift, 0), multiplier)
    rounded = shifted(high, right, "half_up")
    yield Stage("rounded", f"{high} / 2**{right}, ties up", rounded, decision(high, right, rounded))


def _high(acc: int, multiplier: int, shift: int) -> Iterator[Stage]:
    left = acc << max(shift, 0)
    if shift > 0:
        yield Stage("shifted", f"{acc} << {shift}", left)
    yield Stage("product", f"{left} * {multiplier}", left * multiplier)
    high = high_multiply(left, multiplier)
    what = decision(left * multiplier, 31, high)
    yield Stage("high half", f"({left * multiplier} + 2**30) >> 31", high, what)


def _once(right_of_shift: int, rounding: str = "half_up"):
    def steps(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
        multiplier, shift = values
        yield from _rounded_product(acc, multiplier, right_of_shift - shift, rounding)

    return steps


def _rounded_product(acc: int, multiplier: int, s: int, rounding: str) -> Iterator[Stage]:
    product = acc * multiplier
    yield Stage("product", f"{acc} * {multiplier}", product)
    rounded = shifted(product, s, rounding)
    yield Stage("rounded", f"{product} / 2**{s}, {rounding}", rounded, decision(product, s, rounded))


def _int16x8(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    multiplier, shift = values
    reduced = (multiplier + 2**15) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    yield Stage("reduced multiplier", f"({multiplier} + 2**15) >> 16", reduced)
    yield from _rounded_product(acc, reduced, 15 - shift, "half_up")


def _tosa_double(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    multiplier, shift = values
    s = 31 - shift
    product = acc * multiplier
    yield Stage("product", f"{acc} * {multiplier}", product)
    second = 0 if s <= 31 else 2**30 if acc >= 0 else -(2**30)
    nudged = product + 2 ** (s - 1) + second
    yield Stage("nudged", f"{product} + 2**{s - 1} + {second}", nudged)
    rounded = nudged >> s
    yield Stage("rounded", f"{nudged} >> {s}", rounded, decision(product, s, rounded))


def _s64(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    multiplier, shift = values
    product = acc * multiplier
    yield Stage("product", f"{acc} * {multiplier}", product)
    kept = product >> (14 - shift)
    yield Stage("one extra bit", f"{product} >> {14 - shift}", kept, "floor")
    yield Stage("rounded", f"({kept} + 1) >> 1", (kept + 1) >> 1, decision(product, 15 - shift, (kept + 1) >> 1))


def _float32(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    single = float_round(Fraction(acc), 24, -149)
    what = "exact" if single == acc else "rounded to 24 bits"
    yield Stage("float32", f"float32({acc})", float(single), what)
    product = float_round(single * Fraction(values[0]), 24, -149)
    exact = single * Fraction(values[0])
    what = "exact" if product == exact else "rounded to 24 bits"
    yield Stage("product", f"{float(single)!r} * {values[0]!r}", float(product), what)
    yield _whole(product, "half_even")


def _onnx_reference(acc: int, scale: float, zero_point: int) -> Iterator[Stage]:
    product = float_round(Fraction(acc) * Fraction(scale), 53, -1074)
    yield Stage("product", f"{acc} * {scale!r}", float(product))
    total = float_round(product + zero_point, 53, -1074)
    yield Stage("zero point", f"{float(product)!r} + {zero_point}", float(total), "added before rounding")
    yield _whole(total, "half_even")


def _real(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    product = float_round(Fraction(acc) * Fraction(values[0]), 53, -1074)
    yield Stage("product", f"{acc} * {values[0]!r}", float(product))
    yield _whole(product, "half_away")


def _whole(value: Fraction, rounding: str) -> Stage:
    rounded = round_fraction(value, rounding)
    below = value - value.__floor__()
    where = "exact" if below == 0 else "a tie, " if below == Fraction(1, 2) else f"fraction {float(below):.6f}, "
    went = "" if below == 0 else f"rounded {'up' if rounded > value else 'down'}"
    return Stage("rounded", f"round({float(value)!r}), {rounding}", rounded, where + went)


def _mantissa(rounding: str):
    def steps(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
        numerator, denominator = values[0].as_integer_ratio()
        s = denominator.bit_length() - 1
        while numerator < 2**23:
            numerator, s = numerator * 2, s + 1
        yield Stage("mantissa", f"{values[0]!r} = {numerator} / 2**{s}", numerator)
        if rounding == "q31":
            yield from _two_roundings(acc, (numerator << 7, 24 - s), options)
        else:
            yield from _rounded_product(acc, numerator, s, rounding)

    return steps


def _nvdla(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    offset, scale, shift = values
    yield Stage("offset", f"{acc} - {offset}", acc - offset)
    product = (acc - offset) * scale
    yield Stage("product", f"{acc - offset} * {scale}", product)
    value = shifted(product, -shift, "half_away")
    yield Stage("shifted", f"{product} / 2**{-shift}, ties away", value, decision(product, -shift, value))
    held = min(max(value, -(2**16)), 2**16 - 1)
    yield Stage("rounded", f"saturate({value}, 17 bits)", held, "in range" if held == value else "saturated")


def _thresholds(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    count = sum(acc >= t for t in values[0])
    last = values[0][count - 1] if count else None
    following = values[0][count] if count < len(values[0]) else None
    yield Stage("rounded", f"thresholds <= {acc}", count, f"reached {last}, next {following}")


def _power_of_two(acc: int, values: tuple, options: dict) -> Iterator[Stage]:
    shift, seed = values[0], values[1] if len(values) > 1 else 0
    rounding = options.get("rounding") or AP_QUANTIZATION[options["quantization"]]
    left, right = acc << max(shift, 0), max(-shift, 0)
    rounded = shifted(left, right, rounding, seed)
    formula = f"{acc} << {shift}" if shift >= 0 else f"{acc} / 2**{right}, {rounding}"
    yield Stage("rounded", formula, rounded, decision(left, right, rounded))


_STEPS = {
    "tflite-double": _two_roundings,
    "tflite-ruy": _ruy,
    "tflite-single": _once(31),
    "tflite-int16x8": _int16x8,
    "tosa-single": _once(31),
    "tosa-double": _tosa_double,
    "tosa-16": _once(15),
    "cmsis-nn": _two_roundings,
    "cmsis-nn-s64": _s64,
    "onnx-float": _float32,
    "qnnpack-q31": _mantissa("q31"),
    "qnnpack-precise": _mantissa("half_away"),
    "xnnpack-rndnu": _mantissa("half_up"),
    "nvdla": _nvdla,
    "gemmini": _float32,
    "finn-thresholds": _thresholds,
    "ap-fixed": _power_of_two,
    "shift": _power_of_two,
    "real-double": _real,
}
