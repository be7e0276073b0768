"""Legal parameters and accumulators of every scheme; no Numba, no arithmetic of the schemes themselves.

The fast kernels and their reference twins both start here, so that what one refuses the other refuses too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .names import ARITHMETIC, Scheme
from .names import scheme as look_up

_I32 = 2**31
#: multipliers: highest legal value
_MULTIPLIER_MAX = {"tosa-16": 2**15 - 1, "cmsis-nn-s64": 2**15 - 1}
#: TFLite shifts (positive = left): lowest and highest legal value
SHIFT_RANGE = {
    "tflite-double": (-31, 30),
    "tflite-ruy": (-31, 30),
    "tflite-single": (-31, 30),
    "tflite-int16x8": (-31, 7),
    "tosa-single": (-31, 29),
    "tosa-double": (-31, 29),
    "tosa-16": (-47, 13),
    "cmsis-nn": (-31, 30),
    "cmsis-nn-s64": (-31, 7),
    "nvdla": (-63, 0),
    "shift": (-62, 62),
    "ap-fixed": (-62, 62),
}
#: float32 scales: lowest legal value and the first illegal one above
_SCALE = {
    "qnnpack-q31": (2.0**-32, 1.0),
    "qnnpack-precise": (2.0**-32, 1.0),
    "xnnpack-rndnu": (2.0**-32, 256.0),
}


@dataclass(frozen=True)
class Bound:
    """A scheme with checked parameters.

    values: the scheme's numeric parameters, each an array of shape (1,) or (channels,); thresholds are
    (1, n) or (channels, n). zero_point, qmin, qmax: int64 arrays of shape (1,) or (channels,).
    channels: None where every parameter is a scalar.
    """

    name: str
    scheme: Scheme
    values: tuple[np.ndarray, ...]
    options: dict[str, str]
    zero_point: np.ndarray
    qmin: np.ndarray
    qmax: np.ndarray
    channels: int | None

    @property
    def output_dtype(self) -> np.dtype:
        """The narrowest integer type that holds [qmin, qmax] of every channel."""
        return narrowest_dtype(int(self.qmin.min()), int(self.qmax.max()))

    def accumulator_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest legal accumulator, int64, shape (1,) or (channels,)."""
        return accumulator_range(self.name, self.values)

    def check(self, acc: np.ndarray) -> None:
        """ValueError naming the first accumulator outside the scheme's domain, or a wrong dtype or shape."""
        if acc.dtype.kind not in "iu":
            raise ValueError(f"accumulators must be integers, got {acc.dtype}")
        if self.channels is not None and (acc.ndim == 0 or acc.shape[-1] != self.channels):
            raise ValueError(f"{self.name}: parameters for {self.channels} channels, accumulators of shape {acc.shape}")
        low, high = self.accumulator_range()
        info = np.iinfo(acc.dtype)
        if acc.size == 0 or (info.min >= low.max() and info.max <= high.min()):
            return
        wide = acc.astype(np.int64) if acc.dtype != np.uint64 else acc
        wrong = (wide < low) | (wide > high)
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            channel = index[-1] if index and len(low) > 1 else 0
            parameters = ", ".join(
                f"{n}={v[channel if len(v) > 1 else 0]}"
                for n, v in zip(self.scheme.params, self.values, strict=False)
                if v.ndim == 1
            )
            raise ValueError(
                f"{self.name} ({parameters}) is not defined for accumulator {int(acc[index])} "
                f"at index {index}: its domain is [{int(low[channel])}, {int(high[channel])}]"
            )


