"""Elementwise operators and pools: the fast kernels equal their reference twins, whatever the arithmetic."""

from __future__ import annotations

import accelsim_kernels as fast
import accelsim_kernels.reference as slow
import numpy as np
import pytest
from accelsim_kernels.names import ARITHMETIC, ROUNDINGS
from corners import of_dtype

DTYPES = ("int8", "uint8", "int16", "uint16")
DIVISIONS = [r for r in ROUNDINGS if r != "stochastic"]


def codes(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def limits(dtype):
    info = np.iinfo(dtype)
    return {"qmin": int(info.min), "qmax": int(info.max)}


def both(name, *args, **keywords):
    """The result of the fast kernel, equal to the reference in value and type."""
    result, truth = getattr(fast, name)(*args, **keywords), getattr(slow, name)(*args, **keywords)
    assert result.dtype == truth.dtype
    np.testing.assert_array_equal(result, truth)
    return result


@pytest.mark.parametrize("arithmetic", ARITHMETIC["quantize"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quantize_equals_the_reference(arithmetic, dtype):
    rng = np.random.default_rng(0)
    ties = np.arange(-280, 284, 3) / 2
    for scale in (1.0, 0.5, 0.1, 0.007874016):
        x = np.concatenate([ties * scale, rng.normal(0, 40 * scale, 50), [np.inf, -np.inf, 0.0, -0.0]]).astype(dtype)
        near = np.concatenate([x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)])
        for zero_point in (0, 3, -128):
            both("quantize", near, scale=scale, zero_point=zero_point, arithmetic=arithmetic)
    both(
        "quantize",
        ties.reshape(-1, 2).astype(dtype),
        scale=np.array([0.5, 3.0]),
        zero_point=np.array([1, 0]),
        qmin=-8,
        qmax=7,
        arithmetic=arithmetic,
    )


def test_quantize_ties_of_each_arithmetic():
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    results = {a: fast.quantize(x, scale=1.0, zero_point=1, arithmetic=a).tolist() for a in ARITHMETIC["quantize"]}
    assert results == {
        "half-away": [-2, -1, 0, 2, 3, 4],
        "half-even": [-1, -1, 1, 1, 3, 3],
        "half-up": [-1, 0, 1, 2, 3, 4],
        "reciprocal": [-1, -1, 1, 1, 3, 3],
        "zero-point-first": [-2, 0, 0, 2, 2, 4],
    }


def test_quantize_refuses_nan_and_integers():
    with pytest.raises(ValueError, match=r"NaN at index \(1,\)"):
        fast.quantize(np.array([0.0, np.nan]), scale=1.0)
    with pytest.raises(ValueError, match="float32 or float64"):
        fast.quantize(np.array([1, 2]), scale=1.0)
    with pytest.raises(ValueError, match="unknown arithmetic 'nearest'; known: half-away"):
        fast.quantize(np.zeros(1), scale=1.0, arithmetic="nearest")


@pytest.mark.parametrize("dtype", DTYPES)
def test_dequantize_equals_the_reference(dtype):
    q = of_dtype(dtype)
    for real in ("float32", "float64"):
        both("dequantize", q, scale=0.007874016, zero_point=5, dtype=real)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rescale_clamp_lut_pad_concat(dtype):
    rng = np.random.default_rng(1)
    x = codes(rng, dtype, (2, 3, 4, 5))
    how = {"scheme": "tflite-double", "multiplier": 1518500250, "shift": 1, "zero_point": 7, **limits(dtype)}
    moved = both("rescale", x, x_zero_point=9, requantize=how)
    both("clamp", x, qmin=3, qmax=90)
    low = int(np.iinfo(dtype).min)
    table = codes(rng, "int8", 2 ** np.iinfo(dtype).bits)
    both("lut", x, table, lowest=low)
    both("pad", x, padding=((0, 0), (1, 2), (3, 0), (0, 0)), value=11)
    joined = both("concat", [x, x], axis=3, requantize=[None, how], zero_points=[0, 9])
    np.testing.assert_array_equal(joined[..., 5:], moved)


def test_lut_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="need a 1-D table"):
        fast.lut(np.array([5], np.int8), np.zeros(4, np.int8), lowest=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ["tflite-double", "tflite-ruy", "tflite-single", "tosa-double"])
def test_add_rescale(dtype, scheme):
    rng = np.random.default_rng(2)
    a, b = np.meshgrid(of_dtype(dtype), of_dtype(dtype))
    left = {"left_shift": 20 if a.dtype.itemsize == 1 else 14, "scheme": scheme}
    for _ in range(4):
        ma, mb, mo = (int(m) for m in rng.integers(2**30, 2**31, 3))
        both(
            "add",
            a,
            b,
            arithmetic="rescale",
            a_zero_point=3,
            b_zero_point=-2,
            zero_point=1,
            **limits(dtype),
            a_multiplier=ma,
            a_shift=0,
            b_multiplier=mb,
            b_shift=-3,
            multiplier=mo,
            shift=-left["left_shift"],
            **left,
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_float32(dtype):
    rng = np.random.default_rng(3)
    a, b = np.meshgrid(of_dtype(dtype), of_dtype(dtype))
    for scales in (rng.uniform(0.01, 0.1, 3), (0.125, 0.21875, 0.4375), (1.0, 2.0**-20, 1.0)):
        both(
            "add",
            a,
            b,
            arithmetic="float32",
            a_scale=scales[0],
            b_scale=scales[1],
            scale=scales[2],
            a_zero_point=98,
            b_zero_point=40,
            zero_point=102,
            **limits(dtype),
        )


@pytest.mark.parametrize("rounding", ROUNDINGS[:-1])
def test_add_power_of_two(rounding):
    a, b = np.meshgrid(of_dtype("int8"), of_dtype("int8"))
    both(
        "add",
        a,
        b,
        arithmetic="power-of-two",
        a_shift=2,
        b_shift=0,
        shift=-3,
        rounding=rounding,
        a_zero_point=1,
    )


@pytest.mark.parametrize("rounding", ["half_up", "half_away"])
def test_add_weighted(rounding):
    for dtype in DTYPES:
        a, b = np.meshgrid(of_dtype(dtype), of_dtype(dtype))
        how = {"arithmetic": "weighted", "a_multiplier": 1048577, "b_multiplier": 700001, "shift": -21}
        both("add", a, b, rounding=rounding, a_zero_point=3, b_zero_point=-2, zero_point=1, **limits(dtype), **how)
        both("sub", a, b, rounding=rounding, a_zero_point=3, b_zero_point=-2, zero_point=1, **limits(dtype), **how)


def test_add_broadcasts():
    a, b = np.arange(6, dtype=np.int8).reshape(2, 3), np.array([1, 2, 3], np.int8)
    keywords = {"arithmetic": "power-of-two", "a_shift": 0, "b_shift": 0, "shift": 0, "rounding": "floor"}
    np.testing.assert_array_equal(both("add", a, b, **keywords), a + b)


POOLS = [
    {"window": (2, 2), "stride": (2, 2)},
    {"window": (3, 3), "stride": (1, 1), "padding": ((1, 1), (1, 1))},
    {"window": (3, 2), "stride": (2, 1), "padding": ((0, 2), (1, 0))},
    {"window": (5, 6), "stride": (1, 1)},
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", POOLS)
def test_max_pool(dtype, geometry):
    x = codes(np.random.default_rng(4), dtype, (2, 5, 6, 3))
    both("max_pool2d", x, **geometry)
    both("max_pool2d", x, qmin=2, qmax=50, **geometry)


AVERAGES = [
    {"arithmetic": "raw-codes"},
    {"arithmetic": "reciprocal", "zero_point": 4},
    {"arithmetic": "float32", "input_scale": 0.037, "scale": 0.05, "zero_point": 4},
    *({"arithmetic": "exact", "shift": s, "rounding": r, "zero_point": 4} for r in DIVISIONS for s in (0, 1, -1)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("divisor", ["valid", "window"])
def test_average_pool(dtype, divisor):
    x = codes(np.random.default_rng(5), dtype, (2, 5, 6, 3))
    for geometry in POOLS:
        for how in AVERAGES:
            both(
                "average_pool2d",
                x,
                divisor=divisor,
                x_zero_point=7,
                **limits(dtype),
                **geometry,
                **{"zero_point": 7, **how},
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_average_pool_by_two_reciprocals(dtype):
    x = codes(np.random.default_rng(6), dtype, (2, 5, 6, 3))
    for geometry in POOLS:
        both("average_pool2d", x, divisor="window", arithmetic="two-roundings", x_zero_point=7, **limits(dtype),
             **geometry)  # fmt: skip
    with pytest.raises(ValueError, match="divides by whole windows"):
        fast.average_pool2d(x, window=(2, 2), padding=((1, 0), (0, 0)), arithmetic="two-roundings")


def test_raw_codes_tie_away_from_code_zero_not_from_the_zero_point():
    x = np.array([-3, -2], np.int8).reshape(1, 1, 2, 1)
    average = {"window": (1, 2), "x_zero_point": -10}
    assert both("average_pool2d", x, arithmetic="raw-codes", **average).item() == -3
    assert both("average_pool2d", x, arithmetic="reciprocal", **average).item() == -2


def test_average_of_nothing_and_two_zero_points_are_refused():
    x = np.zeros((1, 2, 2, 1), np.int8)
    with pytest.raises(ValueError, match="without a single valid tap"):
        fast.average_pool2d(x, window=(1, 1), padding=((1, 1), (0, 0)), arithmetic="raw-codes")
    with pytest.raises(ValueError, match="one zero point"):
        fast.average_pool2d(x, window=(1, 1), arithmetic="raw-codes", x_zero_point=1, zero_point=2)
    with pytest.raises(ValueError, match="do not fit an image of 2 x 2"):
        fast.max_pool2d(x, window=(3, 3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean(dtype):
    x = codes(np.random.default_rng(6), dtype, (2, 3, 5, 4))
    how = {"scheme": "onnx-float", "scale": 0.0625, "zero_point": 2, **limits(dtype)}
    result = both("mean", x, arithmetic="requantize", x_zero_point=3, requantize=how)
    assert result.shape == (2, 1, 1, 4)
    for rounding in DIVISIONS:
        both(
            "mean",
            x,
            arithmetic="exact",
            shift=-1,
            rounding=rounding,
            zero_point=2,
            x_zero_point=3,
            **limits(dtype),
        )
