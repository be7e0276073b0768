"""Legal parameters of every requantization scheme: corners to cross, and hypothesis strategies."""

from __future__ import annotations

import itertools

import numpy as np
from accelsim_kernels import domain
from accelsim_kernels.names import SCHEMES
from corners import around, integers
from hypothesis import strategies as st

#: lowest and highest legal TFLite shift (positive = left)
SHIFTS = {
    "tflite-double": (-31, 30), "tflite-ruy": (-31, 30), "tflite-single": (-31, 30), "cmsis-nn": (-31, 30),
    "tosa-single": (-31, 29), "tosa-double": (-31, 29), "tosa-16": (-47, 13), "tflite-int16x8": (-31, 7),
    "cmsis-nn-s64": (-31, 7), "nvdla": (-63, 0), "shift": (-62, 62), "ap-fixed": (-62, 62),
}  # fmt: skip
MULTIPLIERS = {name: 2**31 - 1 for name in SHIFTS if SCHEMES[name].params[0] == "multiplier"}
MULTIPLIERS |= {"tosa-16": 2**15 - 1, "cmsis-nn-s64": 2**15 - 1}
SCALES = {
    "onnx-float": (2.0**-40, 2.0**20), "onnx-reference": (2.0**-40, 2.0**20), "gemmini": (2.0**-40, 2.0**20),
    "qnnpack-q31": (2.0**-32, 1 - 2.0**-24), "qnnpack-precise": (2.0**-32, 1 - 2.0**-24),
    "xnnpack-rndnu": (2.0**-32, 256 - 2.0**-15), "real-double": (2.0**-40, 2.0**20),
}  # fmt: skip
NO_ZERO_POINT = [name for name, scheme in SCHEMES.items() if scheme.zero_point == "none"]


def corner_parameters(name: str) -> list[dict]:
    """The corners of each parameter's legal range, crossed."""
    if name in MULTIPLIERS:
        top = MULTIPLIERS[name]
        multipliers = [0, 1, top // 2, top // 2 + 1, 1518500250 * (top + 1) // 2**31, top - 1, top]
        low, high = SHIFTS[name]
        shifts = sorted({low, low + 1, -9, -7, -1, 0, 1, min(high, 5), high})
        return [{"multiplier": m, "shift": s} for m, s in itertools.product(multipliers, shifts)]
    if name in SCALES:
        low, high = SCALES[name]
        middle = [2.0**-9, 2.0**-7 * 1.5, float(np.float32(0.0054321))]
        return [{"scale": s} for s in (low, *middle, 0.5, high)]
    if name == "nvdla":
        axes = ([-(2**31), -1, 0, 77, 2**31 - 1], [-(2**15), -3, 0, 1, 2**15 - 1], [-63, -17, -9, -1, 0])
        return [dict(zip(("offset", "scale", "shift"), v, strict=True)) for v in itertools.product(*axes)]
    if name == "finn-thresholds":
        return [{"thresholds": np.arange(-127, 128) * 100 - 50}, {"thresholds": np.array([-3, 0, 0, 9])}]
    shifts = [{"shift": s} for s in (-62, -9, -1, 0, 20)]
    choices = SCHEMES[name].options
    options = [{key: value} for key, legal in choices.items() for value in legal]
    options += [{"quantization": "AP_RND_CONV", "overflow": "AP_WRAP_SM"}] if name == "ap-fixed" else []
    return [{**s, **o} for s, o in itertools.product(shifts, options)]


@st.composite
def parameters(draw, name: str) -> dict:
    """Any legal parameters of a scheme."""
    if name in MULTIPLIERS:
        return {
            "multiplier": draw(st.integers(0, MULTIPLIERS[name])),
            "shift": draw(st.integers(*SHIFTS[name])),
        }
    if name in SCALES:
        width = 64 if name == "real-double" else 32
        return {"scale": draw(st.floats(*SCALES[name], width=width))}
    if name == "nvdla":
        return {
            "offset": draw(st.integers(-(2**31), 2**31 - 1)),
            "scale": draw(st.integers(-(2**15), 2**15 - 1)),
            "shift": draw(st.integers(*SHIFTS[name])),
        }
    if name == "finn-thresholds":
        values = draw(st.lists(st.integers(-(2**62), 2**62 - 1), min_size=1, max_size=40))
        return {"thresholds": np.array(sorted(values))}
    # one option at a time away from its default: each combination is a kernel to compile
    choices = [(key, value) for key, legal in SCHEMES[name].options.items() for value in legal]
    options = {key: legal[0] for key, legal in SCHEMES[name].options.items()}
    key, value = draw(st.sampled_from(choices))
    options[key] = value
    if options.get("rounding") == "stochastic":
        options["seed"] = draw(st.integers(0, 2**63 - 1))
    return {"shift": draw(st.integers(*SHIFTS[name])), **options}


def accumulators(name: str, params: dict) -> np.ndarray:
    """Corners of the scheme's domain, and the neighbourhood of its first and last output steps and ties."""
    bound = domain.bind(name, **params)
    low, high = (int(v[0]) for v in bound.accumulator_range())
    return np.array(integers(low, high) + around(steps(name, params), low, high), np.int64)


def steps(name: str, params: dict) -> list[int]:
    """Accumulators near which the rounded value steps."""
    if name == "finn-thresholds":
        return [int(t) for t in params["thresholds"]]
    if name in MULTIPLIERS:
        digits = 15 if MULTIPLIERS[name] < 2**15 else 31
        numerator, denominator = max(params["multiplier"], 1), 2 ** (digits - params["shift"])
    elif name in SCALES:
        numerator, denominator = float(params["scale"]).as_integer_ratio()
    elif name == "nvdla":
        numerator, denominator = abs(params["scale"]) or 1, 2 ** -params["shift"]
    else:
        numerator, denominator = 2 ** max(params["shift"], 0), 2 ** max(-params["shift"], 0)
    return [((2 * k + 1) * denominator) // (2 * numerator) for k in (-128, -9, -8, -3, -2, -1, 0, 1, 2, 3, 8, 126, 127)]
