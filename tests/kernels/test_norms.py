"""Layer norm, RMS norm and masked softmax: fast equals reference, and both stay near the real functions."""

from __future__ import annotations

import math

import accelsim_kernels as fast
import accelsim_kernels.reference as slow
import numpy as np
import pytest
from accelsim_kernels.norms import inverse_square_root
from accelsim_kernels.reference import norms as slow_norms
from corners import of_dtype
from hypothesis import given
from hypothesis import strategies as st

RESCALE = {"scheme": "tflite-double", "multiplier": 1518500250, "shift": -12, "zero_point": 3}


def both(name, *args, **keywords):
    result, truth = getattr(fast, name)(*args, **keywords), getattr(slow, name)(*args, **keywords)
    assert result.dtype == truth.dtype
    np.testing.assert_array_equal(result, truth)
    return result


def operands(rng, dtype, rows, count):
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (rows, count)).astype(dtype)
    gamma, beta = rng.integers(-127, 128, count).astype(np.int8), rng.integers(-(2**18), 2**18, count)
    return x, gamma, beta


def test_root_is_exact_at_every_power_and_square():
    values = {1, 2, 3, (1 << 62) - 1}
    for k in range(62):
        values |= {v for v in ((1 << k) - 1, 1 << k, (1 << k) + 1) if v >= 1}
    for root in (1, 2, 3, 46341, 2**20 + 1, 2**30 - 1, 2**30, 2**31 - 1):
        values |= {v for v in (root * root - 1, root * root, root * root + 1) if 1 <= v < 1 << 62}
    ordered = sorted(values)
    inverse, half = inverse_square_root(np.array(ordered, np.int64))
    for value, i, h in zip(ordered, inverse.tolist(), half.tolist(), strict=True):
        assert (i, h) == slow_norms.inverse_square_root(value)
        assert 2**30 <= i <= 2**31
        assert abs(i * 2.0 ** (h - 61) * math.sqrt(value) - 1) < 2**-29


@given(st.integers(1, (1 << 62) - 1))
def test_root_is_exact(value):
    inverse, half = inverse_square_root(np.array([value], np.int64))
    assert (int(inverse[0]), int(half[0])) == slow_norms.inverse_square_root(value)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("count", [1, 2, 7, 64, 300])
def test_fast_is_reference(name, dtype, count):
    rng = np.random.default_rng(count)
    x, gamma, beta = operands(rng, dtype, 6, count)
    x[0] = x[0, 0]  # a constant row
    x[1] = 0
    x[2] = np.resize(of_dtype(dtype), count)
    zero = {"x_zero_point": 5} if name == "rms_norm" else {}
    for epsilon in (1, 977, 1 << 40):
        how = {"epsilon": epsilon, "fraction_bits": 8, "requantize": RESCALE, **zero}
        both(name, x, gamma, beta=beta, **how)
        both(name, x, gamma, **how)


@pytest.mark.parametrize("count", [16, 192])
def test_near_the_real_norms(count):
    rng = np.random.default_rng(0)
    scale, eps, fraction_bits, gamma_scale, output_scale = 0.03, 1e-5, 10, 1 / 64, 6 / 256
    x, gamma, _ = operands(rng, "int8", 40, count)
    beta = rng.integers(-2000, 2000, count)
    beta_real = beta * gamma_scale / 2**fraction_bits
    multiplier, exponent = math.frexp(gamma_scale / 2**fraction_bits / output_scale)
    how = {
        "epsilon": max(1, round(count**2 * eps / scale**2)),
        "fraction_bits": fraction_bits,
        "requantize": {"scheme": "tflite-double", "multiplier": round(multiplier * 2**31), "shift": exponent},
    }
    real = scale * (x.astype(float) - 7)
    centred = real - real.mean(axis=-1, keepdims=True)
    for name, value in (("layer_norm", centred), ("rms_norm", real)):
        zero = {"x_zero_point": 7} if name == "rms_norm" else {}
        exact = value / np.sqrt(np.mean(value**2, axis=-1, keepdims=True) + eps) * gamma * gamma_scale + beta_real
        got = getattr(fast, name)(x, gamma, beta=beta, **how, **zero)
        inside = np.abs(exact) < 127 * output_scale
        assert inside.mean() > 0.9
        assert np.abs(got * output_scale - exact)[inside].max() <= 0.51 * output_scale + 2**-fraction_bits * 2


