"""The datapath of a requantizer as expressions: one text that SystemVerilog takes as it is and C after translation.

Each signal is a signed 64-bit number. The taps are `product` (what is about to be rounded) and `rounded` (before zero
point and clamp).
"""

from __future__ import annotations

import math

import numpy as np
from accelsim_kernels import domain
from accelsim_kernels.names import AP_QUANTIZATION

from accelsim.errors import AccelsimError
from accelsim.requant import Requantizer

#: schemes whose float32 steps are built from integer logic
FLOAT_SCHEMES = ("onnx-float", "gemmini")
#: schemes with a module; those without are evaluators in float64, which no datapath of an accelerator has
RTL_SCHEMES = (
    "tflite-double", "tflite-ruy", "tflite-single", "tflite-int16x8", "tosa-single", "tosa-double", "tosa-16",
    "cmsis-nn", "cmsis-nn-s64", "qnnpack-q31", "qnnpack-precise", "xnnpack-rndnu", "nvdla", "finn-thresholds",
    "ap-fixed", "shift", *FLOAT_SCHEMES,
)  # fmt: skip
_ROUNDINGS = ("floor", "toward_zero", "half_up", "half_down", "half_away", "half_to_zero", "half_even", "odd")
#: float32 scales: normal numbers, and |accumulator * scale| below the 2**47 that the rounded tap is compared at
_LOWEST_SCALE, _HIGHEST_SCALE = 2.0**-126, 2.0**15

#: (signal, expression over earlier ones)
Signals = list[tuple[str, str]]


def check(requantizer: Requantizer) -> None:
    """AccelsimError, naming what is supported, unless a module can be generated for a requantizer."""
    scheme = requantizer.scheme
    if scheme not in RTL_SCHEMES:
        raise AccelsimError(f"no module is generated for {scheme!r}; those with one: {', '.join(RTL_SCHEMES)}")
    if requantizer.channels is not None:
        raise AccelsimError("the generated requantizer takes one set of parameters: give scalars")
    requantizer.bound()
    rounding = _rounding_name(requantizer)
    if rounding not in _ROUNDINGS:
        raise AccelsimError(f"no module is generated for rounding {rounding!r}; known: {', '.join(_ROUNDINGS)}")
    if scheme in FLOAT_SCHEMES and not _LOWEST_SCALE <= _scale(requantizer) < _HIGHEST_SCALE:
        raise AccelsimError(
            f"{scheme}: the generated float32 datapath takes scales from 2**-126 to below 2**15, "
            f"got {_scale(requantizer):g}"
        )


def number(value: int) -> str:
    """A signed 64-bit literal."""
    return f"64'sd{value}" if value >= 0 else f"-64'sd{-value}"


def signals(requantizer: Requantizer) -> Signals:
    """From `wide`, the accumulator, to product and rounded, for every scheme but the float ones."""
    scheme, params = requantizer.scheme, requantizer.params
    if scheme in ("shift", "ap-fixed"):
        shift = int(params["shift"])
        product = ("product", f"wide <<< {max(shift, 0)}")
        return [product, *_rounded("product", max(-shift, 0), _rounding_name(requantizer))]
    if scheme == "finn-thresholds":
        reached = (f"(wide >= {number(int(t))} ? 64'sd1 : 64'sd0)" for t in np.ravel(params["thresholds"]))
        return [("product", "wide"), ("rounded", "\n      + ".join(reached))]
    if scheme == "nvdla":
        product = ("product", f"(wide - {number(int(params['offset']))}) * {number(int(params['scale']))}")
        # 49 bits: shifts by 62 and 63 agree
        steps = _rounded("product", min(-int(params["shift"]), 62), "half_away", "scaled")
        held = f"scaled > {number(2**16 - 1)} ? {number(2**16 - 1)} : scaled < {number(-(2**16))} ? {number(-(2**16))}"
        return [product, *steps, ("rounded", f"{held} : scaled")]
    multiplier, shift, digits = _multiplier(requantizer)
    left, right = max(shift, 0), max(-shift, 0)
    if scheme in ("tflite-double", "tflite-ruy", "cmsis-nn", "qnnpack-q31"):
        return [
            ("product", f"(wide <<< {left}) * {number(multiplier)}"),
            ("high", f"(product + {number(2**30)}) >>> 31"),
            *_rounded("high", right, "half_up" if scheme == "tflite-ruy" else "half_away"),
        ]
    product = ("product", f"wide * {number(multiplier)}")
    s = digits - shift
    if scheme == "tosa-double":
        nudge = number(2 ** (s - 1))
        if s > 31:
            nudge += f" + (wide[63] ? {number(-(2**30))} : {number(2**30)})"
        return [product, ("rounded", f"(product + {nudge}) >>> {s}")]
    if scheme == "cmsis-nn-s64":
        return [product, ("kept", f"product >>> {s - 1}"), ("rounded", "(kept + 64'sd1) >>> 1")]
    return [product, *_rounded("product", s, "half_away" if scheme == "qnnpack-precise" else "half_up")]


