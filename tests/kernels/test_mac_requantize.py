"""Requantization fused into a product equals requantize() on the accumulators, for every scheme."""

from __future__ import annotations

import numpy as np
import pytest
from accelsim_kernels import conv2d, matmul, pack, reference, requantize, simd
from accelsim_kernels.names import SCHEMES
from mac_cases import operand
from requantize_cases import NO_ZERO_POINT, accumulators, corner_parameters


@pytest.fixture(params=simd.available())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELSIM_ISA", request.param)
    simd.current.cache_clear()
    yield
    simd.current.cache_clear()


def fused_and_apart(acc: np.ndarray, keywords: dict) -> None:
    """Products with chosen accumulators: the bias, since all activations are zero."""
    a, b = np.zeros((3, 4), np.uint8), pack(np.ones((4, len(acc)), np.int8))
    expected = requantize(np.broadcast_to(acc, (3, len(acc))).astype(np.int32), **keywords)
    got = matmul(a, b, bias=acc, requantize=keywords)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected, err_msg=str(keywords))


@pytest.mark.parametrize("name", SCHEMES)
def test_corners_of_every_scheme(name: str) -> None:
    for params in corner_parameters(name):
        if SCHEMES[name].options and len(params) > 1 and "floor" not in params.values():
            continue  # each option is compiled apart, and tested with requantize()
        acc = accumulators(name, params)
        acc = acc[(acc >= -(2**31)) & (acc < 2**31)]
        zero_point = 0 if name in NO_ZERO_POINT else -3
        fused_and_apart(acc, {"scheme": name, **params, "qmin": -128, "qmax": 127, "zero_point": zero_point})


@pytest.mark.parametrize("name", ["tflite-double", "tflite-ruy", "tflite-single", "cmsis-nn", "onnx-float"])
@pytest.mark.parametrize(
    "zero_point, qmin, qmax",
    [(5, 0, 255), (0, -(2**15), 2**15 - 1), (-100, -(2**31), 2**31 - 1), (2**20, -(2**21), 2**21), (7, 7, 7)],
)
def test_wide_and_narrow_limits(isa: None, name: str, zero_point: int, qmin: int, qmax: int) -> None:
    for params in corner_parameters(name)[::3]:
        acc = accumulators(name, params)
        acc = acc[(acc >= -(2**31)) & (acc < 2**31)]
        fused_and_apart(acc, {"scheme": name, **params, "qmin": qmin, "qmax": qmax, "zero_point": zero_point})


@pytest.mark.parametrize("scale", [2.0**-24, 0.5, 0.75, 0.99, 1.0, 1.5, 4.0, 1e30])
@pytest.mark.parametrize("zero_point, qmin, qmax", [(-128, -128, 127), (255, 0, 255), (3, -5, 90), (2**14, -100, 100)])
def test_float_scales_up_to_where_products_leave_32_bits(
    isa: None, scale: float, zero_point: int, qmin: int, qmax: int
) -> None:
    """Whichever instruction rounds and clips: sums at both ends, at ties and around the last whole float32."""
    ends = [-(2**31), -(2**31) + 1, 2**31 - 129, 2**31 - 1, 2**24 + 1, -(2**24) - 1, *range(-40, 40), -(2**15), 2**15]
    acc = np.array(ends, np.int64)
    keywords = {"scheme": "onnx-float", "scale": float(np.float32(scale)), "qmin": qmin, "qmax": qmax}
    keywords |= {"zero_point": zero_point}
    fused_and_apart(acc, keywords)
    x, w = np.zeros((1, 3, 5, len(acc)), np.uint8), np.ones((len(acc), 3, 3, 1), np.int8)
    padding = ((1, 1), (1, 1))
    depthwise = conv2d(x, w, padding=padding, groups=len(acc), bias=acc, requantize=keywords)
    np.testing.assert_array_equal(depthwise[0, 1, 2], requantize(acc.astype(np.int32), **keywords))


@pytest.mark.parametrize("groups, outputs", [(1, 70), (2, 10), (12, 12), (12, 24)])
@pytest.mark.parametrize("scheme", ["tflite-double", "onnx-float", "finn-thresholds", "real-double"])
def test_per_channel_parameters_in_every_layout(isa: None, groups: int, outputs: int, scheme: str) -> None:
    rng = np.random.default_rng(9)
    x = operand(rng, (2, 6, 7, 12), "uint8")
    w = operand(rng, (outputs, 3, 3, 12 // groups), "int8")
    params = {
        "tflite-double": {
            "multiplier": rng.integers(2**30, 2**31, outputs),
            "shift": rng.integers(-12, -6, outputs),
            "zero_point": 4,
        },
        "onnx-float": {"scale": rng.uniform(0.001, 0.02, outputs).astype(np.float32), "zero_point": 4},
        "finn-thresholds": {"thresholds": np.sort(rng.integers(-9000, 9000, (outputs, 15)), axis=1)},
        "real-double": {"scale": rng.uniform(0.001, 0.02, outputs)},
    }[scheme]
    limits = {"qmin": 0, "qmax": 15} if scheme == "finn-thresholds" else {
        "qmin": rng.integers(-128, 0, outputs), "qmax": rng.integers(0, 128, outputs)}  # fmt: skip
    keywords = {
        "padding": ((1, 1), (1, 0)),
        "groups": groups,
        "x_zero_point": 9,
        "bias": rng.integers(-99, 99, outputs),
        "requantize": {"scheme": scheme, **params, **limits},
    }
    np.testing.assert_array_equal(conv2d(x, w, **keywords), reference.conv2d(x, w, **keywords))


def test_saturating_accumulators_are_requantized_too() -> None:
    rng = np.random.default_rng(10)
    a, b = operand(rng, (9, 64), "uint8"), operand(rng, (64, 40), "int8")
    scheme = {"scheme": "tflite-double", "multiplier": 1 << 30, "shift": -7, "qmin": -128, "qmax": 127}
    for bits in (14, 16, 18):
        keywords = {"accumulator_bits": bits, "overflow": "saturate", "return_events": True, "requantize": scheme}
        got, expected = matmul(a, b, **keywords), reference.matmul(a, b, **keywords)
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])


def test_accumulators_outside_a_schemes_domain_are_refused() -> None:
    a, b = np.full((1, 8), 255, np.uint8), np.full((8, 3), 127, np.int8)
    scheme = {"scheme": "tflite-double", "multiplier": 1 << 30, "shift": 20, "qmin": -128, "qmax": 127}
    with pytest.raises(ValueError, match="is not defined for accumulator"):
        matmul(a, b, requantize=scheme)
