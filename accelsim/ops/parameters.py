"""Integer parameters of operators that combine scales in a way of their own (add, mean), by profile."""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim.profiles import OperatorNumerics
from accelsim.quant import QuantParams, power_of_two_exponent
from accelsim.requant import decompose


def add_parameters(numerics: OperatorNumerics, a: QuantParams, b: QuantParams, y: QuantParams) -> dict[str, Any]:
    """Keywords of the kernels' `add` for three grids.

    "rescale": both operands to a common grid of twice the larger scale, with 20 bits of headroom (15 above
    8 bits), TensorFlow Lite add.cc; TOSA's RESCALE takes the headroom into its own shift.
    """
    if numerics.arithmetic == "float32":
        return {"a_scale": a.scale, "b_scale": b.scale, "scale": y.scale}
    if numerics.arithmetic == "weighted":
        return {**_weighted(a.scale, b.scale, y.scale), **numerics.options}
    if numerics.arithmetic == "power-of-two":
        exponents = [_exponent(p) for p in (a, b, y)]
        base = min(exponents[:2])
        return {
            "a_shift": exponents[0] - base,
            "b_shift": exponents[1] - base,
            "shift": base - exponents[2],
            **numerics.options,
        }
    headroom = 20 if max(a.bits, b.bits) <= 8 else 15
    if max(a.bits, b.bits) == 16 and not all(p.signed and p.symmetric for p in (a, b)):
        headroom = 14  # 17-bit differences still fit int32
    common = 2.0 * max(a.scale, b.scale)
    inside = numerics.rescaling.startswith("tosa")
    gain = 2.0**headroom if inside else 1.0
    parameters: dict[str, Any] = {"scheme": numerics.scheme, "left_shift": 0 if inside else headroom}
    for prefix, scale in (
        ("a_", gain * a.scale / common),
        ("b_", gain * b.scale / common),
        ("", common / (2.0**headroom * y.scale)),
    ):
        for name, value in decompose(numerics.rescaling, scale).items():
            parameters[f"{prefix}{name}"] = value
    return parameters


def _weighted(a: float, b: float, y: float) -> dict[str, int]:
    """Integer weights of up to 21 bits for two operands, XNNPACK's xnn_init_qs8_add_minmax_params.

    shift = 20 - exponent of the larger float32 ratio; weights are the ratios times 2**shift, ties to even.
    """
    ratios = [np.float32(s) / np.float32(y) for s in (a, b)]
    right = 20 - (int(np.frexp(max(ratios))[1]) - 1)
    weights = [int(np.rint(np.ldexp(np.float64(ratio), right))) for ratio in ratios]
    return {"a_multiplier": weights[0], "b_multiplier": weights[1], "shift": -right}


def mean_scale_parameters(numerics: OperatorNumerics, x: QuantParams, y: QuantParams, count: int) -> dict[str, Any]:
    """Parameters of the requantization that turns a sum of `count` codes into their mean.

    TensorFlow Lite (reduce.h) divides the integer multiplier by the count, truncating; the others decompose
    s_x / (s_y * count).
    """
    if numerics.rescaling.startswith(("tflite", "cmsis")):
        base = decompose(numerics.rescaling, (x.scale, 1.0, y.scale), product=numerics.product)
        multiplier, shift = base["multiplier"], base["shift"]
        k = min(count.bit_length() - 1, 32, 31 + shift)
        return {"multiplier": (multiplier << k) // count, "shift": shift - k, **numerics.options}
    if numerics.product == "float32":
        scale = float(np.float32(x.scale) / (np.float32(y.scale) * np.float32(count)))
        return {**decompose(numerics.rescaling, scale), **numerics.options}
    return {**decompose(numerics.rescaling, x.scale / (y.scale * count)), **numerics.options}


def shift_between(x: QuantParams, y: QuantParams) -> int:
    """k where s_x = 2^k s_y, both powers of two."""
    return _exponent(x) - _exponent(y)


def _exponent(params: QuantParams) -> int:
    exponent = power_of_two_exponent(params.scale)
    if exponent is None:
        raise ValueError(f"scale {params.scale!r} is no power of two, as this profile's arithmetic requires")
    return exponent