def output(requantizer: Requantizer) -> str:
    """The code, from `biased` = rounded + zero point: clamped, or what ap_fixed makes of an overflow."""
    low, high = int(requantizer.qmin), int(requantizer.qmax)
    overflow = requantizer.bound().options.get("overflow", "AP_SAT")
    span = high - low + 1
    kept = f"((biased - {number(low)}) & {number(span - 1)}) + {number(low)}"
    if overflow == "AP_WRAP":
        return kept
    if overflow == "AP_WRAP_SM":
        return f"((biased - {number(low)}) & {number(span)}) != 64'sd0 ? ~({kept}) : {kept}"
    if overflow == "AP_SAT_ZERO":
        return f"biased > {number(high)} ? 64'sd0 : biased < {number(low)} ? 64'sd0 : biased"
    if overflow == "AP_SAT_SYM":
        low = max(low, -high)
    return f"biased > {number(high)} ? {number(high)} : biased < {number(low)} ? {number(low)} : biased"


def products(requantizer: Requantizer, acc: np.ndarray) -> np.ndarray:
    """The product tap of accumulators, int64; the bits of the float32 product for the float schemes."""
    scheme, params = requantizer.scheme, requantizer.params
    if scheme in FLOAT_SCHEMES:
        return (acc.astype(np.float32) * np.float32(params["scale"])).view(np.uint32).astype(np.int64)
    if scheme in ("shift", "ap-fixed"):
        return acc << max(int(params["shift"]), 0)
    if scheme == "finn-thresholds":
        return acc
    if scheme == "nvdla":
        return (acc - int(params["offset"])) * int(params["scale"])
    multiplier, shift, _ = _multiplier(requantizer)
    left = max(shift, 0) if scheme in ("tflite-double", "tflite-ruy", "cmsis-nn", "qnnpack-q31") else 0
    return (acc << left) * multiplier


def mantissa(scale: float) -> tuple[int, int]:
    """(m, e): scale = m * 2**e, m of 24 bits."""
    fraction, exponent = math.frexp(scale)
    return int(fraction * 2**24), exponent - 24


def _scale(requantizer: Requantizer) -> float:
    return float(requantizer.params["scale"])


def _multiplier(requantizer: Requantizer) -> tuple[int, int, int]:
    """(multiplier, shift, fraction digits): the real scale is multiplier * 2**(shift - digits)."""
    scheme, params = requantizer.scheme, requantizer.params
    if "scale" in params:
        m, e = mantissa(_scale(requantizer))
        return (m << 7, e + 24, 31) if scheme == "qnnpack-q31" else (m, e + 24, 24)
    multiplier, shift = int(params["multiplier"]), int(params["shift"])
    if scheme == "tflite-int16x8":
        return int(domain.reduced_multiplier(np.array(multiplier, np.int64))), shift, 15
    return multiplier, shift, 15 if scheme in ("tosa-16", "cmsis-nn-s64") else 31


def _rounding_name(requantizer: Requantizer) -> str:
    options = requantizer.bound().options
    return options.get("rounding") or AP_QUANTIZATION.get(options.get("quantization", ""), "half_up")


def _rounded(value: str, s: int, rounding: str, name: str = "rounded") -> Signals:
    """`name` = value / 2**s rounded as named."""
    if s == 0:
        return [(name, value)]
    half, mask = number(2 ** (s - 1)), number(2**s - 1)
    floor = f"{value} >>> {s}"
    forms = {
        "floor": floor,
        "toward_zero": f"({value} + ({value}[63] ? {mask} : 64'sd0)) >>> {s}",
        "half_up": f"({value} + {half}) >>> {s}",
        "half_down": f"({value} + {half} - 64'sd1) >>> {s}",
        "half_away": f"({value} + {half} - ({value}[63] ? 64'sd1 : 64'sd0)) >>> {s}",
        "half_to_zero": f"({value} + {half} - ({value} > 64'sd0 ? 64'sd1 : 64'sd0)) >>> {s}",
        "half_even": f"({value} + {half} - ({value}[{s}] ? 64'sd0 : 64'sd1)) >>> {s}",
        "odd": f"({floor}) | (({value} & {mask}) != 64'sd0 ? 64'sd1 : 64'sd0)",
    }
    return [(name, forms[rounding])]