def bind(name: str, args: tuple = (), *, zero_point=0, qmin=-128, qmax=127, **params) -> Bound:
    """Check and normalise the parameters of a scheme.

    args, params: as in requantize(). Raises ValueError for an unknown scheme, a missing, unknown or duplicate
    parameter, a value outside the scheme's legal range, arrays of different lengths, or qmin > qmax.
    """
    scheme = look_up(name)
    given = dict(zip(scheme.params, args, strict=False))
    if len(args) > len(scheme.params):
        raise ValueError(f"{name} takes {len(scheme.params)} positional parameters, got {len(args)}")
    for key, value in params.items():
        if key in given:
            raise ValueError(f"{name}: parameter {key!r} given twice")
        given[key] = value
    options = options_of(name, {key: given.pop(key) for key in scheme.options if key in given})
    names = scheme.params
    if options.get("rounding") == "stochastic":
        names = (*names, "seed")
        given.setdefault("seed", 0)
    if set(given) != set(names):
        missing = ", ".join(sorted(set(names) - set(given)))
        extra = ", ".join(sorted(set(given) - set(names)))
        parts = [f"missing {missing}" if missing else "", f"unknown {extra}" if extra else ""]
        accepted = ", ".join((*names, *scheme.options))
        raise ValueError(f"{name} takes {accepted}: {'; '.join(p for p in parts if p)}")
    values = tuple(_parameter(name, key, given[key]) for key in names)
    limits = [_integers(name, k, v) for k, v in (("zero_point", zero_point), ("qmin", qmin), ("qmax", qmax))]
    if scheme.zero_point == "none" and limits[0].any():
        raise ValueError(f"{name} has no zero point: zero_point must be 0, got {zero_point}")
    if (limits[1] > limits[2]).any():
        raise ValueError(f"{name}: qmin {qmin} is above qmax {qmax}")
    if name == "ap-fixed":
        _check_ap_range(limits[1], limits[2], options["overflow"])
    if max(int(np.abs(v).max()) for v in limits) > 2**48:
        raise ValueError(f"{name}: zero_point, qmin and qmax must lie within 48 bits")
    lengths = {len(v) for v in (*values, *limits)} - {1}
    if len(lengths) > 1:
        raise ValueError(f"{name}: per-channel parameters of different lengths {sorted(lengths)}")
    zero, low, high = limits
    return Bound(name, scheme, values, options, zero, low, high, channels=lengths.pop() if lengths else None)


def narrowest_dtype(low: int, high: int) -> np.dtype:
    """The first of int8, uint8, int16, uint16, int32, int64 that holds [low, high]."""
    if low > high:
        raise ValueError(f"qmin {low} is above qmax {high}")
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64):
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            return np.dtype(dtype)
    raise ValueError(f"[{low}, {high}] fits no 64-bit integer")


def arithmetic_of(operator: str, name: str, given: dict) -> None:
    """ValueError unless `name` is an arithmetic of the operator and `given` has exactly its keywords."""
    forms = ARITHMETIC[operator]
    if name not in forms:
        raise ValueError(f"{operator}: unknown arithmetic {name!r}; known: {', '.join(forms)}")
    if set(given) != set(forms[name]):
        wanted = ", ".join(forms[name]) or "no further parameters"
        raise ValueError(f"{operator} with arithmetic {name!r} takes {wanted}; got {list(given)}")


def codes(name: str, array) -> np.ndarray:
    """An array of integer codes; ValueError naming it where it is of another kind."""
    array = np.asarray(array)
    if array.dtype.kind not in "iu" or array.dtype == np.uint64:
        raise ValueError(f"{name} must be integer codes, got {array.dtype}")
    return array


def options_of(name: str, given: dict[str, str]) -> dict[str, str]:
    """The scheme's named choices with defaults filled in; ValueError for an unknown option or value."""
    scheme = look_up(name)
    for key in given:
        if key not in scheme.options:
            raise ValueError(f"{name} has no option {key!r}; it has {', '.join(scheme.options) or 'none'}")
    options = {key: given.get(key, legal[0]) for key, legal in scheme.options.items()}
    for key, value in options.items():
        if value not in scheme.options[key]:
            raise ValueError(f"{name}: {key} {value!r} is not one of {', '.join(scheme.options[key])}")
    return options


