"""Requantizers: a named scheme with its parameters, and how a real scale becomes those parameters.

Runtimes differ in the precision of the product input_scale * weight_scale / output_scale; the names of
PRODUCTS say how it is taken. Shifts are TFLite's everywhere: positive is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from accelsim_kernels import domain
from accelsim_kernels.names import SCHEMES

from accelsim.errors import AccelsimError

#: how the product of the three scales (each a float32 number) is evaluated
PRODUCTS = {
    "float64": "float64(input) * float64(weight) / float64(output): TFLite convolutions",
    "float32-product": "float64(float32(input * weight)) / float64(output): TFLite fully connected per tensor; "
    "per channel it is the float64 product",
    "float32": "float32(float32(input * weight) / output): ONNX Runtime, XNNPACK, TFLite MUL",
}

#: schemes whose parameter is one float32 number
FLOAT32_SCHEMES = (
    "onnx-float", "onnx-reference", "qnnpack-q31", "qnnpack-precise", "xnnpack-rndnu", "gemmini",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Requantizer:
    """A requantization scheme with its parameters: output = clamp(scheme(acc) + zero_point, qmin, qmax).

    scheme: a name of accelsim_kernels.names.SCHEMES. params: what it needs, name -> scalar or 1-D array per
    output channel (thresholds: (n,) or (channels, n)). zero_point, qmin, qmax: integer codes, scalars or per
    channel. Raises AccelsimError where a parameter is missing, unknown or outside its legal range.
    """

    scheme: str
    params: Mapping[str, Any]
    zero_point: Any = 0
    qmin: Any = -128
    qmax: Any = 127

    def __post_init__(self) -> None:
        self.bound()

    def bound(self) -> domain.Bound:
        """The checked parameters, as the kernels take them."""
        try:
            return domain.bind(self.scheme, **{k: v for k, v in self.kwargs().items() if k != "scheme"})
        except ValueError as error:
            raise AccelsimError(str(error)) from None

    def kwargs(self) -> dict[str, Any]:
        """The keywords of accelsim_kernels.requantize (and of the kernels' `requantize=`)."""
        return {
            "scheme": self.scheme,
            **self.params,
            "zero_point": self.zero_point,
            "qmin": self.qmin,
            "qmax": self.qmax,
        }

    @property
    def channels(self) -> int | None:
        """Length of the per-channel parameters, None where all are scalars."""
        return self.bound().channels

    @classmethod
    def from_scale(
        cls, scheme: str, scale: Any, *, zero_point: int = 0, qmin: Any = -128, qmax: Any = 127, **how: Any
    ) -> Requantizer:
        """The requantizer of a real scale, or of (input_scale, weight_scale, output_scale): see decompose().

        For finn-thresholds the thresholds stand for clamp(half_up(acc * scale) + zero_point, qmin, qmax), and
        the stored zero_point is qmin, the code below the first threshold.
        """
        if scheme == "finn-thresholds":
            thresholds = _thresholds(_effective(scheme, scale, how.get("product")), zero_point, qmin, qmax)
            return cls(scheme, {"thresholds": thresholds}, qmin, qmin, qmax)
        return cls(scheme, decompose(scheme, scale, **how), zero_point, qmin, qmax)


def effective_scale(input_scale: Any, weight_scale: Any, output_scale: Any, product: str = "float64") -> Any:
    """input_scale * weight_scale / output_scale in the precision that `product` names (a key of PRODUCTS).

    Scales: float32 numbers or 1-D arrays of them (others are rounded to float32 first, as a file would).
    Returns float64, scalar or per channel.
    """
    if product not in PRODUCTS:
        raise AccelsimError(f"unknown scale product {product!r}; known: {', '.join(PRODUCTS)}")
    a, b, c = (np.asarray(s, np.float32) for s in (input_scale, weight_scale, output_scale))
    if not all(np.isfinite(s).all() and (s > 0).all() for s in (a, b, c)):
        raise AccelsimError("input, weight and output scales must be positive, finite float32 numbers")
    if product == "float64" or (product == "float32-product" and b.ndim):
        return a.astype(np.float64) * b.astype(np.float64) / c.astype(np.float64)
    if product == "float32-product":
        return (a * b).astype(np.float64) / c.astype(np.float64)
    return (a * b / c).astype(np.float64)


def decompose(
    scheme: str, scale: Any, *, product: str | None = None, bits: int = 32, nearest: bool = False
) -> dict[str, Any]:
    """The parameters of a scheme for a real scale, by the scheme's own rule.

    scale: positive number; 1-D array, one per output channel; or the tuple (input_scale, weight_scale,
    output_scale), whose product is taken as `product` says (a key of PRODUCTS; default: float32 for the
    float32 schemes, float64 for the others).
    bits: width of the signed integer multiplier, 4 .. 32 (multiplier schemes only): lower bits are 0.
    nearest: for the power-of-two schemes, take the nearest power of two instead of refusing any other scale.
    Returns {parameter: scalar or array}. Raises AccelsimError where the scheme cannot express the scale.
    Sources: TensorFlow Lite quantization_util.cc, QuantizeMultiplier; kernels/README.md R1 to R20.
    """
    if scheme not in SCHEMES:
        raise AccelsimError(f"unknown requantization scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    if not isinstance(bits, Integral) or not 4 <= bits <= 32:
        raise AccelsimError(f"multiplier width must be 4 to 32 bits, got {bits!r}")
    real = _effective(scheme, scale, product)
    if scheme == "finn-thresholds":
        raise AccelsimError("finn-thresholds needs zero_point, qmin and qmax: use Requantizer.from_scale")
    params = {name: _like(real, value) for name, value in _parameters(scheme, real, bits, nearest).items()}
    try:
        domain.bind(scheme, **params)
    except ValueError as error:
        raise AccelsimError(f"{scheme} cannot express scale {np.max(real):g}: {error}") from None
    return params


def _parameters(scheme: str, real: np.ndarray, bits: int, nearest: bool) -> dict[str, np.ndarray]:
    if scheme in FLOAT32_SCHEMES:
        return {"scale": real.astype(np.float32).astype(np.float64)}
    if scheme == "real-double":
        return {"scale": real}
    if scheme in ("shift", "ap-fixed"):
        return {"shift": _power_of_two(scheme, real, nearest)}
    if scheme == "nvdla":
        multiplier, shift = _mantissa(real, 15)
        return {"offset": np.zeros_like(shift), "scale": multiplier, "shift": shift - 15}
    if scheme == "tosa-16":
        multiplier, shift = _mantissa(real, min(bits - 1, 15))
        multiplier = multiplier << (15 - min(bits - 1, 15))
    else:
        multiplier, shift = _mantissa(real, bits - 1)
        multiplier = multiplier << (32 - bits)
        tiny = shift < -31
        multiplier, shift = np.where(tiny, 0, multiplier), np.where(tiny, 0, shift)
        if scheme == "cmsis-nn-s64":
            multiplier = domain.reduced_multiplier(multiplier)
    return {"multiplier": multiplier, "shift": shift}


def _effective(scheme: str, scale: Any, product: str | None) -> np.ndarray:
    """The real scale as float64, scalar or 1-D."""
    if isinstance(scale, tuple):
        if len(scale) != 3:
            raise AccelsimError("a tuple of scales must be (input_scale, weight_scale, output_scale)")
        default = "float32" if scheme in FLOAT32_SCHEMES else "float64"
        real = np.asarray(effective_scale(*scale, product=product or default))
    else:
        try:
            real = np.asarray(scale, np.float64)
        except (TypeError, ValueError):
            raise AccelsimError(f"scale must be a positive number or one per channel, got {scale!r}") from None
    if real.ndim > 1 or real.size == 0 or not (np.isfinite(real).all() and (real > 0).all()):
        raise AccelsimError(f"scale must be positive and finite, a number or one per channel, got {scale}")
    return real


def _mantissa(real: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """(q, e): real is about q * 2**(e - digits), 2**(digits-1) <= q < 2**digits, q rounded half away."""
    fraction, exponent = np.frexp(real)
    q = np.floor(np.ldexp(fraction, digits) + 0.5).astype(np.int64)
    exponent = exponent.astype(np.int64)
    full = q == 2**digits
    return np.where(full, q >> 1, q), exponent + full


def _power_of_two(scheme: str, real: np.ndarray, nearest: bool) -> np.ndarray:
    fraction, exponent = np.frexp(real)
    if not nearest and (fraction != 0.5).any():
        bad = float(np.atleast_1d(real)[np.atleast_1d(fraction != 0.5)][0])
        raise AccelsimError(
            f"{scheme} can express powers of two only, got scale {bad!r}: choose power-of-two scales for "
            "input, weight and output, or pass nearest=True"
        )
    return exponent.astype(np.int64) - 1 + (fraction > np.sqrt(0.5))


def _thresholds(real: np.ndarray, zero_point: int, qmin: int, qmax: int) -> np.ndarray:
    """T_k = ceil((k - 1/2 - zero_point) / scale) for k in qmin + 1 .. qmax, exactly (R17)."""
    from fractions import Fraction
    from math import ceil

    rows = [
        [ceil(Fraction(2 * (k - zero_point) - 1, 2) / Fraction(float(s))) for k in range(qmin + 1, qmax + 1)]
        for s in np.atleast_1d(real)
    ]
    return np.array(rows if real.ndim else rows[0], np.int64)


def _like(real: np.ndarray, values: np.ndarray) -> Any:
    """A Python number where the scale was one, else the array."""
    return values if real.ndim else values.item()