def test_norm_of_a_constant_row_is_beta():
    x = np.full((2, 8), 100, np.int8)
    beta = np.arange(8) * 1000
    got = fast.layer_norm(x, np.full(8, 127, np.int8), beta=beta, epsilon=1, fraction_bits=10, requantize=RESCALE)
    np.testing.assert_array_equal(got[0], fast.requantize(beta.astype(np.int32), **RESCALE))


def test_norms_refuse_what_they_cannot_hold():
    x = np.zeros((1, 64), np.int16)
    how = {"epsilon": 1, "fraction_bits": 4, "requantize": RESCALE}
    for module in (fast, slow):
        with pytest.raises(ValueError, match="do not fit 62 bits"):
            module.layer_norm(np.zeros((1, 1 << 15), np.int16), np.ones(1 << 15, np.int8), **how)
        with pytest.raises(ValueError, match="do not fit 62 bits"):
            module.rms_norm(np.zeros((1, 1 << 15), np.int16), np.ones(1 << 15, np.int8), x_zero_point=-32768, **how)
        with pytest.raises(ValueError, match="beyond 32 bits"):
            module.layer_norm(x, np.full(64, 32767, np.int16), **{**how, "fraction_bits": 14})
        with pytest.raises(ValueError, match="gamma of shape"):
            module.layer_norm(x, np.ones(63, np.int8), **how)
        with pytest.raises(ValueError, match="epsilon must be"):
            module.layer_norm(x, np.ones(64, np.int8), **{**how, "epsilon": 0})
        with pytest.raises(ValueError, match="at least one code"):
            module.layer_norm(x[:, :0], np.ones(0, np.int8), **how)


def softmax_parameters(scale):
    fraction, shift = math.frexp(scale * 2.0**26)
    return {
        "multiplier": round(fraction * 2**31),
        "shift": shift,
        "diff_min": -math.floor(31 * 2**26 / 2**shift),
        "arithmetic": "gemmlowp",
    }


@pytest.mark.parametrize("form", ["8 bits", "16 bits", "table"])
def test_masked_softmax(form):
    rng = np.random.default_rng(3)
    how = {"arithmetic": "table", "multiplier": 1718013132, "shift": -2} if form == "table" else softmax_parameters(0.1)
    if form == "16 bits":
        how["output_bits"] = 16
    info = np.iinfo("int16" if form == "table" else "int8")
    x = rng.integers(info.min, info.max + 1, (3, 4, 9)).astype(info.dtype)
    keep = rng.random((4, 9)) < 0.5
    keep[1], keep[2] = False, True
    x[0, 0, np.flatnonzero(~keep[0])] = info.max  # what is masked may be the largest by far
    got = both("softmax", x, keep=keep, **how)
    zero = 0 if form == "table" else np.iinfo(got.dtype).min
    assert (got[:, ~keep] == zero).all()
    np.testing.assert_array_equal(got[:, 2], fast.softmax(x[:, 2], **how))
    for row in (0, 3):  # as if the masked places were not there
        cut = fast.softmax(np.ascontiguousarray(x[:, row, keep[row]]), **how)
        np.testing.assert_array_equal(got[:, row, keep[row]], cut)
    causal = np.tril(np.ones((9, 9), bool))
    both("softmax", np.repeat(x[:, :1], 9, axis=1), keep=causal, **how)


def test_masks_are_booleans():
    for module in (fast, slow):
        with pytest.raises(ValueError, match="keep must be booleans"):
            module.softmax(np.zeros((2, 3), np.int8), keep=np.ones(3), **softmax_parameters(0.1))
        with pytest.raises(ValueError, match="keep must be booleans"):
            module.softmax(np.zeros((2, 3), np.int8), keep=np.ones(3, bool), arithmetic="onnx-table",
                           input_scale=0.1, scale=1 / 256, zero_point=0)  # fmt: skip