def _check_ap_range(qmin: np.ndarray, qmax: np.ndarray, overflow: str) -> None:
    span = qmax - qmin + 1
    if (span & (span - 1)).any() or ((qmin != 0) & (qmin != -span // 2)).any():
        raise ValueError("ap-fixed: [qmin, qmax] must be the range of an integer type, e.g. [-128, 127]")
    if overflow == "AP_WRAP_SM" and (qmin == 0).any():
        raise ValueError("ap-fixed: AP_WRAP_SM is defined for signed types only")


def accumulator_range(name: str, values: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest accumulator for which the scheme is defined, int64 arrays, one per channel.

    Outside it the runtimes' own code overflows (undefined behaviour in C) or the specification says
    "unpredictable".
    """
    bits = look_up(name).accumulator_bits
    top = 2 ** (bits - 1)
    if name in ("tflite-double", "tflite-ruy", "cmsis-nn"):  # acc << shift must fit int32
        high = np.int64(top) >> np.maximum(values[1], 0)
        return -high, high - 1
    if name in ("tosa-single", "tosa-double", "tosa-16"):
        if name != "tosa-16":  # REQUIRE(-2**(s-1) <= acc < 2**(s-1))
            high = np.minimum(np.int64(1) << np.minimum(30 - values[1], 62), top)
            return -high, high - 1
        return _result_fits_int32(values[0], 15 - values[1], top)
    if name == "tflite-single":
        return _result_fits_int32(values[0], 31 - values[1], top)
    if name == "tflite-int16x8":
        return _result_fits_int32(reduced_multiplier(values[0]), 15 - values[1], top)
    if name == "cmsis-nn-s64":  # the intermediate with one extra bit is cast to int32
        return _result_fits_int32(values[0], 14 - values[1], top, half=False)
    if name in ("shift", "ap-fixed"):
        high = np.int64(2**62) >> np.maximum(values[0], 0)
        return -high, high - 1
    return np.array([-top]), np.array([top - 1])


def reduced_multiplier(multiplier: np.ndarray) -> np.ndarray:
    """A 31-bit multiplier rounded to 15 bits and held below 2**15 (R4)."""
    return np.where(multiplier < 0x7FFF0000, (multiplier + 2**15) >> 16, 0x7FFF)


def _result_fits_int32(multiplier, right, top, half=True) -> tuple[np.ndarray, np.ndarray]:
    """Accumulators below `top` in magnitude whose (acc * multiplier [+ half]) >> right fits int32."""
    low, high = [], []
    for m, s in np.broadcast(multiplier, right):
        m, s = max(int(m), 1), int(s)
        nudge = 2 ** (s - 1) if half else 0
        low.append(max(-(((_I32 << s) + nudge) // m), -top))
        high.append(min(((_I32 << s) - nudge - 1) // m, top - 1))
    return np.array(low, np.int64), np.array(high, np.int64)


def _parameter(name: str, key: str, value) -> np.ndarray:
    if key == "scale" and name != "nvdla":
        return _scales(name, value)
    if key == "thresholds":
        return _thresholds(name, value)
    array = _integers(name, key, value)
    low, high = {
        "multiplier": (0, _MULTIPLIER_MAX.get(name, _I32 - 1)),
        "shift": SHIFT_RANGE.get(name, (0, 0)),
        "offset": (-_I32, _I32 - 1),
        "scale": (-(2**15), 2**15 - 1),
        "seed": (0, 2**63 - 1),
    }[key]
    if array.min() < low or array.max() > high:
        bad = int(array[(array < low) | (array > high)][0])
        raise ValueError(f"{name}: {key} {bad} is outside its legal range [{low}, {high}]")
    return array


def _integers(name: str, key: str, value) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"{name}: {key} must be a number or one number per channel, got shape {array.shape}")
    if array.dtype.kind not in "iu" or (array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max):
        raise ValueError(f"{name}: {key} must be integers of at most 64 bits, got {value!r}")
    return np.atleast_1d(array).astype(np.int64)


def _scales(name: str, value) -> np.ndarray:
    array = np.atleast_1d(np.asarray(value, np.float64))
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"{name}: scale must be a number or one per channel, got shape {array.shape}")
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"{name}: scale must be positive and finite, got {value}")
    if name == "real-double":
        return array
    single = array.astype(np.float32)
    if (single.astype(np.float64) != array).any():
        raise ValueError(f"{name}: scale {value} is not a float32 number; round it first (see decompose)")
    low, high = _SCALE.get(name, (0.0, np.inf))
    if (single < low).any() or (single >= high).any():
        raise ValueError(f"{name}: scale {value} is outside [{low}, {high})")
    return single


def _thresholds(name: str, value) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name}: thresholds must be integers of shape (n,) or (channels, n)")
    array = np.atleast_2d(array).astype(np.int64)
    if (np.diff(array, axis=1) < 0).any():
        raise ValueError(f"{name}: thresholds of each channel must be sorted")
    return array
